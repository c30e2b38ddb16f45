/**
 * The Fetch request (version 11) over kafkajs's connection, decoded here. kafkajs's own decoder throws away what exact positions need:
 * where a batch ends when compaction has emptied it, whether an empty answer means "nothing there" or "no room in this answer", and which
 * partition an error belongs to. Taking the two for one another skips records.
 */
import { createRequire } from 'node:module';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset } from '#schemas/ids.ts';
import type { Rec, Span } from '#streams/engine/ports.ts';
import { type FetchBroker, sendTo } from './client.ts';

export type Wanted = { readonly topic: string; readonly partition: number; readonly offset: Offset };
/** `code`: 0, or a Kafka error of this partition alone. `stable`: the last stable offset, the end for readers of committed records. */
export type Fetched = {
  readonly topic: string;
  readonly partition: number;
  readonly code: number;
  readonly stable: Offset;
  readonly aborted: readonly Aborted[];
  readonly bytes: Buffer;
};
type Aborted = { readonly producer: bigint; readonly first: Offset };

export const OFFSET_OUT_OF_RANGE = 1;

const READ_COMMITTED = 1;
const MAX_BYTES = 8 * 1_048_576;
const PARTITION_BYTES = 1_048_576;

type Request = { encode(): Promise<unknown> };
const encodeFetch = createRequire(import.meta.url)('kafkajs/src/protocol/requests/fetch/v11/request') as (fetch: object) => Request;

/** One long poll, of at most `mostBytes` a partition: the answer comes with `minBytes` of committed records, or with what there is after `waitMs`. Its order decides who gets room first. */
export function fetch(broker: FetchBroker, wanted: readonly Wanted[], waitMs: number, minBytes = 1, mostBytes = PARTITION_BYTES): Promise<readonly Fetched[]> {
  const topics = [...Map.groupBy(wanted, ({ topic }) => topic)].map(([topic, of]) => ({
    topic,
    partitions: of.map(({ partition, offset }) => ({ partition, fetchOffset: String(offset), maxBytes: mostBytes })),
  }));
  const request = encodeFetch({ replicaId: -1, maxWaitTime: waitMs, minBytes, maxBytes: MAX_BYTES, isolationLevel: READ_COMMITTED, topics });
  const response = { decode: async (bytes: Buffer) => decodeResponse(bytes), parse: async (decoded: Response) => decoded.partitions };
  return sendTo(broker, { request, response });
}

type Response = { readonly clientSideThrottleTime: number; readonly partitions: readonly Fetched[] };

class Cursor {
  at: number;
  readonly bytes: Buffer;
  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  int8(): number {
    return this.bytes.readInt8(this.#step(1));
  }
  int16(): number {
    return this.bytes.readInt16BE(this.#step(2));
  }
  int32(): number {
    return this.bytes.readInt32BE(this.#step(4));
  }
  int64(): bigint {
    return this.bytes.readBigInt64BE(this.#step(8));
  }
  take(length: number): Buffer {
    const at = this.#step(length);
    return this.bytes.subarray(at, at + length);
  }
  string(): string {
    return this.take(this.int16()).toString();
  }
  list<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, read);
  }
  /** Zig-zag, up to 53 bits: lengths, and deltas of offset and time. */
  varint(): number {
    const first = this.bytes[this.at] as number;
    if (first < 0x80) {
      this.at++;
      return (first >>> 1) ^ -(first & 1);
    }
    return this.#longVarint();
  }
  #longVarint(): number {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = this.bytes.readUInt8(this.at++);
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
  }
  /** null: a length of -1. */
  varbytes(): Buffer | null {
    const length = this.varint();
    return length < 0 ? null : this.take(length);
  }
  /** Past bytes that a varint counts. */
  skip(): void {
    const length = this.varint();
    if (length > 0) this.at += length;
  }
  #step(length: number): number {
    const at = this.at;
    this.at += length;
    return at;
  }
}

function decodeResponse(bytes: Buffer): Response {
  const from = new Cursor(bytes);
  const clientSideThrottleTime = from.int32();
  const code = from.int16();
  from.int32();
  if (code !== 0) throw new EvenkeelError('unavailable', `the broker answers a fetch with error ${code}`);
  const topics = from.list(() => {
    const topic = from.string();
    return from.list(() => decodePartition(topic, from));
  });
  return { clientSideThrottleTime, partitions: topics.flat() };
}

function decodePartition(topic: string, from: Cursor): Fetched {
  const [partition, code] = [from.int32(), from.int16()];
  // The high watermark: a new leader's is not to be trusted.
  from.int64();
  const stable = Number(from.int64());
  from.int64();
  const aborted = from.list(() => ({ producer: from.int64(), first: Number(from.int64()) }));
  from.int32();
  return { topic, partition, code, stable, aborted, bytes: from.take(Math.max(0, from.int32())) };
}

const HEADER = 61;
const [TRANSACTIONAL, CONTROL, APPEND_TIME] = [0x10, 0x20, 0x08];

/**
 * The committed records from `position` on, and the position after the last whole batch: markers, aborted records and batches emptied by
 * compaction are stepped over exactly. Without a whole batch the position stays.
 * @throws EvenkeelError `record_unreadable` for a codec or record format that is not spoken here
 */
export function committedRecords(
  { bytes, aborted }: Pick<Fetched, 'bytes' | 'aborted'>,
  position: Offset,
): { readonly records: readonly Rec[]; readonly next: Offset } {
  const records: Rec[] = [];
  // The broker does not promise their order.
  const upcoming = [...aborted].sort((a, b) => a.first - b.first);
  const aborting = new Set<bigint>();
  let next = position;
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + 8);
    if (end > bytes.length) break;
    const batch = readHeader(bytes.subarray(at, end));
    while (upcoming[0] && upcoming[0].first <= batch.last) aborting.add((upcoming.shift() as Aborted).producer);
    if (batch.control) {
      if (abortMarker(batch)) aborting.delete(batch.producer);
    } else if (!(batch.transactional && aborting.has(batch.producer))) readRecords(batch, position, records);
    next = Math.max(next, batch.last + 1);
    at = end;
  }
  return { records, next };
}

type RecordBatch = {
  readonly base: Offset;
  readonly last: Offset;
  readonly producer: bigint;
  readonly control: boolean;
  readonly transactional: boolean;
  readonly appended: boolean;
  readonly codec: number;
  readonly firstTime: number;
  readonly maxTime: number;
  readonly count: number;
  readonly body: Buffer;
};

function readHeader(bytes: Buffer): RecordBatch {
  const magic = bytes.readInt8(16);
  if (magic !== 2) throw new EvenkeelError('record_unreadable', `record format ${magic}, only 2 is read`);
  const [base, attributes] = [Number(bytes.readBigInt64BE(0)), bytes.readInt16BE(21)];
  return {
    base,
    last: base + bytes.readInt32BE(23),
    producer: bytes.readBigInt64BE(43),
    control: (attributes & CONTROL) !== 0,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    appended: (attributes & APPEND_TIME) !== 0,
    codec: attributes & 7,
    firstTime: Number(bytes.readBigInt64BE(27)),
    maxTime: Number(bytes.readBigInt64BE(35)),
    count: bytes.readInt32BE(57),
    body: bytes.subarray(HEADER),
  };
}

/** A control record's key: version, then type; type 0 is an abort. */
function abortMarker({ count, body }: RecordBatch): boolean {
  if (count === 0) return false;
  const from = new Cursor(body);
  from.varint();
  from.int8();
  from.varint();
  from.varint();
  return from.varbytes()?.readInt16BE(2) === 0;
}

function readRecords(batch: RecordBatch, position: Offset, into: Rec[]): void {
  const from = new Cursor(inflate(batch));
  for (let index = 0; index < batch.count; index++) {
    const end = from.varint() + from.at;
    from.at++;
    const timeDelta = from.varint();
    const offset = batch.base + from.varint();
    if (offset >= position) into.push(new FetchedRecord(from, offset, batch.appended ? batch.maxTime : batch.firstTime + timeDelta));
    from.at = end;
  }
}

const NO_HEADERS: Rec['headers'] = Object.freeze({});

/** A view into its batch: what nobody asks for is not made. */
class FetchedRecord implements Rec, Span {
  readonly offset: Offset;
  readonly timestamp: number;
  readonly bytes: Buffer;
  readonly #key: number;
  /** Of the value, which is null when it would end before it begins. */
  readonly from: number;
  readonly to: number;

  constructor(cursor: Cursor, offset: Offset, timestamp: number) {
    this.offset = offset;
    this.timestamp = timestamp;
    this.bytes = cursor.bytes;
    this.#key = cursor.at;
    cursor.skip();
    const length = cursor.varint();
    this.from = cursor.at;
    this.to = cursor.at + length;
  }

  get span(): Span | undefined {
    return this.to < this.from ? undefined : this;
  }
  get value(): Uint8Array | null {
    return this.to < this.from ? null : this.bytes.subarray(this.from, this.to);
  }
  get key(): string | undefined {
    return new Cursor(this.bytes, this.#key).varbytes()?.toString();
  }
  get headers(): Rec['headers'] {
    const from = new Cursor(this.bytes, Math.max(this.from, this.to));
    const count = from.varint();
    if (count <= 0) return NO_HEADERS;
    const headers: (readonly [string, Uint8Array])[] = [];
    for (let left = count; left > 0; left--) headers.push([from.varbytes()?.toString() ?? '', from.varbytes() ?? new Uint8Array(0)]);
    // Not by assignment: a stranger may call a header `__proto__`.
    return Object.fromEntries(headers);
  }
}

/** Our topics are stored uncompressed whatever a producer sends; a topic that was not made by our provisioner may not be. */
function inflate({ codec, body, base }: RecordBatch): Buffer {
  if (codec === 0) return body;
  if (codec === 1) return gunzipSync(body);
  if (codec === 4) return zstdDecompressSync(body);
  throw new EvenkeelError('record_unreadable', `the batch at offset ${base} is compressed with codec ${codec}: set compression.type=uncompressed on its topic`);
}
