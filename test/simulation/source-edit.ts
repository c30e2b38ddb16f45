/**
 * Loads the simulation once more with one line of the product's source replaced, beside the unchanged one. The line has to stand there
 * exactly once: a mutant that no longer fits its source fails loudly. Node alone can do this; vitest asks main.ts in a process of its own.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import type { Mutant } from './mutants.ts';
import type * as Run from './run.ts';

const ROOT = new URL('../../', import.meta.url).href;
/** Reloaded for each mutant; schemas stay, so that an error's class is the same everywhere. */
const RELOADED = /^(streams|services|test\/simulation)\//;
const planted = new Map<string, Mutant>();
const queryOf = (url: string | undefined): string => url?.match(/\?mutant=[\w-]+$/)?.[0] ?? '';

function fileOf(url: string): string | undefined {
  const file = url.startsWith(ROOT) ? url.slice(ROOT.length).replace(queryOf(url), '') : '';
  return RELOADED.test(file) ? file : undefined;
}

let hooked = false;
function hook(): void {
  if (hooked) return;
  hooked = true;
  registerHooks({
    resolve(specifier, context, next) {
      const found = next(specifier, context);
      const query = queryOf(context.parentURL);
      return query === '' || queryOf(found.url) !== '' || !fileOf(found.url) ? found : { ...found, url: found.url + query };
    },
    load(url, context, next) {
      const { edit, name } = planted.get(queryOf(url)) ?? {};
      const loaded = next(url, context);
      return edit && fileOf(url) === edit.file ? { ...loaded, source: replaced(edit, name) } : loaded;
    },
  });
}

function replaced({ file, line, becomes }: NonNullable<Mutant['edit']>, name = ''): string {
  const parts = readFileSync(new URL(file, ROOT), 'utf8').split(line);
  if (parts.length !== 2)
    throw new Error(`mutant ${name}: ${file} has this ${parts.length - 1} times, not once:\n  ${line}\nWhere the line has changed, change the mutant.`);
  return parts.join(becomes);
}

/** The simulation with the mutant planted in it. @throws Error when its line is not there */
export async function simulationOf(mutant: Mutant): Promise<typeof Run.simulate> {
  if (!mutant.edit) return (await import('./run.ts')).simulate;
  hook();
  const query = `?mutant=${mutant.name}`;
  planted.set(query, mutant);
  const run = (await import(`./run.ts${query}`)) as typeof Run;
  return run.simulate;
}
