/** The operator's price table: micro-dollars for a thousand tokens. Events carry the sums, so a refold never asks it about yesterday. */
import type { MicroUsd } from '#schemas/ids.ts';

export type Price = { readonly input: number; readonly output: number };

export const PRICES = {
  /** The extractive model in this process is priced like any other, so that budgets mean something without a key. */
  'offline-extractive': { input: 150, output: 600 },
} as const satisfies Record<string, Price>;
export type PricedModel = keyof typeof PRICES;

/** Rounded up: a call is never cheaper than its tokens. */
export function priceOf(model: PricedModel, inputTokens: number, outputTokens: number): MicroUsd {
  const { input, output } = PRICES[model];
  return Math.ceil((inputTokens * input + outputTokens * output) / 1_000) as MicroUsd;
}
