/**
 * A record batch (Kafka's message format v2) written straight into one buffer. kafkajs makes an encoder for each record and copies its bytes
 * four times: more than all the rest of a commit.
 */
import { utf8Length } from '#schemas/utf8.ts';
import type { Output } from '#streams/engine/machine.ts';
import { crc32c } from './crc32c.ts';

/** Who writes, for idempotence: the broker takes each sequence number once. `time`: ms; retention counts from it where a topic keeps it. */
export type Writer = { readonly id: bigint; readonly epoch: number; readonly sequence: number; readonly transactional: boolean; readonly time: number };

/** Up to and with the count of records. */
const HEADER = 61;
const CRC_AT = 17;
/** What the checksum covers begins here. */
const CHECKED_AT = 21;
const MAGIC = 2;
const TRANSACTIONAL = 16;
/** Lengths, deltas and attributes of one record, and of one header, at most. */
const RECORD_OVERHEAD = 40;
const HEADER_OVERHEAD = 10;
/** Of UTF-8 for one unit of UTF-16. */
const MOST_BYTES_A_UNIT = 3;
/** Up to this length a string is written unit by unit, without a call of the binding. */
const SHORT = 64;

/** Our topics have the broker's append time put over ours. */
export function encodeBatch(records: readonly Output[], { id, epoch, sequence, transactional, time }: Writer): Buffer {
  let most = HEADER;
  for (const record of records) most += mostBytes(record);
  const bytes = Buffer.allocUnsafe(most);
  let end = HEADER;
  for (let delta = 0; delta < records.length; delta++) end = writeRecord(bytes, end, delta, records[delta] as Output);
  bytes.writeBigInt64BE(0n, 0);
  bytes.writeInt32BE(end - 12, 8);
  bytes.writeInt32BE(0, 12);
  bytes[16] = MAGIC;
  bytes.writeInt16BE(transactional ? TRANSACTIONAL : 0, 21);
  bytes.writeInt32BE(records.length - 1, 23);
  bytes.writeBigInt64BE(BigInt(time), 27);
  bytes.writeBigInt64BE(BigInt(time), 35);
  bytes.writeBigInt64BE(id, 43);
  bytes.writeInt16BE(epoch, 51);
  bytes.writeInt32BE(sequence, 53);
  bytes.writeInt32BE(records.length, 57);
  bytes.writeUInt32BE(crc32c(bytes, CHECKED_AT, end), CRC_AT);
  return bytes.subarray(0, end);
}

/** No record is larger in a batch; without a look at its characters. */
export function mostBytes({ key, value, headers }: Output): number {
  let most = RECORD_OVERHEAD + MOST_BYTES_A_UNIT * key.length + (value?.byteLength ?? 0);
  for (const name in headers) most += HEADER_OVERHEAD + MOST_BYTES_A_UNIT * name.length + mostOf(headers[name] as Part);
  return most;
}

type Part = string | Uint8Array;
const mostOf = (part: Part): number => (typeof part === 'string' ? MOST_BYTES_A_UNIT * part.length : part.byteLength);

function writeRecord(bytes: Buffer, start: number, delta: number, { key, value, headers }: Output): number {
  const keyBytes = sizeOf(key);
  const valueBytes = value?.byteLength ?? -1;
  let size = 2 + varintSize(delta) + varintSize(keyBytes) + keyBytes + varintSize(valueBytes) + Math.max(0, valueBytes);
  let named = 0;
  for (const name in headers) {
    named++;
    size += partSize(name) + partSize(headers[name] as Part);
  }
  size += varintSize(named);
  let at = writeVarint(bytes, start, size);
  bytes[at++] = 0;
  bytes[at++] = 0;
  at = writeVarint(bytes, at, delta);
  at = writeVarint(bytes, at, keyBytes);
  at = writeBytes(bytes, at, key, keyBytes);
  at = writeVarint(bytes, at, valueBytes);
  if (value) at = writeBytes(bytes, at, value, valueBytes);
  at = writeVarint(bytes, at, named);
  for (const name in headers) {
    at = writePart(bytes, at, name);
    at = writePart(bytes, at, headers[name] as Part);
  }
  return at;
}

function partSize(part: Part): number {
  const bytes = sizeOf(part);
  return varintSize(bytes) + bytes;
}

function writePart(bytes: Buffer, start: number, part: Part): number {
  const length = sizeOf(part);
  return writeBytes(bytes, writeVarint(bytes, start, length), part, length);
}

const sizeOf = (part: Part): number => (typeof part === 'string' ? utf8Length(part) : part.byteLength);

/** `length`: of the part in bytes. */
function writeBytes(bytes: Buffer, at: number, part: Part, length: number): number {
  if (typeof part !== 'string') bytes.set(part, at);
  else if (length !== part.length || length > SHORT) bytes.write(part, at);
  else for (let place = 0; place < length; place++) bytes[at + place] = part.charCodeAt(place);
  return at + length;
}

/** Zig-zag, at most 32 bits. */
const zigzag = (value: number): number => ((value << 1) ^ (value >> 31)) >>> 0;

function varintSize(value: number): number {
  const coded = zigzag(value);
  return coded < 0x80 ? 1 : coded < 0x4000 ? 2 : coded < 0x200000 ? 3 : coded < 0x10000000 ? 4 : 5;
}

function writeVarint(bytes: Buffer, start: number, value: number): number {
  let [at, coded] = [start, zigzag(value)];
  while (coded >= 0x80) {
    bytes[at++] = (coded & 0x7f) | 0x80;
    coded >>>= 7;
  }
  bytes[at++] = coded;
  return at;
}
