/**
 * The agent: an ordinary async function. Its model call is a named step, so a crash resumes at the first step without a result. Answers
 * cite document, heading and version; what the tenant's documents do not hold is said, and handed to a person.
 */
import { generateText } from 'ai';
import type { MicroUsd } from '#schemas/ids.ts';
import type { Config } from '#services/config.ts';
import { type PriceTable, priceOf, pricesAt } from '#streams/support/pricing.ts';
import type { Agent, AgentAnswer, AgentAsk, Citation } from '../turns.ts';
import { callWithin, modelFor } from './models.ts';
import { rank } from './offline-model.ts';
import { INSTRUCTIONS, questionPrompt, UNKNOWN } from './prompt.ts';
import type { Knowledge, Passage } from './retrieval.ts';

const PASSAGES = 8;
/** What a passage may quote when no model is asked. */
const QUOTED = 600;
const MOST_QUOTED = 2;
/** Who may read what is meant for agents; any other role reads what everyone may. */
const AGENTS: ReadonlySet<string> = new Set(['tenant_admin', 'operator']);

type Drafted = { readonly text: string; readonly citations: readonly Citation[] };
type Ending = Omit<AgentAnswer, 'degraded'>;

export type AgentParts = {
  readonly config: Pick<Config, 'modelDelayMs'>;
  readonly knowledge: Pick<Knowledge, 'search'>;
  readonly prices: readonly PriceTable[];
};

export function createAgent({ config, knowledge, prices }: AgentParts): Agent {
  const { name, model } = modelFor(config);
  return async (ask, journal, signal) => {
    const reader = { person: ask.person, agent: AGENTS.has(ask.role) };
    const passages = knowledge.search(ask.tenant, reader, ask.message, PASSAGES);
    if (passages.length === 0) return { ...UNANSWERED, degraded: ask.degraded };
    if (ask.degraded && ask.degraded.mode !== 'cheaper_model') return { ...quoted(ask, passages), degraded: ask.degraded };
    const prompt = questionPrompt(passages, ask.message);
    const { version: priceVersion, models } = pricesAt(prices, ask.startedAt);
    const price = models[name];
    const call = callWithin(journal.left, price, INSTRUCTIONS + prompt);
    if (!call) return { ...quoted(ask, passages), degraded: { mode: 'passages', reason: 'budget', detail: 'budget_spent' } };
    const { maxOutputTokens, worstCase, worstTokens } = call;
    const drafted = await journal.step('model-1', { worstCase, worstTokens, kind: 'read', priceVersion }, async (_grant, abortSignal) => {
      const { text, usage } = await generateText({ model, system: INSTRUCTIONS, prompt, maxRetries: 0, maxOutputTokens, abortSignal });
      const [inputTokens, outputTokens] = [usage.inputTokens ?? 0, usage.outputTokens ?? 0];
      const cost = Math.min(priceOf(price, inputTokens, outputTokens), worstCase) as MicroUsd;
      // With its citations: a resumed turn may find other passages than those that the model's numbers name.
      return { value: cited(text, passages), cost, inputTokens, outputTokens, model: name };
    });
    signal.throwIfAborted();
    return { ...ending(drafted), degraded: ask.degraded };
  };
}

const UNANSWERED: Ending = {
  outcome: 'handed_off',
  reason: 'missing_knowledge',
  answer: 'I did not find that in our documentation. A person will look at your question.',
  citations: [],
};
const UNGROUNDED: Ending = {
  ...UNANSWERED,
  reason: 'low_confidence',
  answer: 'I am not sure enough of my answer to give it. A person will look at your question.',
};

function ending({ text, citations }: Drafted): Ending {
  if (text.trim() === UNKNOWN) return UNANSWERED;
  if (citations.length === 0) return UNGROUNDED;
  return { outcome: 'answered', reason: 'answered', answer: text, citations };
}

/** The top passages that are about the question, as they stand. */
function quoted(ask: AgentAsk, passages: readonly Passage[]): Ending {
  const top = rank(passages, ask.message).slice(0, MOST_QUOTED);
  if (top.length === 0) return UNANSWERED;
  const text = top.map(({ passage, place }) => `${passage.heading} [${place + 1}]\n${quote(passage.text)}`).join('\n\n');
  return ending(cited(text, passages));
}

/** Whole lines; a fence that is opened is closed. */
function quote(text: string): string {
  if (text.length <= QUOTED) return closed(text);
  const cut = text.slice(0, QUOTED);
  return closed(`${cut.slice(0, Math.max(cut.lastIndexOf('\n'), cut.lastIndexOf(' '), 1)).trimEnd()} …`);
}

function closed(text: string): string {
  const fences = text.match(/^[ \t]*(?:```|~~~)/gm) ?? [];
  return fences.length % 2 === 0 ? text : `${text}\n${fences.at(-1)?.trim()}`;
}

const CODE_OR_CITATION = /(```[\s\S]*?(?:```|$)|`[^`\n]*`)|\s?\[(\d+)\]/g;

/** Numbers what the text cites from 1 in its own order, so that [n] names the n-th citation; a number that names no passage goes. */
function cited(text: string, passages: readonly Passage[]): Drafted {
  const found = new Map<string, { readonly number: number; readonly citation: Citation }>();
  const numbered = text.replace(CODE_OR_CITATION, (whole, code: string | undefined, at: string) => {
    if (code !== undefined) return code;
    const passage = passages[Number(at) - 1];
    if (!passage) return '';
    const { document, heading, version } = passage;
    const key = `${document}\n${heading}`;
    const { number } = found.get(key) ?? { number: found.size + 1 };
    found.set(key, { number, citation: { document, heading, version } });
    return `${/^\s/.test(whole) ? whole[0] : ''}[${number}]`;
  });
  return { text: numbered, citations: [...found.values()].map(({ citation }) => citation) };
}
