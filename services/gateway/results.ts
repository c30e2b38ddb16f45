/** The results of finished requests, on disk as they came: sealed. They are opened for who may read them, and forgotten with their request. */
import type { Codec } from '#schemas/codec.ts';
import type { RequestId, TenantId } from '#schemas/ids.ts';
import type { RecordOf } from '#schemas/records.ts';
import type { Topic } from '#schemas/topics.ts';
import { emptyMeta } from '#streams/engine/fold.ts';
import type { Log, Store, Stores, Write } from '#streams/engine/ports.ts';

export type Result = RecordOf<'support_result'>;
const RESULTS: Topic = 'support.results';
const VERSION = 1;

export class Results {
  readonly #log: Pick<Log, 'follow'>;
  readonly #codec: Codec;
  readonly #stores: readonly Store[];
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
    const bytes = this.#stores[partition]?.get('words', `${tenant}/${request}`);
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
    const store = this.#stores[partition];
    if (store?.meta) store.write([{ table: 'words', key: `${tenant}/${request}`, value: undefined }], store.meta);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#runs);
    await Promise.all(this.#stores.map((store) => store.close()));
  }

  async #follow(store: Store, partition: number, ready: () => void): Promise<void> {
    let target: number | undefined;
    const from = store.meta?.positions.words ?? 0;
    for await (const { records, next, end } of this.#log.follow(RESULTS, partition, from, this.#stop.signal)) {
      const results = records.flatMap(({ value }) => {
        const result = value && this.#decode(value);
        return result && value ? [{ result, value }] : [];
      });
      const writes: Write[] = results.map(({ result, value }) => ({ table: 'words', key: `${result.tenant}/${result.request}`, value }));
      const meta = store.meta ?? emptyMeta(VERSION, this.#stores.length);
      store.write(writes, { ...meta, positions: { ...meta.positions, words: next } });
      for (const { result } of results) for (const arrived of [...(this.#awaited.get(`${result.tenant}/${result.request}`) ?? [])]) arrived();
      target ??= end;
      if (next >= target) ready();
    }
  }

  #decode(bytes: Uint8Array): Result | undefined {
    const { name, value } = this.#codec.decode(bytes);
    return name === 'support_result' ? value : undefined;
  }
}
