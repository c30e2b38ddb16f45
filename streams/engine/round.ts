/**
 * What goes into one transaction: the inputs taken, then what is due, then as many dispatches as the cap allows.
 * Invariant 1 and 2: each input's events, its outputs and its offset stand in the same transaction. Invariant 7: the cap is asked before each dispatch.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, TenantId } from '#schemas/ids.ts';
import type { DueIndex } from './due-index.ts';
import { type FairQueue, keptSlots } from './fair-queue.ts';
import type { Entry } from './inbox.ts';
import type { Charge, Machine, Output, Row, State, Work } from './machine.ts';
import type { Overlay } from './overlay.ts';

/** Wakes, and dispatches that did not start anything, in one transaction. */
const MOST_WAKES = 256;

export type RoundParts<A, R, K, I extends Row, E, X extends Work> = {
  readonly machine: Machine<A, R, K, I, E, X>;
  readonly overlay: Overlay<A, R, K, I, E, X>;
  readonly due: DueIndex;
  readonly fair: FairQueue;
  readonly now: Instant;
  readonly historyTopic: string;
  readonly partition: number;
  readonly maxOutputBytes: number;
  readonly deadLetter: (input: I, error: Error, entry: Entry<A, R, K, I>) => readonly Output[];
};

export class Round<A, R, K, I extends Row, E, X extends Work> {
  readonly events: Output[] = [];
  readonly outputs: Output[] = [];
  readonly inputs: Record<string, number> = {};
  /** There is more to do at once: a bound was reached. */
  more = false;
  wakeAt: Instant | undefined;
  readonly #parts: RoundParts<A, R, K, I, E, X>;
  readonly #touched = new Set<TenantId>();
  readonly #failed = new Map<Entry<A, R, K, I>, Error>();

  constructor(parts: RoundParts<A, R, K, I, E, X>) {
    this.#parts = parts;
  }

  get empty(): boolean {
    return this.events.length === 0 && this.outputs.length === 0 && Object.keys(this.inputs).length === 0;
  }

  /** An input that throws, or says more than the broker takes, becomes a dead letter: no record can stop a partition. */
  take(entry: Entry<A, R, K, I>): void {
    const { input, consumed, records } = entry;
    if (consumed) this.inputs[consumed.topic] = Math.max(consumed.next, this.inputs[consumed.topic] ?? 0);
    this.outputs.push(...records);
    if (input === undefined) return;
    try {
      this.#decide(input);
    } catch (cause) {
      const error = cause instanceof EvenkeelError ? cause : new EvenkeelError('decision_failed', (cause as Error).message, { cause });
      this.#failed.set(entry, error);
      this.outputs.push(...this.#parts.deadLetter(input, error, entry));
    }
  }

  /** @throws EvenkeelError `wedged` when a wake changes nothing: it would come again for ever */
  wake(): void {
    const { due: index, machine, overlay, now } = this.#parts;
    const due = index.until(now, MOST_WAKES);
    this.more ||= due.length >= MOST_WAKES;
    for (const row of due) {
      const { item, mark } = overlay.state(row);
      const still = row.item === undefined ? mark && machine.markKeys(mark).due : item && machine.itemKeys(item).due;
      // Another deadline of the same row may be due as well, where the one of this key has gone with an input of this round.
      if (still === undefined || still > now) continue;
      if (this.#decide(machine.wake(row)) === 0) throw new EvenkeelError('wedged', `the wake of ${row.tenant}/${row.item ?? row.mark} changed nothing`);
    }
  }

  /** Starts what the cap allows, in the fair queue's order. `running` and what this round adds stay within `cap`. */
  dispatch(running: number, cap: number): void {
    const { fair, machine, overlay, now } = this.#parts;
    this.#touch();
    for (let started = 0; running + overlay.runningDelta < cap; started++) {
      if (started >= cap + MOST_WAKES) {
        this.more = true;
        return;
      }
      const next = fair.next(now, cap - running - overlay.runningDelta <= keptSlots(cap));
      if ('wakeAt' in next) {
        this.wakeAt = next.wakeAt;
        return;
      }
      if (this.#decide(machine.dispatch(next)) === 0) throw new EvenkeelError('wedged', `the dispatch of ${next.tenant}/${next.item} changed nothing`);
      this.#touch();
    }
  }

  /** Tells those who offered: with the rows as committed, or why their input was dropped. */
  resolve(entries: readonly Entry<A, R, K, I>[]): void {
    for (const entry of entries) {
      const error = this.#failed.get(entry);
      if (error) entry.reject(error);
      else entry.resolve(entry.input === undefined ? undefined : this.#parts.overlay.state(entry.input));
    }
  }

  #touch(): void {
    for (const tenant of this.#touched) this.#parts.fair.touch(tenant, this.#parts.now);
    this.#touched.clear();
  }

  /** How many events were decided. */
  #decide(input: I): number {
    const { machine, overlay, now } = this.#parts;
    const [eventsBefore, outputsBefore] = [this.events.length, this.outputs.length];
    const charges: (readonly [Charge, number])[] = [];
    try {
      const events = machine.decide(overlay.state(input), input, now);
      for (const event of events) {
        const after = overlay.apply(event, now);
        this.#record(input, event, after);
        const charge = machine.charge(event);
        if (charge) charges.push([charge, machine.weight(after.account)]);
      }
      for (const [charge, weight] of charges) this.#parts.fair.charge(input.tenant, charge, weight);
      if (events.length > 0) this.#touched.add(input.tenant);
      return events.length;
    } catch (error) {
      overlay.rollback();
      this.events.length = eventsBefore;
      this.outputs.length = outputsBefore;
      throw error;
    } finally {
      overlay.settle();
    }
  }

  #record(input: I, event: E, after: State<A, R, K>): void {
    const { machine, overlay, historyTopic: topic, partition } = this.#parts;
    this.events.push(this.#bounded({ topic, partition, key: input.tenant, value: machine.history.encode(event) }));
    for (const output of machine.outputs(after, event, input)) {
      this.outputs.push(this.#bounded(output.partition === undefined ? { ...output, partition } : output));
      if (output.words && output.value) overlay.keepWords(output.words, output.value);
    }
  }

  #bounded(output: Output): Output {
    const size = output.value?.byteLength ?? 0;
    if (size > this.#parts.maxOutputBytes) throw new EvenkeelError('record_too_large', `a record of ${size} bytes for ${output.topic}`);
    return output;
  }
}
