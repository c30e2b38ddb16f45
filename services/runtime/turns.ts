/**
 * The effects of a partition: each runs one turn of a conversation to its end. What it learns comes back to the task as inputs.
 * An effect that fails hands the request to a person: no request is left without an end (invariant 1).
 */
import type { Codec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Degradation, Outcome, Reason } from '#schemas/events.ts';
import type { Instant, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import type { Effects } from '#streams/engine/ports.ts';
import type { Finish } from '#streams/support/input.ts';
import { MESSAGE_STEP } from '#streams/support/outputs.ts';
import type { Account } from '#streams/support/state.ts';
import type { RunTurn } from '#streams/support/support.ts';
import type { Vault } from '../vault.ts';
import type { Message } from './ingress.ts';
import { StepJournal, type StepWords, type SupportTask } from './journal.ts';

export type Citation = { readonly document: string; readonly heading: string; readonly version: string };
export type AgentAsk = {
  readonly tenant: TenantId;
  readonly request: RequestId;
  readonly person: PersonId;
  readonly role: string;
  readonly message: string;
  /** Where the dispatch put it. */
  readonly degraded: Degradation | null;
  /** As it was when the turn began here. */
  readonly account: Account;
  /** When the hold was placed: it is priced as of then. */
  readonly startedAt: Instant;
  readonly deadline: Instant;
  /** The broker's time. */
  readonly now: () => Instant;
};
export type AgentAnswer = {
  readonly outcome: Outcome;
  readonly reason: Reason;
  readonly answer: string;
  readonly citations: readonly Citation[];
  readonly degraded: Degradation | null;
  /** Of the last rung: when it is worth to try again. */
  readonly retryAfterMs?: number | null;
};
export type AgentJournal = Pick<StepJournal, 'step' | 'left' | 'state'>;
/** It answers when none of its calls runs any more: nobody will abort them after that. */
export type Agent = (ask: AgentAsk, journal: AgentJournal, signal: AbortSignal) => Promise<AgentAnswer>;
export type TurnParts = {
  readonly agent: Agent;
  readonly vault: Pick<Vault, 'seal' | 'open'>;
  readonly codec: Codec;
  readonly warn: (message: string, error: Error) => void;
};

const CALL_A_PERSON: AgentAnswer = {
  outcome: 'handed_off',
  reason: 'tool_failure',
  answer: 'Something went wrong on our side. A person will look at your question.',
  citations: [],
  degraded: null,
};

/** Made once: every turn that ends is told it. */
const NO_LONGER = new EvenkeelError('fenced', 'this turn no longer runs');

export function turns(parts: TurnParts, task: SupportTask): Effects<RunTurn> {
  return {
    start(work) {
      const life: Life = { abort: new AbortController(), ending: false, over: false };
      void runTurn(parts, task, work, life);
      return { key: work.key, abort: () => end(life) };
    },
  };
}

/** A turn's call can be aborted until its end is offered; then nothing of it listens any more. `over`: the task no longer wants it. */
type Life = { readonly abort: AbortController; ending: boolean; over: boolean };

/** Every turn that ends by itself comes here too, where telling its signal would cost more than a digest. */
function end(life: Life): void {
  life.over = true;
  if (!life.ending) life.abort.abort(NO_LONGER);
}

async function runTurn(parts: TurnParts, task: SupportTask, work: RunTurn, life: Life): Promise<void> {
  const { signal } = life.abort;
  try {
    const words = wordsOf(parts, task, work);
    const journal = new StepJournal(task, words, work, signal);
    const answer = await answerOf(parts, task, work, words, journal, signal);
    if (life.over) return;
    const finish = await finishOf(parts, work, answer);
    life.ending = true;
    await task.offer(finish);
    await journal.recorded();
  } catch (error) {
    if (life.over) return;
    await giveUp(parts, task, work, error as Error);
  }
}

async function giveUp(parts: TurnParts, task: SupportTask, work: RunTurn, error: Error): Promise<void> {
  parts.warn(`request ${work.request} of ${work.tenant} failed`, error);
  try {
    await task.offer(await finishOf(parts, work, { ...CALL_A_PERSON, reason: reasonOf(error), degraded: work.turn.degraded }));
  } catch (second) {
    // The task has ended: the partition's next owner finds the turn running, and runs it.
    parts.warn(`request ${work.request} of ${work.tenant} is left to the partition's next owner`, second as Error);
  }
}

function reasonOf(error: Error): Reason {
  return error instanceof EvenkeelError && error.code === 'budget_exhausted' ? 'budget' : 'tool_failure';
}

async function answerOf(parts: TurnParts, task: SupportTask, work: RunTurn, words: StepWords, journal: StepJournal, signal: AbortSignal): Promise<AgentAnswer> {
  const bytes = await words.read(MESSAGE_STEP);
  if (!bytes) throw new EvenkeelError('sealed_unreadable', 'the message is not there');
  const { message } = JSON.parse(Buffer.from(bytes).toString()) as Message;
  const { tenant, request, turn } = work;
  const { person, degraded, startedAt, deadline } = turn;
  const { account } = task.peek({ tenant });
  const now = () => task.now;
  return parts.agent({ tenant, request, person, role: 'end_user', message, degraded, account, startedAt, deadline, now }, journal, signal);
}

async function finishOf(parts: TurnParts, work: RunTurn, answer: AgentAnswer): Promise<Finish> {
  const { tenant, request, conversation, turn } = work;
  const words = Buffer.from(JSON.stringify({ answer: answer.answer, citations: answer.citations }));
  const sealed = await parts.vault.seal(tenant, turn.person, `${request}/result`, words);
  const { outcome, reason, degraded, citations, retryAfterMs = null } = answer;
  const of = { tenant, item: conversation, mark: request, arrival: turn.arrival };
  return { kind: 'finish', ...of, outcome, reason, degraded, retryAfterMs, citations: citations.length, sealed };
}

function wordsOf({ vault, codec }: TurnParts, task: SupportTask, { tenant, request, turn }: RunTurn): StepWords {
  const place = (step: string) => `${request}/${step}`;
  return {
    seal: (step, words) => vault.seal(tenant, turn.person, place(step), words),
    async read(step) {
      const record = task.words({ tenant, mark: request }, step);
      if (!record) return undefined;
      const { name, value } = codec.decode(record);
      if (name !== 'support_step') throw new EvenkeelError('record_unreadable', `${name} among the words`);
      return vault.open(tenant, turn.person, place(step), value.sealed);
    },
  };
}
