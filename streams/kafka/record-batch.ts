/**
 * A record batch (Kafka's message format v2) written straight into one buffer. kafkajs makes an encoder for each record and copies its bytes
 * four times: more than all the rest of a commit.
 */
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

function mostBytes({ key, value, headers }: Output): number {
  let most = RECORD_OVERHEAD + key.length * 3 + (value?.byteLength ?? 0);
  if (headers === undefined) return most;
  for (const [name, header] of Object.entries(headers)) most += HEADER_OVERHEAD + name.length * 3 + header.length * 3;
  return most;
}

type Header = readonly [name: string, value: string | Uint8Array];
const NO_HEADERS: readonly Header[] = [];

function writeRecord(bytes: Buffer, start: number, delta: number, { key, value, headers }: Output): number {
  const named = headers === undefined ? NO_HEADERS : Object.entries(headers);
  const keyBytes = sizeOf(key);
  const valueBytes = value?.byteLength ?? -1;
  let size = 2 + varintSize(delta) + varintSize(keyBytes) + keyBytes + varintSize(valueBytes) + Math.max(0, valueBytes) + varintSize(named.length);
  for (const header of named) size += headerSize(header);
  let at = writeVarint(bytes, start, size);
  bytes[at++] = 0;
  bytes[at++] = 0;
  at = writeVarint(bytes, at, delta);
  at = writeVarint(bytes, at, keyBytes);
  at = writeBytes(bytes, at, key, keyBytes);
  at = writeVarint(bytes, at, valueBytes);
  if (value) at = writeBytes(bytes, at, value, valueBytes);
  at = writeVarint(bytes, at, named.length);
  for (const [name, header] of named) {
    for (const part of [name, header]) {
      const length = sizeOf(part);
      at = writeVarint(bytes, at, length);
      at = writeBytes(bytes, at, part, length);
    }
  }
  return at;
}

function headerSize([name, value]: Header): number {
  const [nameBytes, valueBytes] = [sizeOf(name), sizeOf(value)];
  return varintSize(nameBytes) + nameBytes + varintSize(valueBytes) + valueBytes;
}

/** Keys are short and ASCII nearly always: asking for their length in UTF-8 costs more than looking at them. */
function sizeOf(part: string | Uint8Array): number {
  if (typeof part !== 'string') return part.byteLength;
  if (part.length > SHORT) return Buffer.byteLength(part);
  for (let at = 0; at < part.length; at++) if (part.charCodeAt(at) >= 0x80) return Buffer.byteLength(part);
  return part.length;
}

/** `length`: of the part in bytes. */
function writeBytes(bytes: Buffer, at: number, part: string | Uint8Array, length: number): number {
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
