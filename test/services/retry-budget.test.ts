/** Invariant 12: whatever the order of calls and wishes to retry, retries are at most a tenth of the first calls, in all and of each tenant. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { RetryBudget } from '#services/runtime/agent/retry-budget.ts';

test('invariant 12: at every moment', () => {
  const tenant = fc.constantFrom('acme', 'globex', 'initech');
  const calls = fc.array(fc.tuple(tenant, fc.boolean()), { maxLength: 400 });
  fc.assert(
    fc.property(calls, (all) => {
      const budget = new RetryBudget();
      const firsts = new Map<string, number>();
      const retries = new Map<string, number>();
      const count = (map: Map<string, number>, of: string) => map.set(of, (map.get(of) ?? 0) + 1);
      for (const [of, wish] of all) {
        budget.called(of as TenantId);
        count(firsts, of);
        if (wish && budget.take(of as TenantId)) count(retries, of);
        for (const [each, times] of retries) expect(times).toBeLessThanOrEqual((firsts.get(each) ?? 0) / 10);
      }
    }),
  );
});

test('a tenant with a storm of its own takes nothing of what others have saved', () => {
  const budget = new RetryBudget();
  const [noisy, quiet] = ['noisy', 'quiet'] as TenantId[] as [TenantId, TenantId];
  for (let at = 0; at < 10; at++) budget.called(quiet);
  for (let at = 0; at < 1_000; at++) {
    budget.called(noisy);
    budget.take(noisy);
  }
  expect(budget.take(quiet)).toBe(true);
  expect(budget.take(quiet)).toBe(false);
});

test('a long calm does not pay for a long storm', () => {
  const budget = new RetryBudget();
  for (let at = 0; at < 10_000; at++) budget.called('acme' as TenantId);
  let taken = 0;
  while (budget.take('acme' as TenantId)) taken++;
  expect(taken).toBe(10);
});
