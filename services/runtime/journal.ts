/**
 * A request's named steps. Each start commits before its call is made, each result is journaled before it is acted on: after a crash the
 * agent runs again from its beginning, and a step that has a result answers from the journal (durable execution). To act is to call again or
 * to end the request: the next step waits for the last one's result to be committed, and the end stands behind it in the same log, so that
 * the last result and the end share a transaction.
 */
import { sha256Text } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { StepCalls, StepKind } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, RequestId, TenantId } from '#schemas/ids.ts';
import type { Task } from '#streams/engine/task-types.ts';
import type { Input } from '#streams/support/input.ts';
import type { Account, Conversation, Mark, Turn, TurnStep } from '#streams/support/state.ts';

export type SupportTask = Task<Account, Conversation, Mark, Input>;
export type StepAsk = {
  readonly kind: StepKind;
  readonly worstCase: MicroUsd;
  readonly worstTokens: number;
  /** model where it is not said. */
  readonly calls?: StepCalls;
  /** Where a price table says what the call costs. */
  readonly priceVersion?: number;
};
export type StepResult<T> = {
  /** Any JSON. */
  readonly value: T;
  readonly cost: MicroUsd;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly model: string;
};
/** A call that failed. `spent` is false where it is sure that nothing was done for it: what it cost is then known, nothing. */
export class CallFailed extends Error {
  readonly code: string;
  readonly spent: boolean;
  constructor(code: string, spent: boolean, options?: ErrorOptions) {
    super(`the call failed: ${code}`, options);
    this.code = code;
    this.spent = spent;
  }
}
export type StepCall<T> = (grant: { readonly cap: MicroUsd }, signal: AbortSignal) => Promise<StepResult<T>>;

/** The words of a step, under the person's key. */
export interface StepWords {
  seal(step: string, words: Uint8Array): Uint8Array | Promise<Uint8Array>;
  read(step: string): Promise<Uint8Array | undefined>;
}
export type JournalOf = { readonly tenant: TenantId; readonly conversation: ConversationId; readonly turn: Pick<Turn, 'request' | 'arrival'> };

export class StepJournal {
  readonly #task: SupportTask;
  readonly #words: StepWords;
  readonly #row: { readonly tenant: TenantId; readonly item: ConversationId; readonly mark: RequestId; readonly arrival: number };
  readonly #signal: AbortSignal;
  /** The last result's commit. */
  #recording: Promise<unknown> = Promise.resolve();

  constructor(task: SupportTask, words: StepWords, of: JournalOf, signal: AbortSignal) {
    this.#task = task;
    this.#words = words;
    this.#row = { tenant: of.tenant, item: of.conversation, mark: of.turn.request, arrival: of.turn.arrival };
    this.#signal = signal;
  }

  /** What of the request's hold is neither spent nor promised to an open step: the bound of the next call. */
  get left(): { readonly money: MicroUsd; readonly tokens: number } {
    const { left, leftTokens, steps } = this.#turn();
    const open = steps.filter(({ state }) => state === 'open');
    const promised = open.reduce((sum, { worstCase }) => sum + worstCase, 0);
    return { money: (left - promised) as MicroUsd, tokens: leftTokens - open.reduce((sum, { worstTokens }) => sum + worstTokens, 0) };
  }

  /** Every result is committed. @throws EvenkeelError when one became a dead letter, or the task ended */
  async recorded(): Promise<void> {
    await this.#recording;
  }

  /** What became of a step's newest attempt; undefined: it never started. */
  state(name: string): TurnStep['state'] | undefined {
    return this.#step(this.#turn(), name)?.state;
  }

  /**
   * A step that failed may be asked for again: that is its next attempt, within what is left of the hold.
   * @throws EvenkeelError `budget_exhausted` when the step may not start; whatever `call` throws, after the failure was recorded
   */
  async step<T>(name: string, ask: StepAsk, call: StepCall<T>): Promise<T> {
    await this.#recording;
    const before = this.#step(this.#turn(), name);
    if (before?.state === 'done') return this.#recorded<T>(name);
    const attempt = (before?.attempt ?? 0) + 1;
    const { kind: stepKind, worstCase, worstTokens, calls = 'model', priceVersion = 0 } = ask;
    const asked = { step: name, attempt, stepKind, worstCase, worstTokens, calls, priceVersion };
    const { item } = await this.#task.offer({ kind: 'step_start', ...this.#row, ...asked });
    // The conversation's next turn may have begun meanwhile, and have a step of the same name.
    const started = this.#step(this.#own(item?.turn), name);
    if (started?.state !== 'open' || started.attempt !== attempt)
      throw new EvenkeelError('budget_exhausted', `step ${name} may not start: a limit said no, and its step_refused event which`);
    const result = await call({ cap: ask.worstCase }, this.#signal).catch(async (error: Error) => {
      if (!this.#signal.aborted) await this.#failed(name, attempt, error);
      throw error;
    });
    await this.#record(name, attempt, result);
    return result.value;
  }

  /** Returns once it stands in line: whatever is offered later comes after it. */
  async #record<T>(step: string, attempt: number, result: StepResult<T>): Promise<void> {
    const words = Buffer.from(JSON.stringify(result.value));
    const sealed = await this.#words.seal(step, words);
    const { cost, inputTokens, outputTokens, model } = result;
    const digest = sha256Text(sealed);
    this.#recording = this.#task.offer({ kind: 'step_finish', ...this.#row, step, attempt, cost, inputTokens, outputTokens, model, digest, sealed });
    // Who waits for it is told; until somebody does, a rejection has nobody.
    this.#recording.catch(() => undefined);
  }

  async #failed(step: string, attempt: number, error: Error): Promise<void> {
    const { code, spent } = error instanceof CallFailed ? error : { code: 'failed', spent: true };
    await this.#task.offer({ kind: 'step_fail', ...this.#row, step, attempt, code, spent });
  }

  async #recorded<T>(step: string): Promise<T> {
    const words = await this.#words.read(step);
    if (!words) throw new EvenkeelError('unavailable', `the result of step ${step} is not there`);
    return JSON.parse(Buffer.from(words).toString()) as T;
  }

  #turn(): Turn {
    return this.#own(this.#task.peek(this.#row).item?.turn);
  }

  #own(turn: Turn | null | undefined): Turn {
    if (turn?.request !== this.#row.mark || turn.arrival !== this.#row.arrival) throw new EvenkeelError('fenced', 'this turn no longer runs');
    return turn;
  }

  #step(turn: Turn, name: string) {
    return turn.steps.find((each) => each.step === name);
  }
}
