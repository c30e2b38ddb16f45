import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { emptyMeta, Folder, RESTORING } from '#streams/engine/fold.ts';
import { FoldedRows } from '#streams/engine/folded-rows.ts';
import { Overlay } from '#streams/engine/overlay.ts';
import type { Write } from '#streams/engine/ports.ts';
import { SeenKeys } from '#streams/engine/seen-keys.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { MESSAGE_STEP } from '#streams/support/outputs.ts';
import { support } from '#streams/support/support.ts';

const machine = support(createCodec(localSchemas()));
const windows = { day: '2026-11-24', month: '2026-11' };
const money = (amount: number) => amount as MicroUsd;

/** The life of request `n` of a tenant, in order; its conversation is its own. */
function life(tenant: TenantId, n: number): readonly Event[] {
  const of = { tenant, request: `r_${n}` as RequestId, conversation: `c_${n}` as ConversationId };
  const queued = { person: 'p_1' as PersonId, bodyDigest: 'd', source: 'http', arrival: n, deadline: 9e12, estimate: money(50) } as const;
  const cost = { step: 'model', attempt: 1, amount: money(7), inputTokens: 9, outputTokens: 4, model: 'offline', presumed: false, priceVersion: 1 };
  return [
    { type: 'request_queued', ...of, ...queued },
    { type: 'hold_placed', ...of, ...windows, amount: money(50), degraded: null, tokens: 100 },
    { type: 'cost_recorded', ...of, ...windows, ...cost },
    { type: 'hold_settled', ...of, ...windows, held: money(50), settled: money(7), heldTokens: 100, settledTokens: 13 },
    {
      type: 'request_finished',
      ...of,
      outcome: 'answered',
      reason: 'answered',
      degraded: null,
      cost: money(7),
      ran: true,
      retryAfterMs: null,
      queuedMs: 1,
      ranMs: 2,
      citations: 0,
    },
  ];
}

/** Lives of several requests, interleaved: each number takes the next event of that request. Tenants choose their ids, and these the same. */
const histories = fc.array(fc.nat(11), { maxLength: 80 }).map((picks) => {
  const lives = Array.from({ length: 12 }, (_, n) => [...life(`tenant-${n % 4}` as TenantId, Math.floor(n / 4))]);
  return picks.flatMap((n) => lives[n]?.shift() ?? []);
});

test('a fold that forgets rows and reads them again ends in the bytes of a live task’s overlay, however many commits that gathers for a write', async () => {
  await fc.assert(
    fc.asyncProperty(
      histories,
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 0, max: 6 }),
      fc.integer({ min: 1, max: 4 }),
      async (events, each, kept, gathered) => {
        const [live, folded] = [await memoryStores().open(0), await memoryStores().open(0)];
        const [overlay, rows] = [new Overlay(machine, live), new FoldedRows(machine, folded, kept)];
        const write = () => {
          live.write(overlay.writes(), emptyMeta(1, 1));
          overlay.written();
          folded.write(rows.writes(), emptyMeta(1, 1));
          rows.committed();
        };
        for (const [at, event] of events.entries()) {
          overlay.apply(event, 1_000 + at);
          overlay.settle();
          rows.apply(event, 1_000 + at);
          if (at % each === 0) overlay.committed();
          if (at % (each * gathered) === 0) write();
        }
        overlay.committed();
        write();
        expect(stateHash(folded)).toEqual(stateHash(live));
      },
    ),
    { numRuns: 60 },
  );
});

test('whoever asks for rows that are not there, or for very many, fills no memory', async () => {
  const store = await memoryStores().open(0);
  const rows = new FoldedRows(machine, store, 10);
  const tenant = 'tenant-1' as TenantId;
  for (let n = 0; n < 100; n++) for (const event of life(tenant, n).slice(0, 1)) rows.apply(event, 1_000);
  store.write(rows.writes(), emptyMeta(1, 1));
  rows.committed();
  for (let n = 0; n < 1_000; n++) expect(rows.state({ tenant: `tenant-${n + 2}` as TenantId, item: `c_${n}`, mark: `r_${n}` }).mark).toBeUndefined();
  for (let n = 0; n < 100; n++) expect(rows.state({ tenant, item: `c_${n}`, mark: `r_${n}` }).mark).toMatchObject({ stage: 'queued' });
  expect(rows.size).toBeLessThanOrEqual(12);
});

test('of many tenants no more accounts stay than are to be kept, and what they hold is counted on', async () => {
  const store = await memoryStores().open(0);
  const rows = new FoldedRows(machine, store, 10);
  for (let n = 0; n < 300; n++) {
    for (const event of life(`tenant-${n % 100}` as TenantId, Math.floor(n / 100)).slice(0, 1)) rows.apply(event, 1_000);
    store.write(rows.writes(), emptyMeta(1, 1));
    rows.committed();
    expect(rows.size).toBeLessThanOrEqual(10 + 12);
  }
  for (let n = 0; n < 100; n++) expect(rows.state({ tenant: `tenant-${n}` as TenantId }).account.queued).toBe(3);
});

test('words go with the request that ended, from a store that held them already', async () => {
  const store = await memoryStores().open(0);
  const fold = (events: readonly Event[], more: readonly Write[] = []) => {
    const rows = new FoldedRows(machine, store);
    for (const event of events) rows.apply(event, 1_000);
    store.write([...rows.writes(), ...more], emptyMeta(1, 1));
  };
  const tenant = 'tenant-1' as TenantId;
  const kept = (n: number) => ({ table: 'words' as const, key: `${tenant}/r_${n}/${MESSAGE_STEP}`, value: new Uint8Array(9) });
  fold([...life(tenant, 0).slice(0, 1), ...life(tenant, 1).slice(0, 1)], [kept(0), kept(1)]);
  fold(life(tenant, 0).slice(1));
  expect(store.scan('words', '', 9).map(([key]) => key)).toEqual([kept(1).key]);
});

test('a key that was seen is never taken for a new one, and a new one seldom for a seen one', () => {
  const seen = new SeenKeys();
  expect(seen.mayHave('item', 'acme', 'c_0')).toBe(false);
  for (let n = 0; n < 100_000; n++) seen.add('item', 'acme', `c_${n}`);
  const known = Array.from({ length: 100_000 }, (_, n) => seen.mayHave('item', 'acme', `c_${n}`));
  expect(known.every(Boolean)).toBe(true);
  const wrong = Array.from({ length: 10_000 }, (_, n) => seen.mayHave('mark', 'acme', `c_${n}`) || seen.mayHave('item', 'globex', `c_${n}`));
  expect(wrong.filter(Boolean).length).toBeLessThan(100);
});

test('a store that is filled at once is not whole before its end, and then has the bytes of one that was whole at each write', async () => {
  const [filled, whole] = [await memoryStores().open(0), await memoryStores().open(0)];
  const versions: unknown[] = [];
  const { write } = filled;
  filled.write = (batch, meta) => {
    versions.push(meta.version);
    write.call(filled, batch, meta);
  };
  const folders = [new Folder(machine, filled, 1, true), new Folder(machine, whole, 1)];
  for (let number = 1; number <= 40; number++) {
    const lives = Array.from({ length: 300 }, (_, at) => life(`tenant-${at % 50}` as TenantId, number * 300 + at).slice(0, (at % 5) + 1));
    const events = lives.flat().map((event, offset) => ({ event, offset }));
    const batch = { type: 'batch', number, events: events.length, inputs: [], time: number, version: machine.version, partitions: 1 } as const;
    for (const folder of folders) folder.add({ batch, events, next: number * 10_000 });
  }
  expect(versions.length).toBeGreaterThan(2);
  expect(new Set(versions)).toEqual(new Set([RESTORING]));
  for (const folder of folders) folder.flush();
  expect(filled.meta).toEqual(whole.meta);
  expect(stateHash(filled)).toEqual(stateHash(whole));
});
