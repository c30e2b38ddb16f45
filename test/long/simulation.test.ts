import { expect, test } from 'vitest';
import { simulate } from '../simulation/run.ts';

test('2,000 more seeds leave no invariant broken', async () => {
  const broken: string[] = [];
  for (let seed = 1_001; seed <= 3_000; seed++) {
    const { problems } = await simulate(seed);
    if (problems.length > 0) broken.push(`seed ${seed}: ${problems.slice(0, 3).join('; ')} — again: npm run sim -- --seed ${seed}`);
  }
  expect(broken).toEqual([]);
});
