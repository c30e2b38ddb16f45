/** From words on a command line to a command, and from its end to an exit code. */
import pc from 'picocolors';
import { EvenkeelError } from '#schemas/errors.ts';
import { EXIT } from '../exit.ts';
import { ask } from './ask.ts';
import { audit } from './audit.ts';
import { type Command, CommandError, type Terminal, UsageError } from './command.ts';
import { explain as explainRequest } from './explain.ts';
import { replay } from './replay.ts';
import { tenant } from './tenant.ts';
import { token } from './token.ts';

const COMMANDS: readonly Command[] = [ask, tenant, token, explainRequest, replay, audit];
const isHelp = (word: string | undefined): boolean => word === '--help' || word === '-h' || word === 'help';

export async function dispatch(words: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...args] = words;
  if (name === undefined || isHelp(name)) {
    for (const line of overview()) terminal.out(line);
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  const command = COMMANDS.find((each) => each.name === name);
  if (!command) {
    terminal.note(pc.red(`There is no command ${name}.`));
    terminal.note(`Commands: ${COMMANDS.map((each) => each.name).join(', ')}. Each explains itself: npm run ask -- --help`);
    return EXIT.usage;
  }
  const end = args.indexOf('--');
  const options = end === -1 ? args : args.slice(0, end);
  if (options.some((word) => word === '--help' || word === '-h')) {
    for (const line of help(command)) terminal.out(line);
    return EXIT.ok;
  }
  try {
    return await command.run(args, terminal);
  } catch (error) {
    terminal.status('');
    return explain(command, error, terminal, options.includes('--json'));
  }
}

/** A program that asked for an object gets one; a wrong call is told to the person who made it, and to nobody else. */
function explain(command: Command, error: unknown, terminal: Terminal, json: boolean): number {
  if (error instanceof UsageError) {
    terminal.note(pc.red(error.message));
    terminal.note(`usage: ${command.usage}\nMore: npm run ${command.name} -- --help`);
    return EXIT.usage;
  }
  const failure = failureOf(error);
  if (failure) {
    if (json) terminal.out(JSON.stringify(failure));
    terminal.note(pc.red(failure.error));
    terminal.note(failure.next);
    return EXIT.failed;
  }
  const { message, stack } = error as Error;
  terminal.note(pc.red(`This should not have happened: ${message}`));
  terminal.note(stack ?? '');
  return EXIT.failed;
}

/** What happened and why, and what to do. undefined: nobody foresaw it. */
function failureOf(error: unknown): { readonly error: string; readonly next: string } | undefined {
  if (error instanceof CommandError) return { error: error.message, next: error.next };
  if (!(error instanceof EvenkeelError)) return undefined;
  const next = error.class === 'retryable' ? 'It may work later; npm run status shows what runs.' : 'npm run status shows what runs.';
  return { error: `${error.title}: ${error.message}`, next };
}

function overview(): readonly string[] {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  return [
    'Evenkeel, from the command line:',
    '',
    ...COMMANDS.map(({ name, summary }) => `  npm run ${name.padEnd(width)}   ${summary}`),
    '',
    'Each explains itself, with examples: npm run ask -- --help',
  ];
}

function help({ summary, usage, options, examples }: Command): readonly string[] {
  return [summary, '', `usage: ${usage}`, '', ...options.map((line) => `  ${line}`), '', 'examples:', ...examples.map((line) => `  ${line}`)];
}
