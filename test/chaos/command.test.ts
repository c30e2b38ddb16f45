import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { CASES } from './faults.ts';

const chaos = (...options: string[]) => spawnSync(process.execPath, ['test/chaos/main.ts', ...options], { encoding: 'utf8' });

test.each([
  [['--round', '3'], "Unknown option '--round': there are --rounds,"],
  [['3'], 'unexpected argument: 3'],
  [['--rounds', '2.5'], '--rounds 2.5: a whole number from 1'],
  [['--brokers', '2'], '--brokers 2: one of 1, 3'],
  [['--only', 'meteor'], `There is no fault meteor: there are ${CASES[0]?.name}`],
])('%j starts nothing, and one line says what there is', (options, why) => {
  const { status, stdout, stderr } = chaos(...options);
  expect([status, stdout]).toEqual([2, '']);
  expect(stderr).toContain(why);
  expect(stderr.trimEnd()).toMatch(/^[^\n]* See npm run chaos -- --help$/);
});

test('help names every fault, and starts nothing', () => {
  const { status, stdout } = chaos('-h');
  expect(status).toBe(0);
  for (const { name } of CASES) expect(stdout).toContain(name.split('/')[1] ?? name);
});
