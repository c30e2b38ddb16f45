import { expect, test } from 'vitest';
import { simulate } from './run.ts';

test('300 seeds of crashes, zombies, lost replies and rebalances leave no invariant broken', async () => {
  const broken: string[] = [];
  for (let seed = 1; seed <= 300; seed++) {
    const problems = await simulate(seed);
    if (problems.length > 0) broken.push(`seed ${seed}: ${problems.slice(0, 3).join('; ')} — repeat: npm run sim -- --seed ${seed}`);
  }
  expect(broken).toEqual([]);
});

test.each(['no_fence', 'no_owner_check', 'result_counts_twice', 'hold_without_limit', 'no_tenant_cap'] as const)('a mutant is caught: %s', async (mutation) => {
  let caught: string[] = [];
  for (let seed = 1; seed <= 150 && caught.length === 0; seed++) caught = await simulate(seed, mutation);
  expect(caught).not.toEqual([]);
});
