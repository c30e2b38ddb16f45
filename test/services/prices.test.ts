/** The operator's prices: versions in order, and a correction that is the same however often it is run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CostKind, Event } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, RequestId } from '#schemas/ids.ts';
import { tenantId } from '#schemas/ids.ts';
import { type Correction, correctedDays, keyOf, referenceOf } from '#services/cli/price-correction.ts';
import { loadPrices, parsePrices } from '#services/prices.ts';
import { PRICE_TABLES, priceOf, pricesAt } from '#streams/support/pricing.ts';

const model = { input: 150, output: 600 };
const one = { version: 1, from: '2026-01-01T00:00:00Z', models: { m: model } };
const two = { version: 2, from: '2026-06-01T00:00:00Z', models: { m: { input: 100, output: 400 } } };
const parse = (json: unknown) => parsePrices(json, (why) => new Error(why));

describe('price tables', () => {
  test('the newest version that had begun is in force', () => {
    const tables = parse([one, two]);
    expect(pricesAt(tables, Date.parse(two.from) - 1).version).toBe(1);
    expect(pricesAt(tables, Date.parse(two.from)).models.m).toEqual({ input: 100, output: 400 });
    expect(() => pricesAt(tables, Date.parse(one.from) - 1)).toThrow(/no version/);
  });
  test.each<[string, unknown, RegExp]>([
    ['not a list', {}, /a list of versions/],
    ['none', [], /at least one/],
    ['a version left out', [one, { ...two, version: 3 }], /\[1\]\.version: 2/],
    ['no start', [{ ...one, from: 'soon' }], /\[0\]\.from/],
    [
      'out of order',
      [
        { ...two, version: 1 },
        { ...one, version: 2 },
      ],
      /\[1\]\.from: later/,
    ],
    ['a price below nothing', [{ ...one, models: { m: { input: -1, output: 1 } } }], /\[0\]\.models\.m/],
    ['a price in parts', [{ ...one, models: { m: { input: 0.5, output: 1 } } }], /whole micro-dollars/],
    ['no models', [{ ...one, models: null }], /\[0\]\.models/],
  ])('%s: refused with its place', (_what, json, why) => {
    expect(() => parse(json)).toThrow(why);
  });
  test('a file that is none is named; without one, the built-in prices hold', () => {
    const dir = mkdtempSync(join(tmpdir(), 'evenkeel-prices-'));
    writeFileSync(join(dir, 'prices.json'), JSON.stringify([one]));
    expect(loadPrices(join(dir, 'prices.json'))[0]?.models).toEqual({ m: model });
    expect(() => loadPrices(join(dir, 'none.json'))).toThrow(/EVENKEEL_PRICES_FILE .*none\.json/);
    expect(loadPrices(undefined)).toBe(PRICE_TABLES);
    rmSync(dir, { recursive: true });
  });
});

describe('a price correction', () => {
  const tenant = tenantId('acme');
  const ids = { tenant, request: 'r' as RequestId, conversation: 'c' as ConversationId };
  const of: Correction = { tenant, version: 1, model: 'm', price: { input: 100, output: 400 } };
  const cost = (day: string, inputTokens: number, outputTokens: number, priceVersion = 1, name = 'm'): Event => {
    const spent = { amount: priceOf(model, inputTokens, outputTokens), inputTokens, outputTokens, model: name, presumed: false, priceVersion };
    return { type: 'cost_recorded', ...ids, day, month: day.slice(0, 7), step: 's', attempt: 1, ...spent };
  };
  const fact = (day: string, amount: number, reference: string, kind: CostKind = 'price_correction'): Event => {
    const head = { tenant, command: 'k', by: 'op', digest: '' };
    return { type: 'outside_cost_recorded', ...head, day, month: day.slice(0, 7), amount: amount as MicroUsd, tokens: 0, kind, reference, incurredAt: null };
  };
  async function* logged(events: readonly Event[]) {
    for (const [offset, event] of events.entries()) yield { offset, event };
  }
  const days = (events: readonly Event[]) => correctedDays(of, logged(events));

  test('counts the calls of that version and model alone, by the day in which they were held', async () => {
    const found = await days([
      cost('2026-11-23', 1_000, 100),
      cost('2026-11-24', 2_000, 0),
      cost('2026-11-24', 500, 0, 2),
      cost('2026-11-24', 500, 0, 1, 'other'),
    ]);
    expect(found).toEqual([
      { day: '2026-11-23', calls: 1, was: 210, should: 140, difference: -70, newest: 0 },
      { day: '2026-11-24', calls: 1, was: 300, should: 200, difference: -100, newest: 1 },
    ]);
  });

  test('whatever happens between its runs, the sum comes to the right prices, and a run that changes nothing has the key of the run before', async () => {
    const calls = fc.array(fc.tuple(fc.constantFrom('2026-11-23', '2026-11-24'), fc.nat(5_000), fc.nat(500)), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(fc.array(calls, { minLength: 1, maxLength: 4 }), async (rounds) => {
        const log: Event[] = [];
        for (const round of rounds) {
          log.push(...round.map(([day, input, output]) => cost(day, input, output)));
          const found = await days(log);
          expect((await days(log)).map((day) => keyOf(of, day))).toEqual(found.map((day) => keyOf(of, day)));
          for (const { day, difference } of found) if (difference !== 0) log.push(fact(day, difference, referenceOf(of)));
          expect((await days(log)).filter(({ difference }) => difference !== 0)).toEqual([]);
        }
      }),
    );
  });

  test('another reference or kind is no correction of these prices', async () => {
    const [found] = await days([cost('2026-11-24', 1_000, 0), fact('2026-11-24', -50, 'prices/2/m'), fact('2026-11-24', 7, referenceOf(of), 'outside')]);
    expect(found?.difference).toBe(-50);
  });
});
