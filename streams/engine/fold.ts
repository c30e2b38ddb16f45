/**
 * The fold of the history into a store, used by recovery, by projections and by verification alike (invariants 3 and 5).
 * A throw while folding stops the caller: the history is the truth, and a truth that cannot be read is not skipped.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch } from '#schemas/events.ts';
import type { Offset } from '#schemas/ids.ts';
import { FoldedRows } from './folded-rows.ts';
import type { Transaction } from './history.ts';
import type { Machine, Row, State, Work } from './machine.ts';
import type { Meta, Positions, Store } from './ports.ts';

/** A batch is written when so many rows have changed, or so many events were folded: memory is bounded, and a busy row is written seldom. */
const ROWS_PER_WRITE = 4_000;
const EVENTS_PER_WRITE = 100_000;

/** The fold version of a store that is filled, and is not whole before it has been to its end: whoever opens it begins anew. */
export const RESTORING = 0;

export function emptyMeta(version: number, partitions: number): Meta {
  return { positions: { history: 0, words: 0 }, batch: 0, time: 0, inputs: {}, version, partitions };
}

/** What a store reflects once it holds `batch` too. */
export function metaAfter(before: Meta, batch: Batch, positions: Positions): Meta {
  const inputs = { ...before.inputs, ...Object.fromEntries(batch.inputs.map(({ topic, next }) => [topic, next])) };
  return { ...before, positions, batch: batch.number, time: batch.time, inputs };
}

export class Folder<A, R, K, I extends Row, E, X extends Work> {
  readonly #store: Store;
  readonly #rows: FoldedRows<A, R, K, I, E, X>;
  readonly #filling: Meta | undefined;
  #meta: Meta;
  #pending = 0;

  /**
   * `filling`: the store is empty, and nobody asks it before `flush`. Then accounts, which nearly every batch changes, are written once at
   * the end; until then the store is marked as not whole.
   */
  constructor(machine: Machine<A, R, K, I, E, X>, store: Store, partitions: number, filling = false) {
    this.#store = store;
    this.#rows = new FoldedRows(machine, store);
    this.#meta = store.meta ?? emptyMeta(machine.version, partitions);
    this.#filling = filling ? emptyMeta(RESTORING, partitions) : undefined;
  }

  get meta(): Meta {
    return this.#meta;
  }

  /** Folds one transaction; `seen` gets each event with the rows after it. @throws EvenkeelError `store_ahead`, `partitions_changed` */
  add(transaction: Transaction<E>, seen?: (event: E, offset: Offset, after: State<A, R, K>) => void): void {
    const { batch, events, next } = transaction;
    this.#check(batch.number, batch.partitions);
    for (const { event, offset } of events) {
      const after = this.#rows.apply(event, batch.time);
      seen?.(event, offset, after);
    }
    this.#meta = metaAfter(this.#meta, batch, { ...this.#meta.positions, history: next });
    this.#pending += events.length + 1;
    if (this.#filling) {
      if (this.#rows.changed >= ROWS_PER_WRITE) this.#write(this.#filling, !this.#rows.crowded);
    } else if (this.#pending >= EVENTS_PER_WRITE || this.#rows.changed >= ROWS_PER_WRITE) this.flush();
  }

  /** Makes what was folded durable. */
  flush(): void {
    if (this.#pending === 0) return;
    this.#write(this.#meta, false);
    this.#pending = 0;
  }

  state(row: Row): State<A, R, K> {
    return this.#rows.state(row);
  }

  #write(meta: Meta, withoutAccounts: boolean): void {
    this.#store.write(this.#rows.writes(withoutAccounts), meta);
    this.#rows.committed(withoutAccounts);
  }

  #check(number: number, partitions: number): void {
    if (number !== this.#meta.batch + 1) throw new EvenkeelError('store_ahead', `the store reflects batch ${this.#meta.batch}, the log goes on with ${number}`);
    if (partitions !== this.#meta.partitions)
      throw new EvenkeelError('partitions_changed', `the history was written for ${partitions} partitions, this process has ${this.#meta.partitions}`);
  }
}
