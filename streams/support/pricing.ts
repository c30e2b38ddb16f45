/**
 * The operator's price tables: micro-dollars for a thousand tokens, in versions with an effective start. A request is priced by the version
 * in force when its hold was placed; its cost events name the version and carry the sums, so a refold never asks a table about yesterday.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';

export type Price = { readonly input: number; readonly output: number };
/** The extractive models in this process are priced like any other, so that budgets mean something without a key. */
export const OFFLINE_MODEL = 'offline-extractive';
/** The cheaper one: a sentence. */
export const OFFLINE_BRIEF = 'offline-brief';
/** Version 0 stands for costs that no table priced. */
export type PriceTable = { readonly version: number; readonly from: Instant; readonly models: Readonly<Record<string, Price>> };

/** In order of version. Where the operator gives none of his own (EVENKEEL_PRICES_FILE). */
export const PRICE_TABLES: readonly PriceTable[] = [
  { version: 1, from: 0, models: { [OFFLINE_MODEL]: { input: 150, output: 600 }, [OFFLINE_BRIEF]: { input: 50, output: 200 } } },
];

/** The newest version that had begun. @throws EvenkeelError `setting_invalid` when none had */
export function pricesAt(tables: readonly PriceTable[], at: Instant): PriceTable {
  const found = tables.findLast(({ from }) => from <= at);
  if (!found) throw new EvenkeelError('setting_invalid', 'no version of the prices has begun');
  return found;
}

/** Rounded up: a call is never cheaper than its tokens. */
export function priceOf({ input, output }: Price, inputTokens: number, outputTokens: number): MicroUsd {
  return Math.ceil((inputTokens * input + outputTokens * output) / 1_000) as MicroUsd;
}
