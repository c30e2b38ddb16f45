import { expect, test } from 'vitest';
import { FAULTS, type Fault } from './faults.ts';
import { NO_MUTATION } from './mutants.ts';
import { simulate } from './run.ts';

// Invariants 1 to 7 and 10, and liveness.
test('300 seeds of crashes, zombies, lost replies and rebalances leave no invariant broken, and each fault strikes', async () => {
  const tally = new Map<Fault, number>();
  const broken: string[] = [];
  let [requests, answered] = [0, 0];
  for (let seed = 1; seed <= 300; seed++) {
    const { problems, ...report } = await simulate(seed, NO_MUTATION, tally);
    requests += report.requests;
    answered += report.endings.get('answered/answered') ?? 0;
    if (problems.length > 0) broken.push(`seed ${seed}: ${problems.slice(0, 3).join('; ')} — again: npm run sim -- --seed ${seed}`);
  }
  expect(broken).toEqual([]);
  // A world in which nothing works breaks no other invariant.
  expect(answered / requests).toBeGreaterThan(0.2);
  expect(FAULTS.filter((fault) => !tally.get(fault))).toEqual([]);
});

test('the same seed is the same world', async () => {
  const [one, other] = [await simulate(7), await simulate(7)];
  expect(other).toEqual(one);
  expect(one.transactions).toBeGreaterThan(50);
});
