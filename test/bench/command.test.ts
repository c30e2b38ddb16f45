import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

const bench = (...options: string[]) =>
  spawnSync(process.execPath, ['test/bench/main.ts', ...options], { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } });

/** Nine processes, of half a second each where nothing else runs. */
const WITHIN_MS = 60_000;

test('what cannot be understood is said, with what can, before anything is started', { timeout: WITHIN_MS }, () => {
  expect(bench()).toMatchObject({ status: 2, stderr: expect.stringContaining('There are backlog, commit') });
  expect(bench('speed')).toMatchObject({ status: 2, stderr: expect.stringContaining('there is no benchmark speed') });
  expect(bench('fold', 'slow')).toMatchObject({ status: 2, stderr: expect.stringContaining('unexpected argument: slow') });
  expect(bench('commit', '--small')).toMatchObject({ status: 2, stderr: expect.stringContaining('--small is for backlog, fair') });
  expect(bench('fold', '--requests', '5')).toMatchObject({ status: 2, stderr: expect.stringContaining('--requests is for backlog, pipeline') });
  expect(bench('pipeline', '--requests', '0')).toMatchObject({ status: 2, stderr: expect.stringContaining('a whole number from 1') });
  expect(bench('fold', '--jso')).toMatchObject({ status: 2, stderr: expect.stringContaining("Unknown option '--jso'") });
  for (const help of ['--help', '-h']) expect(bench(help)).toMatchObject({ status: 0, stdout: expect.stringContaining('npm run bench -- fold --json') });
});
