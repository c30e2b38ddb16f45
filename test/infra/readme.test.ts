import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const readme = readFileSync('README.md', 'utf8');
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
const tests = ['test/integration/platform.test.ts', 'test/integration/platform.ts', '.ci/run', 'test/habits.test.ts']
  .map((file) => readFileSync(file, 'utf8'))
  .join('\n');

test('every command of the README exists', () => {
  const named = [...readme.matchAll(/npm (?:run )?(?:--silent )?([a-z:]+)/g)].map(([, name]) => name as string).filter((name) => name !== 'run');
  expect(named.filter((name) => !scripts[name])).toEqual([]);
});

test('the commands for users are run by the platform’s test', () => {
  for (const name of ['ask', 'tenant', 'explain', 'status', 'replay', 'audit', 'token']) expect(tests, name).toContain(`run('${name}'`);
});
