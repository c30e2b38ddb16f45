/** The operator's prices from a file of JSON, checked: versions with an effective start, each with its models' prices. */
import { readFileSync } from 'node:fs';
import { EvenkeelError } from '#schemas/errors.ts';
import { PRICE_TABLES, type Price, type PriceTable } from '#streams/support/pricing.ts';

/** $1,000 for a thousand tokens is a slip of the keyboard. */
const MOST = 1e9;

/** The built-in table where no file is named. @throws EvenkeelError `setting_invalid`, which names the place in the file */
export function loadPrices(file: string | undefined): readonly PriceTable[] {
  if (file === undefined) return PRICE_TABLES;
  const invalid = (why: string, cause?: unknown) => new EvenkeelError('setting_invalid', `EVENKEEL_PRICES_FILE ${file}: ${why}`, { cause });
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw invalid((cause as Error).message, cause);
  }
  return parsePrices(json, invalid);
}

/** `[{"version": 1, "from": "2026-01-01T00:00:00Z", "models": {"offline-extractive": {"input": 150, "output": 600}}}]` */
export function parsePrices(json: unknown, invalid: (why: string) => Error): readonly PriceTable[] {
  if (!Array.isArray(json) || json.length === 0) throw invalid('a list of versions, at least one');
  const tables = json.map((each: unknown, at): PriceTable => {
    const { version, from, models } = (each ?? {}) as { version?: unknown; from?: unknown; models?: unknown };
    if (version !== at + 1) throw invalid(`[${at}].version: ${at + 1}, versions are numbered from 1 and stay in the file`);
    const start = typeof from === 'string' ? Date.parse(from) : Number.NaN;
    if (Number.isNaN(start)) throw invalid(`[${at}].from: when it takes effect, as 2026-01-01T00:00:00Z`);
    if (typeof models !== 'object' || models === null || Array.isArray(models)) throw invalid(`[${at}].models: an object of models and their prices`);
    const prices = Object.entries(models).map(([model, price]) => [model, parsePrice(price, `[${at}].models.${model}`, invalid)] as const);
    return { version, from: start, models: Object.fromEntries(prices) };
  });
  for (const [at, { from }] of tables.entries())
    if (from <= (tables[at - 1]?.from ?? Number.NEGATIVE_INFINITY)) throw invalid(`[${at}].from: later than the version before`);
  return tables;
}

function parsePrice(value: unknown, path: string, invalid: (why: string) => Error): Price {
  const { input, output } = (value ?? {}) as { input?: unknown; output?: unknown };
  const whole = (number: unknown): number => {
    if (Number.isSafeInteger(number) && (number as number) >= 0 && (number as number) <= MOST) return number as number;
    throw invalid(`${path}: input and output, whole micro-dollars for a thousand tokens, 0 to ${MOST}`);
  };
  return { input: whole(input), output: whole(output) };
}
