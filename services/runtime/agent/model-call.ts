/**
 * One rung with a model: the call as a step of the journal, and its retry as the step's next attempt. The bound of each call comes out of
 * what is left of the hold (invariant 4); a retry is paid for by the retry budget (invariant 12) and never pays twice.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { generateText } from 'ai';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Trouble } from '#schemas/events.ts';
import type { MicroUsd, TenantId } from '#schemas/ids.ts';
import { type PriceTable, priceOf, pricesAt } from '#streams/support/pricing.ts';
import type { AgentAsk, AgentJournal } from '../turns.ts';
import { type CallBound, callWithin, type Model, type ModelRung } from './models.ts';
import { INSTRUCTIONS, questionPrompt } from './prompt.ts';
import { ProviderFailed } from './provider-failure.ts';
import type { Providers } from './providers.ts';
import type { Passage } from './retrieval.ts';
import type { RetryBudget } from './retry-budget.ts';

/** What a rung could not do, and when it is worth to ask again. */
export type Stuck = { readonly trouble: Trouble; readonly retryAfterMs?: number | undefined };
export type CallParts = {
  readonly prices: readonly PriceTable[];
  readonly providers: Providers;
  readonly retries: RetryBudget;
  readonly watch: CallWatch;
};
export type CallWatch = { called(model: string, outcome: string): void; retried(): void };
export type Asked<T> = {
  readonly ask: AgentAsk;
  readonly journal: AgentJournal;
  readonly signal: AbortSignal;
  readonly rung: ModelRung;
  readonly model: Model;
  readonly passages: readonly Passage[];
  /** What of the model's text is kept. */
  readonly read: (text: string) => T;
};

export const STEP_OF: Readonly<Record<ModelRung, string>> = { full: 'model-1', cheaper_model: 'model-2' };
const ATTEMPTS = 2;
/** Fewer passages where the hold is too small for all. */
const FEWER = [1, 0.5, 0.25];
/** What ends a request after its call, and the lower rungs, take of its time. */
const RESERVE_MS = 100;
const BACKOFF_MS = 100;
const NO_CALL = () => undefined;
/** A provider that asks for a longer wait is not waited for. */
const LONGEST_BACKOFF_MS = 2_000;

export const isStuck = (result: object): result is Stuck => 'trouble' in result;

export async function askModel<T extends object>(parts: CallParts, asked: Asked<T>): Promise<T | Stuck> {
  const { journal, rung, signal, ask } = asked;
  if (journal.state(STEP_OF[rung]) === 'done') return attempt(parts, asked, NO_CALL);
  for (let tries = 1; ; tries++) {
    const stuck = inTheWay(parts, asked);
    if (stuck) return stuck;
    // A call that is made, not one that a limit or a bulkhead keeps from being made, pays for retries.
    const made = tries === 1 ? () => parts.retries.called(ask.tenant) : NO_CALL;
    try {
      return await attempt(parts, asked, made);
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof EvenkeelError && error.code === 'budget_exhausted') return { trouble: 'budget_spent' };
      if (!(error instanceof ProviderFailed)) throw error;
      const { trouble, retryAfterMs } = error;
      const wait = backoff(error, tries);
      if (tries === ATTEMPTS || wait === undefined || wait > within(asked) || !mayRetry(parts, ask.tenant)) return { trouble, retryAfterMs };
      await delay(wait, undefined, { signal });
    }
  }
}

function mayRetry({ retries, watch }: CallParts, tenant: TenantId): boolean {
  const may = retries.take(tenant);
  if (may) watch.retried();
  return may;
}

/** With jitter, so that those who failed together do not come back together. undefined: no second call. */
function backoff({ retryable, retryAfterMs }: ProviderFailed, tries: number): number | undefined {
  if (!retryable || (retryAfterMs ?? 0) > LONGEST_BACKOFF_MS) return undefined;
  return Math.max(retryAfterMs ?? 0, BACKOFF_MS * tries) * (1 + Math.random());
}

/** How long a call may take, so that the rungs below still have their time. */
function within({ ask, rung }: Pick<Asked<object>, 'ask' | 'rung'>): number {
  return ask.deadline - ask.now() - RESERVE_MS - (rung === 'full' ? ask.account.policy.cheaperAnswerMs : 0);
}

function inTheWay({ providers }: CallParts, asked: Asked<object>): Stuck | undefined {
  const { ask, rung, model } = asked;
  const { fullAnswerMs, cheaperAnswerMs } = ask.account.policy;
  const left = ask.deadline - ask.now();
  if (left < (rung === 'full' ? fullAnswerMs : cheaperAnswerMs) || within(asked) <= 0) return { trouble: 'deadline_near' };
  return model.credential && providers.obstacle({ tenant: ask.tenant, credential: model.credential, model: model.name });
}

async function attempt<T extends object>(parts: CallParts, asked: Asked<T>, made: () => void): Promise<T> {
  const { ask, journal, rung, model } = asked;
  const { version: priceVersion, models } = pricesAt(parts.prices, ask.startedAt);
  const price = models[model.name];
  if (!price) throw new EvenkeelError('budget_exhausted', `version ${priceVersion} of the prices has none for ${model.name}`);
  const fitting = boundOf(asked, price);
  if (!fitting && journal.state(STEP_OF[rung]) !== 'done') throw new EvenkeelError('budget_exhausted', 'too little is left of the hold for a call');
  const { prompt, worstCase, worstTokens } = fitting ?? NONE;
  return journal.step(STEP_OF[rung], { worstCase, worstTokens, kind: 'read', priceVersion }, async (_grant, signal) => {
    const { text, usage } = await call(parts, asked, fitting ?? NONE, made, signal);
    // A provider that says nothing of its usage, or what cannot be, is taken at what was sent and came.
    const inputTokens = believed(usage.inputTokens) ?? model.tokens(INSTRUCTIONS + prompt);
    const outputTokens = believed(usage.outputTokens) ?? model.tokens(text);
    const cost = Math.min(priceOf(price, inputTokens, outputTokens), worstCase) as MicroUsd;
    return { value: asked.read(text), cost, inputTokens, outputTokens, model: model.name };
  });
}

/** No call has as many: a sum of such counts stays within what a balance can hold. */
const MOST_TOKENS = 1e9;
function believed(tokens: number | undefined): number | undefined {
  return tokens !== undefined && Number.isInteger(tokens) && tokens >= 0 && tokens <= MOST_TOKENS ? tokens : undefined;
}

type Fitting = CallBound & { readonly prompt: string };
/** For a step that has its result: it is read, no call is made. */
const NONE: Fitting = { prompt: '', worstCase: 0 as MicroUsd, worstTokens: 0, maxOutputTokens: 0 };

function boundOf({ ask, journal, model, passages }: Asked<object>, price: { readonly input: number; readonly output: number }): Fitting | undefined {
  for (const part of FEWER) {
    const prompt = questionPrompt(passages.slice(0, Math.ceil(passages.length * part)), ask.message);
    const bound = callWithin(journal.left, price, model.tokens(INSTRUCTIONS + prompt));
    if (bound) return { ...bound, prompt };
  }
  return undefined;
}

async function call({ providers, watch }: CallParts, asked: Asked<object>, { prompt, maxOutputTokens }: Fitting, made: () => void, signal: AbortSignal) {
  const { model, ask } = asked;
  const of = model.credential && { tenant: ask.tenant, credential: model.credential, model: model.name };
  const generate = (abortSignal: AbortSignal) => {
    made();
    return generateText({ model: model.model, system: INSTRUCTIONS, prompt, maxRetries: 0, maxOutputTokens, abortSignal });
  };
  try {
    const said = await (of ? providers.call(of, within(asked), signal, generate) : generate(signal));
    watch.called(model.name, 'ok');
    return said;
  } catch (error) {
    if (!signal.aborted) watch.called(model.name, error instanceof ProviderFailed ? error.code : 'failed');
    throw error;
  }
}
