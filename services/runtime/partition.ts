/**
 * One assigned partition: its task, fed in order. Opening a record takes time (signature, keys), so records of one topic go through ingress
 * one after the other, and reach the task in the order of their offsets (invariant 2).
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset } from '#schemas/ids.ts';
import type { Rec } from '#streams/engine/ports.ts';
import type { CommandInput, RequestInput } from '#streams/support/input.ts';
import type { Arrival, Ingress } from './ingress.ts';
import type { SupportTask } from './journal.ts';

export type Flow = {
  pause(partition: number): void;
  resume(partition: number): void;
  seek(topic: string, partition: number, offset: Offset): void;
};
/** Records being opened: their words and their inputs are in memory until the task takes them. */
const MOST_OPENING = 2_000;
/** How often a paused partition is looked at. */
const RESUME_MS = 20;
export const TOPICS_IN = ['tenant.commands', 'support.requests'] as const;
export type InTopic = (typeof TOPICS_IN)[number];
/** `logStarts`: where retention has cut the heads of the topics. */
export type Opened = { readonly task: SupportTask; readonly logStarts: Readonly<Record<string, Offset>> };

export class FedPartition {
  readonly #task: SupportTask;
  readonly #logStarts: Opened['logStarts'];
  readonly #ingress: Ingress;
  readonly #flow: Flow;
  readonly #partition: number;
  readonly #onError: (error: Error) => void;
  readonly #expected = new Map<string, Offset>();
  /** One chain for each topic: a slow key of one record holds back those behind it, in order. */
  readonly #chains = new Map<string, Promise<void>>();
  #waiting = 0;
  /** While paused: looks whether there is room again. */
  #look: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(partition: number, { task, logStarts }: Opened, ingress: Ingress, flow: Flow, onError: (error: Error) => void) {
    this.#partition = partition;
    this.#task = task;
    this.#logStarts = logStarts;
    this.#ingress = ingress;
    this.#flow = flow;
    this.#onError = onError;
  }

  /** Where the task stands; the group's own offsets are not asked. */
  start(): void {
    for (const topic of TOPICS_IN) {
      const at = this.#expected.get(topic) ?? Math.max(this.#task.position(topic), this.#logStarts[topic] ?? 0);
      this.#expected.set(topic, at);
      this.#flow.seek(topic, this.#partition, at);
    }
    this.#flow.resume(this.#partition);
  }

  /** A fetch that began beyond where the task stands is an echo of an older seek: taking it would skip records. */
  records(topic: InTopic, records: readonly Rec[], from: Offset, next: Offset): void {
    const expected = this.#expected.get(topic) ?? 0;
    if (next <= expected || from > expected) return;
    const fresh = records.filter((record) => record.offset >= expected);
    this.#expected.set(topic, next);
    this.#waiting += fresh.length;
    const chain = (this.#chains.get(topic) ?? Promise.resolve()).then(() => this.#feed(topic, fresh));
    this.#chains.set(
      topic,
      chain.catch((error: Error) => this.#onError(error)),
    );
    this.#backpressure();
  }

  close(): void {
    this.#closed = true;
  }

  async #feed(topic: InTopic, records: readonly Rec[]): Promise<void> {
    // All of a batch are opened side by side, then offered in order.
    const arrivals = records.map((record) => this.#arrival(topic, record));
    for (const arrival of arrivals) arrival.catch(() => undefined);
    for (const [at, record] of records.entries()) {
      const arrival = await this.#patiently(arrivals[at] as Promise<Arrival>, topic, record);
      if (this.#closed || !arrival) return;
      this.#waiting--;
      const consumed = { topic, from: record.offset, next: record.offset + 1, at: record.timestamp };
      const done = 'input' in arrival ? this.#task.offer(this.#onTime(arrival.input), consumed) : this.#task.pass(arrival.pass, consumed);
      done.catch((error: Error) => this.#offered(error));
    }
  }

  #onTime(input: RequestInput | CommandInput): RequestInput | CommandInput {
    return input.kind === 'request' ? { ...input, appended: this.#task.appendedAt(input.appended) } : input;
  }

  async #arrival(topic: InTopic, record: Rec): Promise<Arrival> {
    return topic === 'support.requests' ? this.#ingress.request(this.#partition, record) : this.#ingress.command(this.#partition, record);
  }

  /** While the task re-opens, nobody can say whose key signs for a tenant: the record waits, and those behind it (invariant 10). */
  async #patiently(first: Promise<Arrival>, topic: InTopic, record: Rec): Promise<Arrival | undefined> {
    let arrival = first;
    for (;;) {
      try {
        return await arrival;
      } catch (error) {
        if (!(error instanceof EvenkeelError) || error.class !== 'retryable') throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RESUME_MS));
      if (this.#closed) return undefined;
      arrival = this.#arrival(topic, record);
    }
  }

  /** A dead letter was written with its reason; that the task has ended is said by `task.lost`. */
  #offered(error: Error): void {
    if (!(error instanceof EvenkeelError)) this.#onError(error);
  }

  #backpressure(): void {
    if (!this.#busy()) return;
    this.#flow.pause(this.#partition);
    this.#look ??= setInterval(() => {
      if (this.#busy() && !this.#closed) return;
      clearInterval(this.#look);
      this.#look = undefined;
      if (!this.#closed) this.#flow.resume(this.#partition);
    }, RESUME_MS);
  }

  #busy(): boolean {
    return this.#task.full || this.#waiting > MOST_OPENING;
  }
}
