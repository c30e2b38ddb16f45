/** What has arrived and is not yet decided. Effect results go first: they free slots and settle holds. */
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output, State } from './machine.ts';

/** The record an input came from: `next` becomes the input offset of its transaction (invariant 2). `at`: its append time. */
export type Consumed = { readonly topic: string; readonly from: Offset; readonly next: Offset; readonly at?: Instant };
export type Entry<A, R, K, I> = {
  /** undefined: records are passed on without a decision. */
  readonly input: I | undefined;
  readonly records: readonly Output[];
  readonly consumed: Consumed | undefined;
  readonly resolve: (state: State<A, R, K> | undefined) => void;
  readonly reject: (error: Error) => void;
};

export class Inbox<A, R, K, I> {
  #results: Entry<A, R, K, I>[] = [];
  #arrivals: Entry<A, R, K, I>[] = [];

  get size(): number {
    return this.#results.length + this.#arrivals.length;
  }

  push(entry: Entry<A, R, K, I>): void {
    (entry.consumed ? this.#arrivals : this.#results).push(entry);
  }

  take(most: number): readonly Entry<A, R, K, I>[] {
    const results = this.#results.splice(0, most);
    return [...results, ...this.#arrivals.splice(0, most - results.length)];
  }

  /**
   * `logged`: those below the position of their topic. They are in the log already, and the second time is empty (invariant 10). One that
   * was fed twice before its first commit waits for that commit.
   */
  takeFresh(most: number, position: (topic: string) => Offset): Record<'fresh' | 'logged', readonly Entry<A, R, K, I>[]> {
    const fresh: Entry<A, R, K, I>[] = [];
    const logged: Entry<A, R, K, I>[] = [];
    const again: Entry<A, R, K, I>[] = [];
    const next: Record<string, Offset> = {};
    for (const entry of this.take(most)) {
      const { consumed } = entry;
      if (consumed && consumed.next <= position(consumed.topic)) logged.push(entry);
      else if (consumed && consumed.next <= (next[consumed.topic] ?? 0)) again.push(entry);
      else {
        if (consumed) next[consumed.topic] = consumed.next;
        fresh.push(entry);
      }
    }
    this.putBack(again);
    return { fresh, logged };
  }

  /** After an unknown commit: back in front, in order. */
  putBack(entries: readonly Entry<A, R, K, I>[]): void {
    this.#results = [...entries.filter((entry) => !entry.consumed), ...this.#results];
    this.#arrivals = [...entries.filter((entry) => entry.consumed), ...this.#arrivals];
  }

  rejectAll(error: Error): void {
    for (const entry of this.take(this.size)) entry.reject(error);
  }
}
