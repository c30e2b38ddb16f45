/**
 * A read-only fold of a log into a store of one's own, for those who watch: the gateway, the command line. It fences nobody and acts on
 * whole transactions only. `peek` sees what was folded.
 */

import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch } from '#schemas/events.ts';
import type { Offset } from '#schemas/ids.ts';
import { Folder } from './fold.ts';
import { HistoryReader } from './history.ts';
import type { Machine, Row, State, Work } from './machine.ts';
import type { Log, Store, Stores } from './ports.ts';

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
      await this.#follow();
    } catch (error) {
      if (!(error instanceof EvenkeelError) || error.code !== 'store_ahead') throw error;
      await this.#rebuild();
      await this.#follow();
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
        this.#folder.add(transaction, (event, offset, after) => seen.push({ event, offset, after }));
        this.#options.onBatch?.(this.#partition, transaction.batch, seen);
      }
      this.#folder.flush();
      target ??= end;
      if (next >= target) this.#markReady();
    }
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
