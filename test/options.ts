/** The options of a test program: what is wrong is one line that says what there is, and exit 2. */
import type { ParseArgsOptionsConfig } from 'node:util';
import { integerOption, parseOptions, UsageError } from '#services/cli/command.ts';
import { endWithReader } from '#services/cli/terminal.ts';
import { EXIT } from '#services/exit.ts';

/** @param read reads the options; the program goes on with what it returns */
export function optionsOf<const O extends ParseArgsOptionsConfig, T>(
  command: string,
  options: O,
  read: (values: ReturnType<typeof parseOptions<O>>['values'], positionals: readonly string[]) => T,
): T {
  endWithReader();
  try {
    const { values, positionals } = parseOptions(process.argv.slice(2), options);
    return read(values, positionals);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}. See npm run ${command} -- --help`);
    process.exit(EXIT.usage);
  }
}

export const wholeOption = (name: string, value: string | undefined, least: number): number | undefined =>
  integerOption(name, value, least, Number.MAX_SAFE_INTEGER);
