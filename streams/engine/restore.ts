/**
 * From a whole snapshot into an empty store, in bounded batches. The positions come with the last batch: until then the store's fold version
 * is one that no machine has, and whoever opens it begins anew (invariant 3).
 */
import { sha256 } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset } from '#schemas/ids.ts';
import type { RecordOf, SnapshotRecord } from '#schemas/records.ts';
import { emptyMeta, RESTORING } from './fold.ts';
import type { RowCodec } from './machine.ts';
import type { Meta, ReadLog, Store } from './ports.ts';
import { FrameReader } from './snapshot-rows.ts';
import { type Expected, type Manifest, misfit, newest, survey } from './snapshot-survey.ts';
import { addPart, manifestKey, NO_PARTS, partKey, SLOTS, type SlotName } from './snapshot-writer.ts';

export type Restoring = Expected & {
  readonly codec: RowCodec<SnapshotRecord>;
  readonly topic: string;
  /** A snapshot was ignored, and why. */
  readonly ignored?: ((why: string) => void) | undefined;
};

/** Offsets before the topic's end at which a manifest is looked for: its own, and its transaction's marker. */
const TAIL = 4;
/** A chunk has a transaction of its own: its offset and a marker's. */
const OFFSETS_A_CHUNK = 2;
/** What else may stand among them: tombstones, aborted transactions. Where there is more, the topic is surveyed. */
const MORE_OFFSETS = 600;

/**
 * The snapshot that the topic ends with, as it does when none is being written; checked while it is loaded, so that it is read once. Whether
 * there was one. @throws EvenkeelError `record_unreadable` when it is not what its manifest says: rows of it are in the store then
 */
export async function restoreLast(restoring: Restoring, log: ReadLog, store: Store): Promise<boolean> {
  const last = await lastManifest(restoring, log);
  if (!last || misfit(last.manifest, restoring) !== undefined) return false;
  const { manifest, slot, offset } = last;
  const loading = new Loading(restoring, store, manifest);
  for await (const { records } of log.read(restoring.topic, Math.max(0, offset - OFFSETS_A_CHUNK * manifest.parts - MORE_OFFSETS)))
    for (const { key, value } of records) if (value !== null && key === partKey(slot, loading.parts)) loading.add(value);
  if (loading.parts === 0 && manifest.parts > 0) return false;
  loading.end();
  return true;
}

/** The newest whole one, whatever else is on the topic, which is read twice. Whether there was one. @throws as `restoreLast` does */
export async function restore(restoring: Restoring, log: ReadLog, store: Store): Promise<boolean> {
  const slot = newest(await survey(restoring.codec, log, restoring.topic), restoring, (why) => restoring.ignored?.(why));
  if (!slot) return false;
  const { manifest, parts } = slot;
  const loading = new Loading(restoring, store, manifest);
  // Chunks were written in order: compaction keeps it.
  for await (const { records } of log.read(restoring.topic, parts.get(0)?.offset ?? 0)) {
    for (const { offset, value } of records) if (value !== null && offset === parts.get(loading.parts)?.offset) loading.add(value);
    if (loading.parts === manifest.parts) break;
  }
  loading.end();
  return true;
}

type Last = { readonly slot: SlotName; readonly manifest: Manifest; readonly offset: Offset };
async function lastManifest({ codec, topic }: Restoring, log: ReadLog): Promise<Last | undefined> {
  let found: Last | undefined;
  for await (const { records } of log.read(topic, Math.max(0, (await log.end(topic)) - TAIL)))
    for (const { key, value, offset } of records) {
      const slot = SLOTS.find((name) => key === manifestKey(name));
      const manifest = slot === undefined || value === null ? undefined : readRecord(codec, value);
      found = slot !== undefined && manifest?.type === 'snapshot_manifest' ? { slot, manifest, offset } : undefined;
    }
  return found;
}

function readRecord(codec: RowCodec<SnapshotRecord>, value: Uint8Array): SnapshotRecord | undefined {
  try {
    return codec.decode(value);
  } catch {
    // The survey says what is wrong.
    return undefined;
  }
}

/** Chunks of one snapshot, in order, into a store. */
class Loading {
  readonly #restoring: Restoring;
  readonly #store: Store;
  readonly #manifest: Manifest;
  readonly #filling: Meta;
  readonly #frames = new FrameReader();
  #digest = NO_PARTS;
  /** How many are loaded. */
  parts = 0;

  constructor(restoring: Restoring, store: Store, manifest: Manifest) {
    this.#restoring = restoring;
    this.#store = store;
    this.#manifest = manifest;
    this.#filling = emptyMeta(RESTORING, restoring.partitions);
  }

  /** Another snapshot's chunk is passed over, and one that cannot be read. */
  add(value: Uint8Array): void {
    const record = readRecord(this.#restoring.codec, value);
    if (record?.type === 'snapshot_chunk' && record.snapshot === this.#manifest.snapshot && this.parts < this.#manifest.parts) this.#load(record);
  }

  /** @throws EvenkeelError `record_unreadable` */
  end(): void {
    const { snapshot, parts, digest } = this.#manifest;
    const wrong = this.#wrong(parts, digest);
    if (wrong !== undefined) throw new EvenkeelError('record_unreadable', `the snapshot of batch ${snapshot}: ${wrong}`);
    this.#store.write([], metaOf(this.#manifest));
  }

  #load({ rows }: RecordOf<'snapshot_chunk'>): void {
    this.#digest = addPart(this.#digest, sha256(rows));
    this.#store.fill((put) => this.#frames.push(rows, put), this.#filling);
    this.parts++;
  }

  #wrong(parts: number, digest: Uint8Array): string | undefined {
    if (this.parts < parts) return `chunk ${this.parts} of ${parts} is missing`;
    if (Buffer.compare(this.#digest, digest) !== 0) return 'its digest is not that of its chunks';
    return this.#frames.whole ? undefined : 'it ends within a row';
  }
}

function metaOf({ history, words, snapshot, time, inputs, version, partitions, rows }: Manifest): Meta {
  const next = Object.fromEntries(inputs.map((input) => [input.topic, input.next]));
  return { positions: { history, words }, batch: snapshot, time, inputs: next, version, partitions, snapshot: { history, rows } };
}
