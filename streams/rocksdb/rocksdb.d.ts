/** What is used of the binding, which has no types of its own. Calls with a leading underscore are its synchronous ones. */
declare module 'rocksdb' {
  export type Iterator = {
    _seekSync(target: Uint8Array): void;
    _nextvSync(size: number): { readonly rows: readonly Uint8Array[]; readonly finished: boolean };
    _closeSync(): void;
  };
  type Options = {
    readonly createIfMissing: boolean;
    readonly compaction: 'level';
    readonly memtableMemoryBudget: number;
    readonly walCompression: boolean;
    readonly keyEncoding: 'buffer';
    readonly valueEncoding: 'buffer';
  };
  export class RocksLevel {
    /** By its handle: what another thread has opened, as it is. */
    static open(location: string | bigint, options: Options | Readonly<Record<string, never>>): Promise<RocksLevel>;
    readonly status: 'opening' | 'open' | 'closing' | 'closed';
    readonly handle: bigint;
    _iterator(options: {
      readonly gte: Uint8Array;
      readonly lt: Uint8Array;
      readonly limit?: number;
      readonly keys: true;
      readonly values: boolean;
      readonly keyEncoding: 'buffer';
      readonly valueEncoding: 'buffer';
    }): Iterator;
    close(): Promise<void>;
  }
}

/** The functions below it. What is null takes the defaults; an object is searched for each of its options, which takes longer than a put. */
declare module 'rocksdb/binding.js' {
  export type Database = { readonly database: never };
  export type Batch = { readonly batch: never };
  const binding: {
    db_init(handle: bigint): Database;
    db_get_many_sync(database: Database, keys: readonly Uint8Array[], options: null): readonly (Uint8Array | undefined)[];
    batch_init(): Batch;
    batch_put(batch: Batch, key: Uint8Array, value: Uint8Array, options: null): void;
    batch_del(batch: Batch, key: Uint8Array, options: null): void;
    batch_write(database: Database, batch: Batch, options: null): void;
    batch_clear(batch: Batch): void;
  };
  export default binding;
}
