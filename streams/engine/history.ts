/** Whole transactions out of a stream of records: a `batch` record, then as many events as it announces (invariant 10). */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch } from '#schemas/events.ts';
import type { Offset } from '#schemas/ids.ts';
import type { Machine, Row, Work } from './machine.ts';
import type { Rec } from './ports.ts';

export type Logged<E> = { readonly event: E; readonly offset: Offset };
export type Transaction<E> = {
  readonly batch: Batch;
  readonly events: readonly Logged<E>[];
  /** The position after its last record. */
  readonly next: Offset;
};

export class HistoryReader<E> {
  readonly #machine: Pick<Machine<unknown, unknown, unknown, Row, E, Work>, 'history' | 'isBatch'>;
  #batch: Batch | undefined;
  #events: Logged<E>[] = [];

  constructor(machine: Pick<Machine<unknown, unknown, unknown, Row, E, Work>, 'history' | 'isBatch'>) {
    this.#machine = machine;
  }

  /** The transaction that this record completes. @throws EvenkeelError `fold_failed` where the order is broken or an event is unknown */
  push(record: Rec): Transaction<E> | undefined {
    const entry = this.#decode(record);
    if (this.#machine.isBatch(entry)) {
      if (this.#batch) throw broken(record, `batch ${this.#batch.number} has ${this.#events.length} of ${this.#batch.events} events`);
      this.#batch = entry;
      this.#events = [];
    } else {
      if (!this.#batch) throw broken(record, 'an event outside a batch');
      this.#events.push({ event: entry, offset: record.offset });
    }
    if (this.#events.length < this.#batch.events) return undefined;
    const transaction = { batch: this.#batch, events: this.#events, next: record.offset + 1 };
    this.#batch = undefined;
    return transaction;
  }

  #decode(record: Rec): E | Batch {
    const { history } = this.#machine;
    const { span } = record;
    try {
      if (span && history.decodeAt) return history.decodeAt(span.bytes, span.from, span.to);
      if (record.value !== null) return history.decode(record.value);
    } catch (cause) {
      throw new EvenkeelError('fold_failed', `history at offset ${record.offset}: ${(cause as Error).message}`, { cause });
    }
    throw broken(record, 'a tombstone in the history');
  }
}

function broken(record: Rec, why: string): EvenkeelError {
  return new EvenkeelError('fold_failed', `history at offset ${record.offset}: ${why}`);
}
