/** What a command is: parsed strictly, documented with examples, and honest about how it ended. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { isTenantId, type TenantId } from '#schemas/ids.ts';

export interface Terminal {
  /** The answer: the only thing on stdout. */
  out(line: string): void;
  /** What accompanies it, on stderr. */
  note(line: string): void;
  /** Where a line may be rewritten in place. */
  readonly live: boolean;
  /** Replaces the last `status`; an empty one clears it. Only where `live`. */
  status(line: string): void;
}

export type Command = {
  readonly name: string;
  readonly summary: string;
  readonly usage: string;
  /** Lines of `  --option  what it does`. */
  readonly options: readonly string[];
  readonly examples: readonly string[];
  /** Resolves to the exit code. @throws UsageError, CommandError */
  run(args: readonly string[], terminal: Terminal): Promise<number>;
};

/** The call was wrong: exit 2, with a hint at `--help`. */
export class UsageError extends Error {}

/** It could not be done: what happened and why is the message, `next` says what to do. */
export class CommandError extends Error {
  readonly next: string;
  constructor(message: string, next: string, options?: ErrorOptions) {
    super(message, options);
    this.next = next;
  }
}

export function parseOptions<const O extends ParseArgsOptionsConfig>(args: readonly string[], options: O) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (cause) {
    throw new UsageError(wrongOption(cause as Error & { code?: string }, Object.keys(options)), { cause });
  }
}

/** Node's first sentence; what follows it is about programs that take their options elsewhere. */
function wrongOption({ message, code }: Error & { code?: string }, known: readonly string[]): string {
  const [what = message] = message.split(/\.\s/, 1);
  return code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? `${what}: there are ${known.map((name) => `--${name}`).join(', ')}` : what;
}

export function tenantOption(value: string | undefined): TenantId {
  if (value === undefined) throw new UsageError('--tenant is missing: which tenant is meant?');
  if (!isTenantId(value)) throw new UsageError(`--tenant ${value}: lower-case letters, digits and dashes, 2 to 63 of them`);
  return value;
}

export function integerOption(name: string, value: string | undefined, min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (/^\d+$/.test(value) && number >= min && number <= max) return number;
  throw new UsageError(`--${name} ${value}: a whole number from ${min} to ${max}`);
}

export function choiceOption<const C extends string>(name: string, value: string | undefined, choices: readonly C[], fallback?: C): C {
  const chosen = value ?? fallback;
  const found = choices.find((choice) => choice === chosen);
  if (found !== undefined) return found;
  throw new UsageError(value === undefined ? `--${name} is missing: one of ${choices.join(', ')}` : `--${name} ${value}: one of ${choices.join(', ')}`);
}

export function noPositionals(positionals: readonly string[]): void {
  if (positionals.length > 0) throw new UsageError(`unexpected argument: ${positionals[0]}`);
}

/** `2.50` to micro-dollars. @throws UsageError */
export function dollarsOption(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const [, sign, whole, part = ''] = /^(-?)\$?(\d{1,9})(?:\.(\d{1,6}))?$/.exec(value) ?? [];
  if (whole === undefined) throw new UsageError(`--${name} ${value}: dollars, as 2.50, with at most six decimals`);
  return (sign ? -1 : 1) * (Number(whole) * 1_000_000 + Number(part.padEnd(6, '0')));
}

/** `$0.001234`: micro-dollars are shown to the last one. */
export function dollars(microUsd: number): string {
  const [sign, whole] = [microUsd < 0 ? '-' : '', Math.abs(microUsd)];
  return `${sign}$${Math.floor(whole / 1_000_000)}.${String(whole % 1_000_000).padStart(6, '0')}`;
}
