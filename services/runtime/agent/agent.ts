/**
 * The agent: an ordinary async function on the degradation ladder. It tries the rung where the dispatch has put the request and goes down
 * when one does not hold. Its model calls are named steps, so a crash resumes at the first step without a result. Answers cite document,
 * heading and version; what the tenant's documents do not hold is said, and handed to a person.
 */

import { sha256Text } from '#schemas/digest.ts';
import type { Degradation, Reason } from '#schemas/events.ts';
import { below, budgetBackMs, lastRung, type Rung, rungOf } from '#streams/support/degradation.ts';
import type { Agent, AgentAnswer, AgentAsk, AgentJournal } from '../turns.ts';
import { type AnswerCache, type CacheKey, cacheKey } from './answer-cache.ts';
import { cited, type Drafted, quoted } from './citations.ts';
import { askModel, type CallParts, isStuck, STEP_OF, type Stuck } from './model-call.ts';
import type { ModelRung, Models } from './models.ts';
import { INSTRUCTIONS, UNKNOWN } from './prompt.ts';
import type { Knowledge, Passage } from './retrieval.ts';

const PASSAGES = 8;
/** Who may read what is meant for agents; any other role reads what everyone may. */
const AGENTS: ReadonlySet<string> = new Set(['tenant_admin', 'operator']);
/** Version of what shapes an answer besides model, policy and documents. */
const RULES = sha256Text(INSTRUCTIONS);

type Ending = Omit<AgentAnswer, 'degraded'>;

export type AgentParts = {
  readonly knowledge: Pick<Knowledge, 'search' | 'version'>;
  readonly models: Models;
  readonly calls: CallParts;
  readonly answers: AnswerCache<Drafted>;
  readonly lookedUp: (hit: boolean) => void;
};
type Asking = {
  readonly ask: AgentAsk;
  readonly journal: AgentJournal;
  readonly signal: AbortSignal;
  readonly passages: readonly Passage[];
  readonly keyOf: (model: string) => CacheKey;
};

export function createAgent(parts: AgentParts): Agent {
  return async (ask, journal, signal) => {
    const agent = AGENTS.has(ask.role);
    const { tenant, message: question, account } = ask;
    const knowledgeVersion = parts.knowledge.version(tenant);
    const passages = parts.knowledge.search(tenant, { person: ask.person, agent }, question, PASSAGES);
    if (passages.length === 0) return { ...UNANSWERED, degraded: ask.degraded };
    const named = { tenant, audience: agent ? 'agents' : 'everyone', policyVersion: account.policyVersion, knowledgeVersion, rules: RULES, question } as const;
    const asking = { ask, journal, signal, passages, keyOf: (model: string) => cacheKey({ ...named, model }) };
    let degraded = ask.degraded;
    let retryAfterMs: number | undefined;
    for (;;) {
      const tried = await RUNGS[rungOf(degraded)](parts, asking);
      signal.throwIfAborted();
      if (!isStuck(tried)) return { ...tried, degraded };
      retryAfterMs = tried.retryAfterMs ?? retryAfterMs;
      const next = below(degraded, tried.trouble);
      if (!next) return last(ask, degraded, retryAfterMs);
      degraded = next;
    }
  };
}

type Try = (parts: AgentParts, asking: Asking) => Promise<Ending | Stuck>;
const RUNGS: Readonly<Record<Rung, Try>> = {
  full: (parts, asking) => withModel('full', parts, asking),
  cheaper_model: (parts, asking) => withModel('cheaper_model', parts, asking),
  async cached({ models, answers, lookedUp }, { keyOf }) {
    for (const model of Object.values(models.names)) {
      const found = model === undefined ? undefined : answers.get(keyOf(model));
      if (!found) continue;
      lookedUp(true);
      return ending(found);
    }
    lookedUp(false);
    return { trouble: 'provider_failed' };
  },
  async passages(_parts, { ask, passages }) {
    const found = quoted(ask.message, passages);
    return found ? ending(found) : { trouble: 'provider_failed' };
  },
};

async function withModel(rung: ModelRung, { models, calls, answers }: AgentParts, asking: Asking): Promise<Ending | Stuck> {
  const { ask, journal, signal, passages, keyOf } = asking;
  // A turn that resumes below goes on there.
  if (rung === 'full' && journal.state(STEP_OF.full) !== 'done' && journal.state(STEP_OF.cheaper_model) !== undefined) return { trouble: 'provider_failed' };
  const model = models.of(ask.tenant, ask.account.policy, rung);
  if (!model) return { trouble: 'provider_failed' };
  // With its citations: a resumed turn may find other passages than those that the model's numbers name.
  const drafted = await askModel(calls, { ask, journal, signal, rung, model, passages, read: (text) => cited(text, passages) });
  if (isStuck(drafted)) return drafted;
  const end = ending(drafted);
  if (end.outcome === 'answered' && !passages.some(({ owned }) => owned)) answers.put(keyOf(model.name), drafted);
  return end;
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

/** Below the passages: a person, or a refusal with when to try again. */
function last({ account, now }: AgentAsk, degraded: Degradation | null, known: number | undefined): AgentAnswer {
  const reason: Reason = degraded?.reason ?? 'tool_failure';
  const end = lastRung(reason, reason === 'budget' ? budgetBackMs(account, now()) : known);
  const again = end.retryAfterMs === null ? '' : ` ${inWords(end.retryAfterMs)}`;
  const answer =
    end.outcome === 'refused' ? `I cannot answer just now. Please ask again${again}.` : `I cannot answer that just now. A person will look at your question.`;
  return { ...end, answer, citations: [], degraded };
}

const inWords = (ms: number): string => (ms < 90_000 ? `in ${Math.max(1, Math.ceil(ms / 1_000))} s` : `in ${Math.ceil(ms / 60_000)} min`);
