/**
 * A read-only fold of a log into a store of one's own, for those who watch: the gateway, the command line. It fences nobody and acts on
 * whole transactions only. `peek` sees what was folded.
 */

import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch } from '#schemas/events.ts';
import type { Offset } from '#schemas/ids.ts';
import { Folder } from './fold.ts';
import { HistoryReader, type Transaction } from './history.ts';
import type { Machine, Row, State, Work } from './machine.ts';
import type { Clock, Log, Store, Stores } from './ports.ts';

const WRITE_MS = 500;

export type Seen<A, R, K, E> = { readonly event: E; readonly offset: Offset; readonly after: State<A, R, K> };
export type ProjectionOptions<A, R, K, I extends Row, E, X extends Work> = {
  readonly machine: Machine<A, R, K, I, E, X>;
  readonly log: Pick<Log, 'follow'>;
  readonly stores: Stores;
  readonly partitions: number;
  readonly topic: string;
  /** After each transaction was folded. */
  readonly onBatch?: (partition: number, batch: Batch, events: readonly Seen<A, R, K, E>[]) => void;
  readonly partitionOf: (row: Row) => number;
  /**
   * With it a store is written twice a second at most: a row that changes many times meanwhile is written once, and one that came and went
   * not at all. A crash folds the last half second again.
   */
  readonly clock?: Pick<Clock, 'after'>;
  /** What else must not fall behind this partition's store is written here, before it. */
  readonly onWrite?: (partition: number) => void;
};
export interface Projection<A, R, K> {
  /** Every partition was folded to the end that its log had at opening. */
  readonly ready: Promise<void>;
  /** Resolves when a partition can no longer be folded. */
  readonly failed: Promise<Error>;
  peek(row: Row): State<A, R, K>;
  position(partition: number): Offset;
  store(partition: number): Store;
  close(): Promise<void>;
}

export async function openProjection<A, R, K, I extends Row, E, X extends Work>(options: ProjectionOptions<A, R, K, I, E, X>): Promise<Projection<A, R, K>> {
  const stop = new AbortController();
  const parts = Array.from({ length: options.partitions }, (_, partition) => new ProjectedPartition(options, partition, stop.signal));
  const part = (partition: number) => {
    const found = parts[partition];
    if (!found) throw new EvenkeelError('partitions_changed', `there is no partition ${partition}`);
    return found;
  };
  await Promise.all(parts.map((each) => each.open()));
  const runs = parts.map((each) => each.run());
  return {
    ready: Promise.all(parts.map((each) => each.ready)).then(() => undefined),
    failed: Promise.race(
      runs.map((run) =>
        run.then(
          () => new Promise<Error>(() => undefined),
          (error: Error) => error,
        ),
      ),
    ),
    peek: (row) => part(options.partitionOf(row)).state(row),
    position: (partition) => part(partition).position,
    store: (partition) => part(partition).store,
    async close() {
      stop.abort();
      await Promise.allSettled(runs);
      await Promise.all(parts.map((each) => each.close()));
    },
  };
}

class ProjectedPartition<A, R, K, I extends Row, E, X extends Work> {
  readonly #options: ProjectionOptions<A, R, K, I, E, X>;
  readonly #partition: number;
  readonly #signal: AbortSignal;
  #folder!: Folder<A, R, K, I, E, X>;
  store!: Store;
  /** Cancels the write that is due. */
  #later: (() => void) | undefined;
  readonly #unwritten = Promise.withResolvers<never>();
  #markReady!: () => void;
  readonly ready = new Promise<void>((resolve) => {
    this.#markReady = resolve;
  });

  constructor(options: ProjectionOptions<A, R, K, I, E, X>, partition: number, signal: AbortSignal) {
    this.#options = options;
    this.#partition = partition;
    this.#signal = signal;
  }

  async open(): Promise<void> {
    const { stores, machine } = this.#options;
    this.#use(await stores.open(this.#partition));
    const version = this.store.meta?.version;
    if (version !== undefined && version !== machine.version) await this.#rebuild();
  }
  async close(): Promise<void> {
    if (this.#later) this.#write();
    await this.store.close();
  }

  get position(): Offset {
    return this.#folder.meta.positions.history;
  }
  state(row: Row): State<A, R, K> {
    return this.#folder.state(row);
  }

  async run(): Promise<void> {
    try {
      await Promise.race([this.#follow(), this.#unwritten.promise]);
    } catch (error) {
      if (!(error instanceof EvenkeelError) || error.code !== 'store_ahead') throw error;
      await this.#rebuild();
      await Promise.race([this.#follow(), this.#unwritten.promise]);
    }
  }

  async #follow(): Promise<void> {
    const { log, topic, machine } = this.#options;
    const reader = new HistoryReader(machine);
    let target: Offset | undefined;
    for await (const { records, next, end } of log.follow(topic, this.#partition, this.position, this.#signal)) {
      for (const record of records) {
        const transaction = reader.push(record);
        if (!transaction) continue;
        const seen: Seen<A, R, K, E>[] = [];
        this.#fold(transaction, seen);
        this.#options.onBatch?.(this.#partition, transaction.batch, seen);
      }
      this.#writeSoon();
      target ??= end;
      if (next >= target) this.#markReady();
    }
  }

  #fold(transaction: Transaction<E>, seen: Seen<A, R, K, E>[]): void {
    try {
      this.#folder.add(transaction, (event, offset, after) => seen.push({ event, offset, after }));
    } catch (error) {
      // Half of a transaction is not written.
      this.#unschedule();
      throw error;
    }
  }

  #unschedule(): void {
    this.#later?.();
    this.#later = undefined;
  }

  #writeSoon(): void {
    const { clock } = this.#options;
    if (!clock) return this.#write();
    this.#later ??= clock.after(WRITE_MS, () => {
      try {
        this.#write();
      } catch (error) {
        this.#unwritten.reject(error as Error);
      }
    });
  }

  #write(): void {
    this.#unschedule();
    this.#options.onWrite?.(this.#partition);
    this.#folder.flush();
  }

  #use(store: Store): void {
    this.store = store;
    this.#folder = new Folder(this.#options.machine, store, this.#options.partitions);
  }

  async #rebuild(): Promise<void> {
    await this.store.close();
    await this.#options.stores.destroy(this.#partition);
    this.#use(await this.#options.stores.open(this.#partition));
  }
}
