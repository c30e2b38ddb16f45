/**
 * From the newest whole snapshot into an empty store, in bounded batches. The positions come with the last batch: until then the store's
 * fold version is one that no machine has, and whoever opens it begins anew (invariant 3).
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { SnapshotRecord } from '#schemas/records.ts';
import { emptyMeta, RESTORING } from './fold.ts';
import type { RowCodec } from './machine.ts';
import type { Meta, ReadLog, Store } from './ports.ts';
import { FrameReader } from './snapshot-rows.ts';
import { type Expected, type Manifest, newest, survey, type Whole } from './snapshot-survey.ts';

export type Restoring = Expected & {
  readonly codec: RowCodec<SnapshotRecord>;
  readonly topic: string;
  /** A snapshot was ignored, and why. */
  readonly ignored?: ((why: string) => void) | undefined;
};

/** Whether there was a snapshot to load. @throws EvenkeelError `record_unreadable` when its rows are not, though its digest is right */
export async function restore(restoring: Restoring, log: ReadLog, store: Store): Promise<boolean> {
  const slot = newest(await survey(restoring.codec, log, restoring.topic), restoring, (why) => restoring.ignored?.(why));
  if (!slot) return false;
  await load(restoring, log, store, slot);
  store.write([], metaOf(slot.manifest));
  return true;
}

async function load({ codec, topic, partitions }: Restoring, log: ReadLog, store: Store, { manifest, parts }: Whole): Promise<void> {
  const reader = new FrameReader();
  let next = 0;
  // Chunks were written in order: compaction keeps it.
  for await (const { records } of log.read(topic, parts.get(0)?.offset ?? 0)) {
    for (const { offset, value } of records) {
      if (next === manifest.parts) break;
      if (value === null || offset !== parts.get(next)?.offset) continue;
      const record = codec.decode(value);
      if (record.type === 'snapshot_chunk') store.write(reader.push(record.rows), emptyMeta(RESTORING, partitions));
      next++;
    }
    if (next === manifest.parts) break;
  }
  if (next < manifest.parts || !reader.whole) throw new EvenkeelError('record_unreadable', `the snapshot of batch ${manifest.snapshot} ends within a row`);
}

function metaOf({ history, words, snapshot, time, inputs, version, partitions, rows }: Manifest): Meta {
  const next = Object.fromEntries(inputs.map((input) => [input.topic, input.next]));
  return { positions: { history, words }, batch: snapshot, time, inputs: next, version, partitions, snapshot: { history, rows } };
}
