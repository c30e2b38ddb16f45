/** Which model answers, and what a call may cost. Prices are the operator's table (streams/support/pricing.ts). */
import type { LanguageModel } from 'ai';
import type { MicroUsd } from '#schemas/ids.ts';
import type { Config } from '#services/config.ts';
import { type Price, type PricedModel, priceOf } from '#streams/support/pricing.ts';
import { estimateTokens, offlineModel } from './offline-model.ts';

export type Model = { readonly name: PricedModel; readonly model: LanguageModel };

const MOST_OUTPUT_TOKENS = 500;
/** With less room than this an answer would be cut before it says anything. */
const LEAST_OUTPUT_TOKENS = 60;

export function modelFor({ modelDelayMs }: Pick<Config, 'modelDelayMs'>): Model {
  return { name: 'offline-extractive', model: offlineModel(modelDelayMs) };
}

export type Held = { readonly money: MicroUsd; readonly tokens: number };
export type CallBound = { readonly maxOutputTokens: number; readonly worstCase: MicroUsd; readonly worstTokens: number };

/** The token limit comes out of the hold, so that a call cannot cost more than was held (invariant 4). undefined: the hold is too small. */
export function callWithin(held: Held, price: Price, prompt: string): CallBound | undefined {
  const inputTokens = estimateTokens(prompt);
  const affordable = Math.floor((held.money * 1_000 - inputTokens * price.input) / price.output);
  const room = Math.min(price.output === 0 ? MOST_OUTPUT_TOKENS : affordable, held.tokens - inputTokens);
  if (room < LEAST_OUTPUT_TOKENS) return undefined;
  const maxOutputTokens = Math.min(room, MOST_OUTPUT_TOKENS);
  return { maxOutputTokens, worstCase: priceOf(price, inputTokens, maxOutputTokens), worstTokens: inputTokens + maxOutputTokens };
}
