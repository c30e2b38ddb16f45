/** The ladder: each trouble takes the right rung, what first stood in the way is said, and below the passages a person or a time to come back. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Degradation, type Event, TROUBLES } from '#schemas/events.ts';
import { ready } from '#streams/support/decide.ts';
import { below, holdOf, lastRung, startingRung } from '#streams/support/degradation.ts';
import { post, windowKeys } from '#streams/support/ledger.ts';
import { Desk, NOON } from './rows.ts';

const hold = (events: readonly Event[]) => events.find((event) => event.type === 'hold_placed');
const on = (mode: Degradation['mode'], reason: Degradation['reason'], detail: Degradation['detail']) => ({ mode, reason, detail });

describe('a dispatch starts on the rung that the account allows', () => {
  test('full, with the whole ceiling held', () => {
    expect(hold(new Desk().start())).toMatchObject({ degraded: null, amount: 20_000, tokens: 64_000 });
  });

  test.each([
    ['nothing is spent', 0, null, 20_000],
    ['the full hold no longer fits', 85_000, on('cheaper_model', 'budget', 'budget_spent'), 5_000],
    ['not even the cheaper one', 96_000, on('cached', 'budget', 'budget_spent'), 0],
    ['more than the limit is spent', 130_000, on('cached', 'budget', 'budget_spent'), 0],
  ])('budget: %s', (_what, settled, degraded, amount) => {
    const desk = new Desk({ budgetDay: 100_000 });
    desk.rows = { ...desk.rows, account: post(desk.rows.account, windowKeys(NOON), { settled }) };
    expect(hold(desk.start())).toMatchObject({ degraded, amount });
  });

  test('invariant 4: others’ holds are waited for, on whatever rung', () => {
    const desk = new Desk({ budgetDay: 100_000 });
    desk.rows = { ...desk.rows, account: post(desk.rows.account, windowKeys(NOON), { settled: 85_000, held: 12_000 }) };
    expect(hold(desk.start())).toBeUndefined();
  });

  // Found by the simulation: nobody looked again, and the request ended by its deadline instead of with passages.
  test('a request that waits for others’ holds is looked at again when its deadline puts it a rung lower', () => {
    const desk = new Desk({ budgetDay: 100_000 });
    desk.rows = { ...desk.rows, account: post(desk.rows.account, windowKeys(NOON), { held: 99_000 }) };
    desk.start(60_000);
    const { account, item } = desk.rows as Required<Desk['rows']>;
    const later = (now: number) => ready(account, item as NonNullable<typeof item>, now);
    expect(later(NOON)).toEqual({ limit: 'budget', until: NOON + 59_501 });
    expect(later(NOON + 59_501)).toEqual({ limit: 'budget', until: NOON + 59_801 });
    expect(later(NOON + 59_801)).toEqual({ cost: 0 });
  });

  test.each([
    [60_000, null],
    [400, on('cheaper_model', 'deadline', 'deadline_near')],
    [150, on('cached', 'deadline', 'deadline_near')],
  ])('a deadline in %i ms', (ms, degraded) => {
    expect(hold(new Desk().start(ms))).toMatchObject({ degraded });
  });

  test.each([
    [50, null],
    [51, on('cheaper_model', 'overload', 'queue_long')],
    [75, on('cheaper_model', 'overload', 'queue_long')],
    [76, on('cached', 'overload', 'queue_long')],
  ])('%i of 100 wait', (queued, degraded) => {
    const { account } = new Desk({ maxQueued: 100 }).rows;
    expect(startingRung({ ...account, queued }, NOON + 60_000, NOON)).toEqual(degraded);
  });

  test('what is held never grows on the way down, and no rung is above the one before', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...TROUBLES), { minLength: 1, maxLength: 6 }), (troubles) => {
        const { policy } = new Desk().rows.account;
        let at: Degradation | null = null;
        let held = holdOf(policy, 'full').cost;
        for (const trouble of troubles) {
          const next: Degradation | undefined = below(at, trouble);
          if (!next) return;
          const { cost } = holdOf(policy, next.mode);
          expect(cost).toBeLessThanOrEqual(held);
          expect(next.detail).toBe(troubles[0]);
          [at, held] = [next, cost];
        }
        expect(troubles.length).toBeLessThanOrEqual(3);
      }),
    );
  });
});

test('below the passages: soon over is a refusal with when to try again, longer is for a person', () => {
  expect(lastRung('tool_failure', 20_000)).toEqual({ outcome: 'refused', reason: 'tool_failure', retryAfterMs: 20_000 });
  expect(lastRung('budget', 12 * 3_600_000)).toEqual({ outcome: 'handed_off', reason: 'budget', retryAfterMs: 12 * 3_600_000 });
  expect(lastRung('deadline', undefined)).toEqual({ outcome: 'handed_off', reason: 'deadline', retryAfterMs: null });
});

describe('a failed attempt of a step', () => {
  test('costs nothing where nothing was done for it, and the next attempt has the whole hold', () => {
    const desk = new Desk();
    desk.start();
    desk.step(1, 20_000);
    expect(desk.fail(1, false).map(({ type }) => type)).toEqual(['step_failed']);
    expect(desk.step(2, 20_000).map(({ type }) => type)).toEqual(['step_started']);
    desk.result(2, 300);
    expect(desk.end().find(({ type }) => type === 'hold_settled')).toMatchObject({ settled: 300 });
  });

  test('is presumed spent at its worst case otherwise, and the next must fit in what is left', () => {
    const desk = new Desk();
    desk.start();
    desk.step(1, 15_000);
    expect(desk.fail(1, true)).toMatchObject([{ type: 'cost_recorded', amount: 15_000, presumed: true }, { type: 'step_failed' }]);
    expect(desk.step(2, 6_000)).toMatchObject([{ type: 'step_refused', code: 'budget_exhausted' }]);
    expect(desk.end().find(({ type }) => type === 'hold_settled')).toMatchObject({ settled: 15_000 });
  });

  test('ends once: its late result and its second failure change nothing, and the same attempt never starts again', () => {
    const desk = new Desk();
    desk.start();
    desk.step(1, 1_000);
    desk.fail(1, false);
    expect([...desk.fail(1, true), ...desk.result(1, 900), ...desk.step(1, 1_000)]).toEqual([]);
  });
});
