/** What is used of the binding, which has no types of its own. Calls with a leading underscore are its synchronous ones. */
declare module 'rocksdb' {
  type Batch = {
    _put(key: Uint8Array, value: Uint8Array): void;
    _del(key: Uint8Array): void;
    _writeSync(): void;
    _closeSync(): void;
  };
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
    static open(location: string, options: Options): Promise<RocksLevel>;
    batch(): Batch;
    _getManySync(keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[];
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
