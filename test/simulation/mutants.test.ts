import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { MUTANTS } from './mutants.ts';

const run = promisify(execFile);
type Caught = { readonly name: string; readonly seed?: number; readonly by?: string };
const SEEDS = '100';

// Node alone can load a source with one line replaced: so the mutants run in a process of their own.
test('every planted bug is caught within a hundred seeds, by what it breaks', async () => {
  const main = ['test/simulation/main.ts', '--mutant', 'all', '--seeds', SEEDS, '--json'];
  const { stdout } = await run(process.execPath, main).catch((error: { stdout: string; stderr: string }) => {
    if (!error.stdout) throw new Error(error.stderr);
    return error;
  });
  const { mutants } = JSON.parse(stdout) as { readonly mutants: readonly Caught[] };
  expect(mutants.filter(({ by }) => by === undefined)).toEqual([]);
  expect(mutants.map(({ name }) => name)).toEqual(MUTANTS.map(({ name }) => name));
});
