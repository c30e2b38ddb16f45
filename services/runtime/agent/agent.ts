/**
 * The agent: an ordinary async function. Its model call is a named step, so a crash resumes at the first step without a result. Answers
 * cite document, heading and version; what the tenant's documents do not hold is said, and handed to a person.
 */
import { generateText, type LanguageModel } from 'ai';
import type { Config } from '../../config.ts';
import type { MicroUsd } from '#schemas/ids.ts';
import { priceOf, type PricedModel } from '#streams/support/pricing.ts';
import type { Agent, AgentAnswer, AgentAsk, Citation } from '../turns.ts';
import { estimateTokens, offlineModel } from './offline-model.ts';
import { INSTRUCTIONS, questionPrompt, UNKNOWN } from './prompt.ts';
import type { Knowledge, Passage } from './retrieval.ts';

const MODEL: PricedModel = 'offline-extractive';
const PASSAGES = 6;
const MOST_OUTPUT_TOKENS = 500;
/** What a passage may quote when no model is asked. */
const QUOTED = 600;

export function createAgent({ config, knowledge }: { readonly config: Pick<Config, 'modelDelayMs'>; readonly knowledge: Pick<Knowledge, 'search'> }): Agent {
  const model: LanguageModel = offlineModel(config.modelDelayMs);
  return async (ask, journal, signal) => {
    const reader = { person: ask.person, agent: ask.role !== 'end_user' };
    const passages = knowledge.search(ask.tenant, reader, ask.message, PASSAGES);
    if (passages.length === 0) return unknown(ask);
    if (ask.degraded?.mode === 'passages') return quoted(ask, passages);
    const prompt = questionPrompt(passages, ask.message);
    const worstCase = priceOf(MODEL, estimateTokens(INSTRUCTIONS + prompt), MOST_OUTPUT_TOKENS);
    const text = await journal.step(
      'model-1',
      { worstCase, kind: 'read' },
      async (_grant, abortSignal) => {
        const { text: value, usage } = await generateText({
          model,
          system: INSTRUCTIONS,
          prompt,
          maxRetries: 0,
          maxOutputTokens: MOST_OUTPUT_TOKENS,
          abortSignal,
        });
        const [inputTokens, outputTokens] = [usage.inputTokens ?? 0, usage.outputTokens ?? 0];
        const cost = Math.min(priceOf(MODEL, inputTokens, outputTokens), worstCase) as MicroUsd;
        return { value, cost, inputTokens, outputTokens, model: MODEL };
      },
    );
    signal.throwIfAborted();
    return text.trim() === UNKNOWN ? unknown(ask) : answered(ask, text, passages);
  };
}

function answered(ask: AgentAsk, text: string, passages: readonly Passage[]): AgentAnswer {
  const cited = [...text.matchAll(/\[(\d+)\]/g)].flatMap(([, at]) => passages[Number(at) - 1] ?? []);
  return { outcome: 'answered', reason: 'answered', answer: text, citations: unique(cited.map(citation)), degraded: ask.degraded };
}

function unknown(ask: AgentAsk): AgentAnswer {
  return {
    outcome: 'handed_off',
    reason: 'missing_knowledge',
    answer: 'I did not find that in our documentation. A person will look at your question.',
    citations: [],
    degraded: ask.degraded,
  };
}

function quoted(ask: AgentAsk, passages: readonly Passage[]): AgentAnswer {
  const top = passages.slice(0, 2);
  const answer = top.map(({ heading, text }, at) => `${heading}: ${text.slice(0, QUOTED)} [${at + 1}]`).join('\n\n');
  return { outcome: 'answered', reason: 'answered', answer, citations: unique(top.map(citation)), degraded: ask.degraded };
}

const citation = ({ document, heading, version }: Passage): Citation => ({ document, heading, version });

function unique(citations: readonly Citation[]): readonly Citation[] {
  return [...new Map(citations.map((each) => [`${each.document}\n${each.heading}`, each])).values()];
}
