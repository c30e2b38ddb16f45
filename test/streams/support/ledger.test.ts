import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tenantId } from '#schemas/ids.ts';
import { balance, post, shortage, windowEnd, windowKeys } from '#streams/support/ledger.ts';
import { newAccount } from '#streams/support/state.ts';

const DAY = 86_400_000;

describe('windows are UTC days and months', () => {
  test('as the calendar has them, leap days and year ends included', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_102_444_800_000 }), (now) => {
        const iso = new Date(now).toISOString();
        expect(windowKeys(now)).toEqual({ day: iso.slice(0, 10), month: iso.slice(0, 7) });
      }),
    );
  });

  test('end where the next begins', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_102_444_800_000 }), fc.constantFrom('day' as const, 'month' as const), (now, window) => {
        const end = windowEnd(window, now) ?? 0;
        expect(end).toBeGreaterThan(now);
        expect(windowKeys(end)[window]).not.toBe(windowKeys(now)[window]);
        expect(windowKeys(end - 1)[window]).toBe(windowKeys(now)[window]);
      }),
    );
  });
});

describe('invariant 4: a hold fits in every window', () => {
  const account = newAccount(tenantId('acme'));
  const keys = windowKeys(20_000 * DAY);
  const most = account.policy.budgetDay;

  test('others’ holds block, settled money says that waiting is no use', () => {
    const held = post(account, keys, { held: most });
    expect(shortage(held, keys, { money: 1, tokens: 0 })).toMatchObject({ window: 'day', spent: false });
    const spent = post(account, keys, { settled: most });
    expect(shortage(spent, keys, { money: 1, tokens: 0 })).toMatchObject({ window: 'day', spent: true });
  });

  test('a hold stays in the window it was placed in, whatever day it settles', () => {
    const placed = post(account, keys, { held: 500 });
    const tomorrow = windowKeys(20_001 * DAY);
    const settled = post(placed, keys, { held: -500, settled: 200 });
    expect(balance(settled, 'day', keys.day)).toMatchObject({ held: 0, settled: 200 });
    expect(balance(settled, 'day', tomorrow.day)).toMatchObject({ held: 0, settled: 0 });
  });

  test('a window with a hold on it is never dropped', () => {
    let next = post(account, keys, { held: 7 });
    for (let day = 1; day < 10; day++) next = post(next, windowKeys((20_000 + day) * DAY), { settled: 1 });
    expect(balance(next, 'day', keys.day).held).toBe(7);
    expect(balance(next, 'total', 'total').settled).toBe(9);
  });

  test('a balance never holds less than nothing', () => {
    expect(() => post(account, keys, { held: -1 })).toThrow(RangeError);
    // No task could write it, and so none could open its partition: it must not be committed.
    const full = post(account, keys, { settled: Number.MAX_SAFE_INTEGER });
    expect(() => post(full, keys, { settled: 1 })).toThrow(RangeError);
  });
});
