/** What a partition's topic of snapshots holds: which slots are whole, which chunks stand in them. A torn snapshot is told, never trusted. */
import { sha256 } from '#schemas/digest.ts';
import type { Offset } from '#schemas/ids.ts';
import type { RecordOf, SnapshotRecord } from '#schemas/records.ts';
import type { RowCodec } from './machine.ts';
import type { ReadLog, Rec } from './ports.ts';
import { addPart, manifestKey, NO_PARTS, SLOTS, type SlotName } from './snapshot-writer.ts';

export type Manifest = RecordOf<'snapshot_manifest'>;
type Part = { readonly offset: Offset; readonly snapshot: number; readonly digest: Uint8Array };
export type Slot = { readonly name: SlotName; readonly manifest: Manifest | undefined; readonly parts: ReadonlyMap<number, Part> };
/** Snapshots of another fold or another count of partitions are of no use here. */
export type Expected = { readonly version: number; readonly partitions: number };

/** Reads the whole topic: the newest record of each key counts, as compaction has it. What cannot be read is as if it were not there. */
export async function survey(codec: RowCodec<SnapshotRecord>, log: Pick<ReadLog, 'read'>, topic: string): Promise<readonly Slot[]> {
  const found = new Map<string, Part | Manifest>();
  for await (const { records } of log.read(topic, 0)) {
    for (const record of records) {
      const read = readRecord(codec, record);
      if (read) found.set(record.key ?? '', read);
      else found.delete(record.key ?? '');
    }
  }
  return SLOTS.map((name) => {
    const manifest = found.get(manifestKey(name));
    const prefix = `${name}/`;
    const parts = [...found].flatMap(([key, part]) => (key.startsWith(prefix) && 'offset' in part ? [[Number(key.slice(prefix.length)), part] as const] : []));
    return { name, manifest: manifest && 'parts' in manifest ? manifest : undefined, parts: new Map(parts) };
  });
}

function readRecord(codec: RowCodec<SnapshotRecord>, { offset, value }: Rec): Part | Manifest | undefined {
  if (value === null) return undefined;
  let record: SnapshotRecord;
  try {
    record = codec.decode(value);
  } catch {
    // Its slot is not whole then, which is told.
    return undefined;
  }
  return record.type === 'snapshot_manifest' ? record : { offset, snapshot: record.snapshot, digest: sha256(record.rows) };
}

/** Why this process has no use for it; undefined when it has. */
export function misfit(manifest: Manifest, { version, partitions }: Expected): string | undefined {
  if (manifest.version !== version) return `it was folded by version ${manifest.version}, this is ${version}`;
  return manifest.partitions === partitions ? undefined : `it was written for ${manifest.partitions} partitions, there are ${partitions}`;
}

/** Why a slot that has a manifest cannot be used; undefined when it can. */
export function flaw({ manifest, parts }: Slot, expected: Expected): string | undefined {
  if (!manifest) return 'it has no manifest';
  const unfit = misfit(manifest, expected);
  if (unfit !== undefined) return unfit;
  let digest = NO_PARTS;
  for (let at = 0; at < manifest.parts; at++) {
    const part = parts.get(at);
    if (!part) return `chunk ${at} of ${manifest.parts} is missing`;
    if (part.snapshot !== manifest.snapshot) return `chunk ${at} belongs to batch ${part.snapshot}`;
    digest = addPart(digest, part.digest);
  }
  return Buffer.compare(digest, manifest.digest) === 0 ? undefined : 'its digest is not that of its chunks';
}

export type Whole = Slot & { readonly manifest: Manifest };

/** The newest whole snapshot. `flawed` hears of each that has a manifest and is not. */
export function newest(slots: readonly Slot[], expected: Expected, flawed: (why: string) => void): Whole | undefined {
  let best: Whole | undefined;
  for (const slot of slots) {
    const { manifest } = slot;
    if (!manifest) continue;
    const why = flaw(slot, expected);
    if (why !== undefined) flawed(`the snapshot of batch ${manifest.snapshot}: ${why}`);
    else if (!best || manifest.snapshot > best.manifest.snapshot) best = { ...slot, manifest };
  }
  return best;
}
