/**
 * One snapshot, written piece by piece from one consistent view of the store, while the store goes on. Two slots take turns: the newest
 * whole snapshot is never touched while the next is written over the one before it. A slot's manifest goes with its first chunk and comes
 * back, for the new chunks, last of all.
 */
import { sha256 } from '#schemas/digest.ts';
import type { SnapshotRecord } from '#schemas/records.ts';
import type { Output, RowCodec } from './machine.ts';
import type { Meta, Store, Table } from './ports.ts';
import { frame } from './snapshot-rows.ts';
import { wordsFrom } from './words.ts';

/** Rows read in one step: a millisecond or two of the event loop. */
const ROWS_PER_STEP = 500;
/** Small records in one transaction. */
const TOMBSTONES_PER_STEP = 500;

export type SlotName = 0 | 1;
export const SLOTS: readonly SlotName[] = [0, 1];
export const partKey = (slot: SlotName, part: number): string => `${slot}/${part}`;
export const manifestKey = (slot: SlotName): string => `${slot}/manifest`;
/** The digest of a snapshot: a chain over its chunks' digests, in order. */
export const NO_PARTS: Uint8Array = new Uint8Array(0);
export const addPart = (digest: Uint8Array, part: Uint8Array): Uint8Array => sha256(digest, part);

export type SnapshotTarget = { readonly topic: string; readonly partition: number; readonly slot: SlotName; readonly former: Iterable<number> };
type Entries = Iterator<readonly [Table, string, Uint8Array]>;

export class SnapshotWriter {
  readonly #codec: RowCodec<SnapshotRecord>;
  readonly #target: SnapshotTarget;
  readonly #chunkBytes: number;
  readonly #meta: Meta;
  readonly #entries: Entries;
  /** Chunks of a longer snapshot that this slot held: nobody else would ever remove them. */
  readonly #former: Set<number>;
  #frames: Buffer[] = [];
  #framed = 0;
  #read = false;
  #digest = NO_PARTS;
  #parts = 0;
  #words: number;
  rows = 0;
  bytes = 0;
  /** The manifest was given out. */
  done = false;

  /** `store` reflects at least one batch. */
  constructor(codec: RowCodec<SnapshotRecord>, store: Pick<Store, 'entries' | 'meta'>, target: SnapshotTarget, chunkBytes: number) {
    this.#codec = codec;
    this.#meta = store.meta as Meta;
    this.#entries = store.entries();
    this.#target = target;
    this.#former = new Set(target.former);
    this.#chunkBytes = chunkBytes;
    this.#words = this.#meta.positions.words;
  }

  get history(): number {
    return this.#meta.positions.history;
  }

  /** Lets go of the view. */
  close(): void {
    this.#entries.return?.();
  }

  /** What the next transaction should carry; undefined: nothing yet, step again. */
  step(): readonly Output[] | undefined {
    if (!this.#read) this.#readOn();
    if (this.#framed >= this.#chunkBytes || (this.#read && this.#framed > 0)) return this.#chunk();
    if (!this.#read) return undefined;
    return this.#former.size > 0 ? this.#tombstones() : this.#manifest();
  }

  #readOn(): void {
    for (let count = 0; count < ROWS_PER_STEP && this.#framed < this.#chunkBytes; count++) {
      const { done, value } = this.#entries.next();
      if (done) {
        this.#read = true;
        return;
      }
      this.#row(...value);
    }
  }

  /** Words are no part of the state, and `tenant.*` never holds any. */
  #row(table: Table, key: string, value: Uint8Array): void {
    if (table === 'words') {
      this.#words = Math.min(this.#words, wordsFrom(value));
      return;
    }
    const bytes = frame(table, key, value);
    this.#frames.push(bytes);
    this.#framed += bytes.byteLength;
    this.rows++;
  }

  #chunk(): readonly Output[] {
    const all = Buffer.concat(this.#frames);
    const rows = all.subarray(0, this.#chunkBytes);
    const rest = all.subarray(rows.byteLength);
    this.#frames = rest.byteLength > 0 ? [rest] : [];
    this.#framed = rest.byteLength;
    this.#digest = addPart(this.#digest, sha256(rows));
    this.bytes += rows.byteLength;
    const part = this.#parts++;
    this.#former.delete(part);
    const chunk = this.#record(partKey(this.#target.slot, part), { type: 'snapshot_chunk', snapshot: this.#meta.batch, part, rows });
    return part === 0 ? [this.#record(manifestKey(this.#target.slot), undefined), chunk] : [chunk];
  }

  #tombstones(): readonly Output[] {
    const parts = [...this.#former].slice(0, TOMBSTONES_PER_STEP);
    for (const part of parts) this.#former.delete(part);
    return parts.map((part) => this.#record(partKey(this.#target.slot, part), undefined));
  }

  #manifest(): readonly Output[] {
    const { positions, batch, time, inputs, version, partitions } = this.#meta;
    const manifest: SnapshotRecord = {
      type: 'snapshot_manifest',
      snapshot: batch,
      parts: this.#parts,
      rows: this.rows,
      digest: Buffer.from(this.#digest),
      history: positions.history,
      words: this.#words,
      time,
      inputs: Object.entries(inputs).map(([topic, next]) => ({ topic, next })),
      version,
      partitions,
    };
    this.done = true;
    return [this.#record(manifestKey(this.#target.slot), manifest)];
  }

  #record(key: string, record: SnapshotRecord | undefined): Output {
    const { topic, partition } = this.#target;
    return { topic, partition, key, value: record === undefined ? null : this.#codec.encode(record) };
  }
}
