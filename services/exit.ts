/** How a process ends: every exit code, in one table. */
const EXIT_CODES = {
  ok: { code: 0, of: 'all', meaning: 'done; a service was asked to end, and handed over what it held' },
  failed: { code: 1, of: 'command line', meaning: 'the answer is no: a request was refused, a verification found a difference, a part does not answer' },
  usage: { code: 2, of: 'all', meaning: 'an option or a setting is missing or wrong' },
  fatal: { code: 70, of: 'services', meaning: 'a fatal error, named in the last line of the log; or it did not end in time when asked to' },
  disk: { code: 74, of: 'services', meaning: 'its disk has taken no writes for 15 s: full, or read-only; its partitions were handed over' },
  wedged: { code: 75, of: 'services', meaning: 'something stood still for longer than `EVENKEEL_WEDGED_AFTER_MS`; the last line of the log says what' },
} as const;

type Exit = keyof typeof EXIT_CODES;
export const EXIT = Object.fromEntries(Object.entries(EXIT_CODES).map(([name, { code }]) => [name, code])) as {
  readonly [K in Exit]: (typeof EXIT_CODES)[K]['code'];
};

/** For ARCHITECTURE.md. */
export function exitRows(): readonly (readonly [code: number, of: string, meaning: string])[] {
  return Object.values(EXIT_CODES).map(({ code, of, meaning }) => [code, of, meaning] as const);
}
