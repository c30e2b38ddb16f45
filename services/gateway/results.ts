/** The results of finished requests, on disk as they came: sealed. They are opened for who may read them, and forgotten with their request. */
import type { Codec } from '#schemas/codec.ts';
import type { Offset, RequestId, TenantId } from '#schemas/ids.ts';
import type { RecordOf } from '#schemas/records.ts';
import type { Topic } from '#schemas/topics.ts';
import { emptyMeta } from '#streams/engine/fold.ts';
import type { Log, Store, Stores, Write } from '#streams/engine/ports.ts';

export type Result = RecordOf<'support_result'>;
const RESULTS: Topic = 'support.results';
const VERSION = 1;

/** Arrived and not yet written; undefined: to be dropped. */
type Pending = Map<string, Uint8Array | undefined>;
const MOST_PENDING = 1_000;

export class Results {
  readonly #log: Pick<Log, 'follow'>;
  readonly #codec: Codec;
  readonly #stores: readonly Store[];
  readonly #pending: readonly Pending[];
  /** The position that the pending ones lead to. */
  readonly #next: (Offset | undefined)[] = [];
  readonly #awaited = new Map<string, Set<() => void>>();
  readonly #stop = new AbortController();
  #runs: readonly Promise<void>[] = [];

  static async open({ log, codec, stores, partitions }: { log: Pick<Log, 'follow'>; codec: Codec; stores: Stores; partitions: number }): Promise<Results> {
    const opened = await Promise.all(Array.from({ length: partitions }, (_, partition) => stores.open(partition)));
    return new Results(log, codec, opened);
  }

  private constructor(log: Pick<Log, 'follow'>, codec: Codec, stores: readonly Store[]) {
    this.#log = log;
    this.#codec = codec;
    this.#stores = stores;
    this.#pending = stores.map(() => new Map());
  }

  /** Resolves when each partition's results, as of now, are here. */
  async start(fail: (error: Error) => void): Promise<void> {
    const ready = this.#stores.map((store, partition) => {
      let markReady: () => void = () => undefined;
      const is = new Promise<void>((resolve) => {
        markReady = resolve;
      });
      const run = this.#follow(store, partition, markReady).catch(fail);
      this.#runs = [...this.#runs, run];
      return is;
    });
    await Promise.all(ready);
  }

  get(partition: number, tenant: TenantId, request: RequestId): Result | undefined {
    const [key, pending] = [`${tenant}/${request}`, this.#pending[partition]];
    const bytes = pending?.has(key) ? pending.get(key) : this.#stores[partition]?.get('words', key);
    return bytes && this.#decode(bytes);
  }

  /** A finished request's result is in the same transaction as its end, on another topic: it may arrive a moment later. */
  async arrival(partition: number, tenant: TenantId, request: RequestId, ms: number): Promise<Result | undefined> {
    const here = this.get(partition, tenant, request);
    if (here || ms <= 0) return here;
    const key = `${tenant}/${request}`;
    const waiting = this.#awaited.get(key) ?? new Set();
    this.#awaited.set(key, waiting);
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        waiting.delete(done);
        if (waiting.size === 0) this.#awaited.delete(key);
        resolve();
      };
      const timer = setTimeout(done, ms);
      waiting.add(done);
    });
    return this.get(partition, tenant, request);
  }

  forget(partition: number, tenant: TenantId, request: RequestId): void {
    this.#pending[partition]?.set(`${tenant}/${request}`, undefined);
  }

  /** What has arrived and what is to be dropped, in one batch. */
  write(partition: number): void {
    const [store, pending, next] = [this.#stores[partition], this.#pending[partition], this.#next[partition]];
    if (!store || !pending || (pending.size === 0 && next === undefined)) return;
    const meta = store.meta ?? emptyMeta(VERSION, this.#stores.length);
    const writes = [...pending].map(([key, value]): Write => ({ table: 'words', key, value }));
    store.write(writes, { ...meta, positions: { ...meta.positions, words: next ?? meta.positions.words } });
    pending.clear();
    this.#next[partition] = undefined;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#runs);
    for (const partition of this.#stores.keys()) this.write(partition);
    await Promise.all(this.#stores.map((store) => store.close()));
  }

  async #follow(store: Store, partition: number, ready: () => void): Promise<void> {
    let target: number | undefined;
    const from = store.meta?.positions.words ?? 0;
    for await (const { records, next, end } of this.#log.follow(RESULTS, partition, from, this.#stop.signal)) {
      this.#next[partition] = next;
      for (const { value } of records) {
        const result = value && this.#decode(value);
        if (result) this.#take(partition, `${result.tenant}/${result.request}`, value);
      }
      target ??= end;
      if (next >= target) ready();
    }
  }

  #take(partition: number, key: string, value: Uint8Array): void {
    const pending = this.#pending[partition] as Pending;
    // A copy: as a view it would keep all that was fetched with it.
    pending.set(key, Uint8Array.prototype.slice.call(value));
    if (pending.size >= MOST_PENDING) this.write(partition);
    const awaited = this.#awaited.get(key);
    if (awaited) for (const arrived of [...awaited]) arrived();
  }

  #decode(bytes: Uint8Array): Result | undefined {
    const { name, value } = this.#codec.decode(bytes);
    return name === 'support_result' ? value : undefined;
  }
}
