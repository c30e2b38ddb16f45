/** Which model answers, and what a call may cost. Prices are the operator's table (streams/support/pricing.ts). */
import type { LanguageModel } from 'ai';
import type { MicroUsd } from '#schemas/ids.ts';
import type { Config } from '#services/config.ts';
import { PRICES, type PricedModel, priceOf } from '#streams/support/pricing.ts';
import { estimateTokens, offlineModel } from './offline-model.ts';

export type Model = { readonly name: PricedModel; readonly model: LanguageModel };

const MOST_OUTPUT_TOKENS = 500;
/** With less room than this an answer would be cut before it says anything. */
const LEAST_OUTPUT_TOKENS = 60;

export function modelFor({ modelDelayMs }: Pick<Config, 'modelDelayMs'>): Model {
  return { name: 'offline-extractive', model: offlineModel(modelDelayMs) };
}

/** The token limit comes out of the hold, so that a call cannot cost more than was held (invariant 4). undefined: the hold is too small. */
export function callWithin(held: MicroUsd, model: PricedModel, prompt: string): { readonly maxOutputTokens: number; readonly worstCase: MicroUsd } | undefined {
  const inputTokens = estimateTokens(prompt);
  const { input, output } = PRICES[model];
  const room = Math.floor((held * 1_000 - inputTokens * input) / output);
  if (room < LEAST_OUTPUT_TOKENS) return undefined;
  const maxOutputTokens = Math.min(room, MOST_OUTPUT_TOKENS);
  return { maxOutputTokens, worstCase: priceOf(model, inputTokens, maxOutputTokens) };
}
