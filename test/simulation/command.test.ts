import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

const sim = (...options: string[]) =>
  spawnSync(process.execPath, ['test/simulation/main.ts', ...options], { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } });

test('worlds by seed: what was kept, and how often each fault struck', () => {
  const { status, stdout } = sim('--seeds', '2', '--from', '5');
  expect(stdout).toMatch(/^2 of 2 worlds kept every invariant: \d+ requests, \d+ transactions\n/);
  expect(stdout).toMatch(/\d+ {2}crash before commit\n/);
  expect(status).toBe(0);
});

test('one seed as JSON', () => {
  const { status, stdout } = sim('--seed', '42', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ first: 42, count: 1, broken: [] });
  expect(status).toBe(0);
});

test('a mutant is shown with the seed that catches it', () => {
  const { status, stdout } = sim('--mutant', 'no-fence');
  expect(stdout).toMatch(/^no-fence: a commit of an old owner is taken\n {2}seed \d+: invariant/);
  expect(status).toBe(0);
});

test('a mutant that no seed catches fails', () => {
  const { status, stdout } = sim('--mutant', 'store-left-open', '--seed', '1');
  expect(stdout).toContain('not caught by 1 seeds as /invariant 3:');
  expect(status).toBe(1);
});

test('what cannot be understood is said, with what can', () => {
  expect(sim('--mutant', 'nobody')).toMatchObject({ status: 2, stderr: expect.stringContaining('There are: all, no-fence') });
  expect(sim('--seed', 'x')).toMatchObject({ status: 2, stderr: expect.stringContaining('--seed x: a whole number') });
  expect(sim('--seed', '')).toMatchObject({ status: 2, stderr: expect.stringContaining('a whole number') });
  expect(sim('--seeds', '0')).toMatchObject({ status: 2, stderr: expect.stringContaining('from 1') });
  expect(sim('--seed', '3', '--seeds', '5')).toMatchObject({ status: 2, stderr: expect.stringContaining('--seed is one world') });
  expect(sim('300')).toMatchObject({ status: 2, stderr: expect.stringContaining('unexpected argument: 300') });
  expect(sim('--sed', '3')).toMatchObject({ status: 2, stderr: expect.stringContaining("Unknown option '--sed': there are --seeds, --from") });
  for (const help of ['--help', '-h']) expect(sim(help).stdout).toContain('npm run sim -- --seed 42');
});
