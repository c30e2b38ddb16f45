/** What the engine needs from outside. Each port has a real part and a fake for simulation; both pass test/contract. */
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output, Row, Work } from './machine.ts';

/** Where a record's value stands in what was fetched: a fold reads millions there, without a view of their own for each. */
export type Span = { readonly bytes: Uint8Array; readonly from: number; readonly to: number };
export type Rec = {
  readonly offset: Offset;
  readonly key: string | undefined;
  readonly value: Uint8Array | null;
  /** The broker's append time, ms. */
  readonly timestamp: Instant;
  readonly headers: Readonly<Record<string, Uint8Array>>;
  readonly span?: Span | undefined;
};
/** Next offset to read, by topic (all of one partition). */
export type Offsets = Readonly<Record<string, Offset>>;
/** Next offsets of the two logs that a store reflects, and the broker's time of the newest append. */
export type Positions = { readonly history: Offset; readonly words: Offset };
export type Committed = Positions & { readonly time: Instant };

export interface Log {
  /** Fences the old owner: after it returns nothing of an old owner can enter the log (invariant 6). */
  open(partition: number): Promise<PartitionLog>;
  /** Is the partition still ours, by a heartbeat in the current generation? Asked before any re-open: a zombie must not fence. */
  owned(partition: number): Promise<boolean>;
  /** Committed records from `from` on, for ever, until `signal` aborts; fences nobody. An empty batch says: the end as of now was reached. */
  follow(topic: string, partition: number, from: Offset, signal: AbortSignal): AsyncIterable<Batch>;
}
/** `next`: the position after these records, markers included. `end`: the end of the log known when they were read. */
export type Batch = { readonly records: readonly Rec[]; readonly next: Offset; readonly end: Offset };

/** Of a partition that was opened, here or in another thread. */
export interface ReadLog {
  /** Committed records to the end, which opening has fixed. `from` may lie before the log's start: it begins there. */
  read(topic: string, from: Offset): AsyncIterable<Batch>;
  /** Where a read of it ends now. */
  end(topic: string): Promise<Offset>;
}
export interface PartitionLog extends ReadLog {
  /** One transaction: the records in order (the history's first), and the inputs' offsets. Dead after a throw. */
  commit(records: readonly Output[], inputs: Offsets): Promise<Committed>;
  close(): Promise<void>;
}

export const TABLES = { account: 'a', item: 'i', mark: 'm', words: 'w', queue: 'q', due: 'd', running: 'r' } as const;
export type Table = keyof typeof TABLES;
/** By table letter: the order in which one keyspace holds them. */
export const TABLE_ORDER = (Object.keys(TABLES) as Table[]).sort((a, b) => (TABLES[a] < TABLES[b] ? -1 : 1));
export type Write = { readonly table: Table; readonly key: string; readonly value: Uint8Array | undefined };
/** Takes a row as it stands in `bytes`: its key from `key` to `value`, its value from there to `end`. They are copied at once. */
export type PutRow = (table: Table, bytes: Buffer, key: number, value: number, end: number) => void;
export type Meta = {
  readonly positions: Positions;
  /** Number of the last batch folded; 0 before the first. */
  readonly batch: number;
  readonly time: Instant;
  readonly inputs: Offsets;
  readonly version: number;
  readonly partitions: number;
  /** The newest snapshot that this store's owner knew of: the position of the history it reflects, and its rows. */
  readonly snapshot?: { readonly history: Offset; readonly rows: number } | undefined;
};

export interface View {
  get(table: Table, key: string): Uint8Array | undefined;
  /** One by one a point read costs ten times as much. */
  getMany(table: Table, keys: readonly string[]): readonly (Uint8Array | undefined)[];
  /** Of each of the first `tenants` that have one, its first entry not before `from`, in order. Keys begin with `tenant/`. */
  heads(table: Table, from: string, tenants: number): readonly (readonly [string, Uint8Array])[];
  /** Entries with `from` <= key < `to` (undefined: the table's end), in byte order of UTF-8 keys, at most `limit`. */
  scan(table: Table, from: string, limit: number, to?: string): readonly (readonly [string, Uint8Array])[];
}
export interface Store extends View {
  /** undefined: a new, empty store. */
  readonly meta: Meta | undefined;
  /**
   * One WriteBatch: all of it or nothing survives a crash. A write without a value deletes.
   * @throws EvenkeelError `store_unwritable`: nothing of it was written
   */
  write(batch: readonly Write[], meta: Meta): void;
  /** The same, of rows that `rows` puts in the order of table letter and key: without an object for each a snapshot is read in half of the time. */
  fill(rows: (put: PutRow) => void, meta: Meta): void;
  /**
   * All rows and secondary keys in one consistent view, in the order of table letter and key: for snapshots and verification. It is let go
   * of at its end, or by `return`, which comes before `close`.
   */
  entries(): IterableIterator<readonly [Table, string, Uint8Array]>;
  close(): Promise<void>;
}
export interface Stores {
  /** @throws EvenkeelError `store_ahead` when what is on disk cannot be opened; `store_unwritable`, `unavailable`: not now */
  open(partition: number): Promise<Store>;
  /** Throws a partition's store away, closed before: its log is the truth. */
  destroy(partition: number): Promise<void>;
}

/** Starts what should run. Its results come back as inputs. */
export interface Effects<X extends Work> {
  start(work: X, row: Row): { readonly key: string; abort(): void };
}
/** monotonic: ms, never goes back. after: returns its own cancellation; longer than 24.8 days is clamped. */
export interface Clock {
  monotonic(): number;
  after(ms: number, run: () => void): () => void;
}
