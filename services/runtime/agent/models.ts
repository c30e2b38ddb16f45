/**
 * Which model answers, by whose credential, and what a call may cost. Without a provider's address the offline models answer; with one,
 * any OpenAI-compatible endpoint, under the platform's key or the tenant's own. Prices are the operator's table (streams/support/pricing.ts).
 */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import type { LanguageModel } from 'ai';
import { EvenkeelError } from '#schemas/errors.ts';
import type { MicroUsd, TenantId } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import type { Config } from '#services/config.ts';
import type { Secrets } from '#services/secrets.ts';
import { OFFLINE_BRIEF, OFFLINE_MODEL, type Price, type PriceTable, priceOf } from '#streams/support/pricing.ts';
import { estimateTokens, offlineModel } from './offline-model.ts';
import type { Credential } from './providers.ts';

export type ModelRung = 'full' | 'cheaper_model';
export type Model = {
  readonly name: string;
  readonly model: LanguageModel;
  /** undefined: it runs in this process, and nothing stands between. */
  readonly credential: Credential | undefined;
  /** An upper bound of what a text counts as. */
  readonly tokens: (text: string) => number;
};
export type ModelsConfig = Pick<Config, 'modelUrl' | 'model' | 'cheaperModel' | 'modelKeyName' | 'modelDelayMs'>;
export type Models = {
  readonly names: Readonly<Record<ModelRung, string | undefined>>;
  /** undefined: there is no such model, or no key for it. */
  of(tenant: TenantId, policy: Policy, rung: ModelRung): Model | undefined;
};

const MOST_OUTPUT_TOKENS = 500;
/** With less room than this an answer would be cut before it says anything. */
const LEAST_OUTPUT_TOKENS = 60;
/** What a chat's frame adds to the words. */
const FRAME_TOKENS = 32;
const PLATFORM: Credential = { id: 'platform', shared: true };

/** @throws EvenkeelError `setting_invalid` */
export function modelsOf(config: ModelsConfig, secrets: Secrets): Models {
  return config.modelUrl === undefined ? offlineModels(config.modelDelayMs) : remoteModels(config, config.modelUrl, secrets);
}

function offlineModels(delayMs: number): Models {
  const local = (name: string, brief: boolean): Model => ({
    name,
    model: offlineModel(delayMs, { name, brief }),
    credential: undefined,
    tokens: estimateTokens,
  });
  const models = { full: local(OFFLINE_MODEL, false), cheaper_model: local(OFFLINE_BRIEF, true) };
  return { names: { full: OFFLINE_MODEL, cheaper_model: OFFLINE_BRIEF }, of: (_tenant, _policy, rung) => models[rung] };
}

/** A token is at least one byte. */
const mostTokens = (text: string): number => Buffer.byteLength(text) + FRAME_TOKENS;

function remoteModels({ model: full, cheaperModel, modelKeyName }: ModelsConfig, baseURL: string, secrets: Secrets): Models {
  if (full === undefined) throw new EvenkeelError('setting_invalid', 'EVENKEEL_MODEL must be set where EVENKEEL_MODEL_URL is: which model answers');
  const platformKey = modelKeyName === undefined ? undefined : secrets.platform(modelKeyName);
  if (modelKeyName !== undefined && platformKey === undefined)
    throw new EvenkeelError('setting_invalid', `EVENKEEL_MODEL_KEY_NAME: there is no secret ${modelKeyName} in EVENKEEL_SECRETS_FILE`);
  const names = { full, cheaper_model: cheaperModel };
  const made = new Map<string, Model>();
  const make = (credential: Credential, apiKey: string | undefined, name: string): Model => {
    const provider = createOpenAICompatible({ name: 'provider', baseURL, ...(apiKey === undefined ? {} : { apiKey }) });
    return { name, model: provider.chatModel(name), credential, tokens: mostTokens };
  };
  return {
    names,
    of(tenant, { modelKey }, rung) {
      const name = names[rung];
      // A tenant with a key of its own never spends the platform's.
      const own = modelKey !== '';
      const apiKey = own ? secrets.tenant(tenant, modelKey) : platformKey;
      if (name === undefined || (own && apiKey === undefined)) return undefined;
      const at = JSON.stringify([own ? tenant : '', modelKey, rung]);
      const model = made.get(at) ?? make(own ? { id: `tenant/${tenant}`, shared: false } : PLATFORM, apiKey, name);
      made.set(at, model);
      return model;
    },
  };
}

/** Every model has a price now and from each later version on. @throws EvenkeelError `setting_invalid` */
export function requirePrices({ names }: Models, tables: readonly PriceTable[], now: number): void {
  const inForce = tables.findLastIndex(({ from }) => from <= now);
  for (const { version, models } of tables.slice(Math.max(0, inForce)))
    for (const name of Object.values(names))
      if (name !== undefined && name !== OFFLINE_BRIEF && models[name] === undefined)
        throw new EvenkeelError('setting_invalid', `EVENKEEL_PRICES_FILE: version ${version} has no price for ${name}`);
}

export type Held = { readonly money: MicroUsd; readonly tokens: number };
export type CallBound = { readonly maxOutputTokens: number; readonly worstCase: MicroUsd; readonly worstTokens: number };

/** The token limit comes out of what is left of the hold, so that a call cannot cost more than was held (invariant 4). undefined: too little is left. */
export function callWithin(held: Held, price: Price, inputTokens: number): CallBound | undefined {
  const affordable = Math.floor((held.money * 1_000 - inputTokens * price.input) / price.output);
  const room = Math.min(price.output === 0 ? MOST_OUTPUT_TOKENS : affordable, held.tokens - inputTokens);
  const worst = (output: number) => ({ maxOutputTokens: output, worstCase: priceOf(price, inputTokens, output), worstTokens: inputTokens + output });
  return room < LEAST_OUTPUT_TOKENS || priceOf(price, inputTokens, 0) > held.money ? undefined : worst(Math.min(room, MOST_OUTPUT_TOKENS));
}
