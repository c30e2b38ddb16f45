/**
 * The store on RocksDB: one column, tables as one-letter key prefixes, synchronous calls, one WriteBatch for some transactions.
 * Invariant 3: rows and the positions they reflect are in the same batch. No write is synced: the log is the truth, and a batch that a
 * crash loses is read from it again.
 */
import { existsSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Iterator as RocksIterator, RocksLevel } from 'rocksdb';
import binding, { type Batch, type Database } from 'rocksdb/binding.js';
import { bufferOf } from '#schemas/buffer.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { rangeEnd, tenantOf } from '#streams/engine/keys.ts';
import { type Meta, type PutRow, type Store, type Stores, TABLE_ORDER, TABLES, type Table, type Write } from '#streams/engine/ports.ts';

/** Larger means fewer flushes, and a longer replay of the write-ahead log after a kill -9 (0.08 s at 16 MB with a million rows). */
const MEMTABLE_BYTES = 16 * 1_048_576;
const META_KEY = Buffer.from('!meta');
const PAGE = 1_000;
const SORTED_FROM = 2_000;
const LETTER_TABLE = new Map(Object.entries(TABLES).map(([table, letter]) => [letter.charCodeAt(0), table as Table]));
const BUFFERS = { keys: true, values: true, keyEncoding: 'buffer', valueEncoding: 'buffer' } as const;

/** The files are sound, and throwing them away would mend nothing: a full disk, or one that has become read-only; */
const UNWRITABLE = /No space left|Disk quota|Read-only file system/;
/** another opener, in this process or another. */
const NOT_ITS_FAULT = /Too many open files|lock hold by current process|While lock file/;

/** Of an opening that failed the binding says only that it did; RocksDB's own words stand in the cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? reasonOf(cause) : message;
}

const directoryName = (partition: number) => `partition-${partition}`;

/** Partitions of which there is a store on disk. */
export function partitionsIn(directory: string): readonly number[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).flatMap((name) => {
    const partition = Number(/^partition-(\d+)$/.exec(name)?.[1] ?? Number.NaN);
    return Number.isNaN(partition) ? [] : [partition];
  });
}

export function rocksStores(directory: string): Stores {
  const location = (partition: number) => join(directory, directoryName(partition));
  return {
    async open(partition) {
      let db: RocksLevel | undefined;
      try {
        db = await RocksLevel.open(location(partition), {
          createIfMissing: true,
          compaction: 'level',
          memtableMemoryBudget: MEMTABLE_BYTES,
          // It costs a sixth of a write, for a log that is thrown away with its memtable.
          walCompression: false,
          keyEncoding: 'buffer',
          valueEncoding: 'buffer',
        });
        return new RocksStore(db);
      } catch (cause) {
        // Its lock is let go: the caller destroys the store and opens it again.
        await db?.close();
        const why = reasonOf(cause);
        const code = UNWRITABLE.test(why) ? 'store_unwritable' : NOT_ITS_FAULT.test(why) ? 'unavailable' : 'store_ahead';
        throw new EvenkeelError(code, `the store of partition ${partition} does not open: ${why}`, { cause });
      }
    },
    destroy: (partition) => rm(location(partition), { recursive: true, force: true }),
  };
}

/**
 * Lets another thread of this process work on the store, which it reaches by the handle (`borrowedStore`). Until it is done nobody here may.
 * @throws what `work` throws
 */
export async function lend<T>(store: Store, work: (handle: bigint) => Promise<T>): Promise<T> {
  if (!(store instanceof RocksStore)) throw new EvenkeelError('unavailable', 'only a store on RocksDB can be lent');
  try {
    return await work(store.handle);
  } finally {
    store.readMeta();
  }
}

/** Of another thread, which opened it and will close it. */
export async function borrowedStore(handle: bigint): Promise<Store> {
  return new RocksStore(await RocksLevel.open(handle, {}));
}

class RocksStore implements Store {
  readonly #db: RocksLevel;
  /** The same, for the functions below the class: a put through its methods takes twice as long. */
  readonly #database: Database;
  meta: Meta | undefined;

  constructor(db: RocksLevel) {
    this.#db = db;
    this.#database = binding.db_init(db.handle);
    this.readMeta();
  }

  get handle(): bigint {
    return this.#db.handle;
  }
  readMeta(): void {
    const bytes = this.#read([META_KEY])[0];
    this.meta = bytes === undefined ? undefined : decodeMeta(bytes);
  }

  get(table: Table, key: string): Uint8Array | undefined {
    return this.#read([fullKey(table, key)])[0];
  }

  getMany(table: Table, keys: readonly string[]): readonly (Uint8Array | undefined)[] {
    return this.#read(keys.map((key) => fullKey(table, key)));
  }

  scan(table: Table, from: string, limit: number, to?: string): readonly (readonly [string, Uint8Array])[] {
    // The binding hands out one row where none is asked for.
    if (limit <= 0) return [];
    const iterator = this.#iterator({ gte: fullKey(table, from), lt: to === undefined ? tableEnd(table) : fullKey(table, to) });
    try {
      const { rows } = iterator._nextvSync(limit);
      return pairs(rows).map(([key, value]) => [key.subarray(2).toString(), value] as const);
    } finally {
      iterator._closeSync();
    }
  }

  /** One iterator, one seek a tenant. */
  heads(table: Table, from: string, tenants: number): readonly (readonly [string, Uint8Array])[] {
    const found: (readonly [string, Uint8Array])[] = [];
    const iterator = this.#iterator({ gte: fullKey(table, from), lt: tableEnd(table) });
    try {
      for (let at = fullKey(table, from); found.length < tenants; ) {
        iterator._seekSync(at);
        const [first] = pairs(iterator._nextvSync(1).rows);
        if (!first) return found;
        const key = first[0].subarray(2).toString();
        found.push([key, first[1]]);
        at = fullKey(table, rangeEnd(tenantOf(key)));
      }
      return found;
    } finally {
      iterator._closeSync();
    }
  }

  write(writes: readonly Write[], meta: Meta): void {
    this.#batch(meta, (batch) => {
      for (const { table, key, value } of inserted(writes)) {
        if (value === undefined) binding.batch_del(batch, transient(table, key), null);
        else binding.batch_put(batch, transient(table, key), value, null);
      }
    });
  }

  fill(rows: (put: PutRow) => void, meta: Meta): void {
    this.#batch(meta, (batch) => {
      rows((table, bytes, key, value, end) => {
        binding.batch_put(batch, keyAt(table, bytes, key, value), valueAt(bytes, value, end), null);
      });
    });
  }

  #batch(meta: Meta, add: (batch: Batch) => void): void {
    this.#mustBeOpen();
    const batch = binding.batch_init();
    try {
      add(batch);
      // While a store is filled it stays the same. Written again it would be in every file, and files that share a key are merged.
      if (meta !== this.meta) binding.batch_put(batch, META_KEY, encodeMeta(meta), null);
      this.#write(batch);
    } finally {
      // Its memory goes now, and not with the heap's next collection.
      binding.batch_clear(batch);
    }
    this.meta = meta;
  }

  #write(batch: Batch): void {
    try {
      binding.batch_write(this.#database, batch, null);
    } catch (cause) {
      throw new EvenkeelError('store_unwritable', `a batch was not written: ${reasonOf(cause)}`, { cause });
    }
  }

  /** An iterator of RocksDB sees the moment at which it was made. */
  entries(): IterableIterator<readonly [Table, string, Uint8Array]> {
    const iterator = this.#iterator({ gte: Buffer.from('a'), lt: Buffer.from('~') });
    const rows = rowsOf(iterator);
    // A generator that was never begun runs no `finally`.
    let begun = false;
    return {
      [Symbol.iterator]() {
        return this;
      },
      next() {
        begun = true;
        return rows.next();
      },
      return() {
        if (!begun) iterator._closeSync();
        begun = true;
        return rows.return?.(undefined) ?? { done: true, value: undefined };
      },
    };
  }

  #iterator(bounds: { readonly gte: Buffer; readonly lt: Buffer }): RocksIterator {
    this.#mustBeOpen();
    return this.#db._iterator({ ...bounds, ...BUFFERS });
  }

  #read(keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] {
    this.#mustBeOpen();
    return binding.db_get_many_sync(this.#database, keys, null);
  }

  /** The binding asks nothing: on a closed store its functions and iterators would end the process. */
  #mustBeOpen(): void {
    if (this.#db.status !== 'open') throw new EvenkeelError('unavailable', 'the store is closed');
  }

  async close(): Promise<void> {
    try {
      await this.#db.close();
    } catch {
      // What a full disk did not take cannot be flushed, and is read again from the log. The files are let go; the binding learns of it now.
      await this.#db.close();
    }
  }
}

function* rowsOf(iterator: RocksIterator): IterableIterator<readonly [Table, string, Uint8Array]> {
  try {
    for (;;) {
      const { rows, finished } = iterator._nextvSync(PAGE);
      for (const [key, value] of pairs(rows)) yield [LETTER_TABLE.get(key[0] as number) as Table, key.subarray(2).toString(), value] as const;
      if (finished || rows.length === 0) return;
    }
  } finally {
    iterator._closeSync();
  }
}

/** Canonical: equal metas have equal bytes, whatever the order in which their topics were first consumed. */
function encodeMeta(meta: Meta): Uint8Array {
  const { positions, batch, time, inputs, version, partitions, snapshot } = meta;
  const sorted = Object.fromEntries(Object.entries(inputs).sort(([a], [b]) => (a < b ? -1 : 1)));
  const { history, words } = positions;
  return Buffer.from(JSON.stringify({ positions: { history, words }, batch, time, inputs: sorted, version, partitions, snapshot }));
}

/** Written by us alone, in one batch with the rows; where its shape is another, the rows' is too. */
function decodeMeta(bytes: Uint8Array): Meta {
  const meta = JSON.parse(Buffer.from(bytes).toString()) as Meta;
  if (!Number.isSafeInteger(meta.batch) || !Number.isSafeInteger(meta.positions?.history)) throw new Error('its positions are not readable');
  return meta;
}

const fullKey = (table: Table, key: string): Buffer => Buffer.from(`${TABLES[table]}/${key}`);

/** Many are put in the order of their keys, where the memtable finds each place from the last: a third of the time. Equal keys stay in turn. */
function inserted(writes: readonly Write[]): readonly Write[] {
  if (writes.length < SORTED_FROM) return writes;
  const tables = Map.groupBy(writes, ({ table }) => table);
  return TABLE_ORDER.flatMap((table) => tables.get(table)?.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)) ?? []);
}

const SCRATCH_BYTES = 1_024;
const heads = (bytes: Buffer): readonly Buffer[] => Array.from({ length: bytes.length + 1 }, (_, length) => bytes.subarray(0, length));
const scratch = Buffer.alloc(SCRATCH_BYTES);
const views = heads(scratch);
const valueScratch = Buffer.alloc(SCRATCH_BYTES);
const valueViews = heads(valueScratch);
const SLASH = 0x2f;
/** Until the next call: the binding copies keys at once, and a buffer for each costs more than the copy. */
function transient(table: Table, key: string): Uint8Array {
  const { length } = key;
  // A unit takes three bytes at most.
  if (length * 3 + 2 > scratch.length) return fullKey(table, key);
  scratch[0] = TABLES[table].charCodeAt(0);
  scratch[1] = SLASH;
  let [at, high] = [2, 0];
  for (let i = 0; i < length; i++) {
    const unit = key.charCodeAt(i);
    high |= unit;
    scratch[at++] = unit;
  }
  return views[high < 0x80 ? at : 2 + scratch.write(key, 2)] as Buffer;
}
/** The same of a key, and of a value, that stands in `bytes`: a view of its own costs the heap more than the copy. */
function keyAt(table: Table, bytes: Buffer, from: number, to: number): Buffer {
  const length = to - from + 2;
  if (length > SCRATCH_BYTES) return fullKey(table, bytes.toString('utf8', from, to));
  scratch[0] = TABLES[table].charCodeAt(0);
  scratch[1] = SLASH;
  for (let at = from; at < to; at++) scratch[at - from + 2] = bytes[at] as number;
  return views[length] as Buffer;
}
function valueAt(bytes: Buffer, from: number, to: number): Buffer {
  if (to - from > SCRATCH_BYTES) return bytes.subarray(from, to);
  bytes.copy(valueScratch, 0, from, to);
  return valueViews[to - from] as Buffer;
}
/** `0` is the byte after `/`. */
const tableEnd = (table: Table): Buffer => Buffer.from(`${TABLES[table]}0`);

/** RocksDB hands out keys and values in turn. */
function pairs(rows: readonly Uint8Array[]): (readonly [Buffer, Uint8Array])[] {
  const found: (readonly [Buffer, Uint8Array])[] = [];
  for (let at = 0; at + 1 < rows.length; at += 2) found.push([bufferOf(rows[at] as Uint8Array), rows[at + 1] as Uint8Array]);
  return found;
}
