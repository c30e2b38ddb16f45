/**
 * A record batch (Kafka's message format v2) written straight into one buffer. kafkajs makes an encoder for each record and copies its bytes
 * four times: more than all the rest of a commit.
 */
import { createRequire } from 'node:module';
import type { Output } from '#streams/engine/machine.ts';

/** Who writes, for idempotence: the broker takes each sequence number once. `time`: ms; retention counts from it where a topic keeps it. */
export type Writer = { readonly id: bigint; readonly epoch: number; readonly sequence: number; readonly transactional: boolean; readonly time: number };

const crc32c = createRequire(import.meta.url)('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number;

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

/** Our topics have the broker's append time put over ours. */
export function encodeBatch(records: readonly Output[], { id, epoch, sequence, transactional, time }: Writer): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER + records.reduce((sum, record) => sum + mostBytes(record), 0));
  let end = HEADER;
  for (const [delta, record] of records.entries()) end = writeRecord(bytes, end, delta, record);
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
  bytes.writeUInt32BE(crc32c(bytes.subarray(CHECKED_AT, end)), CRC_AT);
  return bytes.subarray(0, end);
}

function mostBytes({ key, value, headers }: Output): number {
  let most = RECORD_OVERHEAD + key.length * 3 + (value?.byteLength ?? 0);
  for (const [name, header] of Object.entries(headers ?? {})) most += HEADER_OVERHEAD + name.length * 3 + header.length * 3;
  return most;
}

function writeRecord(bytes: Buffer, start: number, delta: number, { key, value, headers }: Output): number {
  const named = headers === undefined ? [] : Object.entries(headers);
  const keyBytes = Buffer.byteLength(key);
  const headerBytes = named.map(([name, header]) => [Buffer.byteLength(name), Buffer.byteLength(header)] as const);
  let size =
    2 + varintSize(delta) + varintSize(keyBytes) + keyBytes + varintSize(value?.byteLength ?? -1) + (value?.byteLength ?? 0) + varintSize(named.length);
  for (const [name, header] of headerBytes) size += varintSize(name) + name + varintSize(header) + header;
  let at = writeVarint(bytes, start, size);
  bytes[at++] = 0;
  bytes[at++] = 0;
  at = writeVarint(bytes, at, delta);
  at = writeVarint(bytes, at, keyBytes);
  at += bytes.write(key, at);
  at = writeVarint(bytes, at, value?.byteLength ?? -1);
  if (value) at = writeBytes(bytes, at, value);
  at = writeVarint(bytes, at, named.length);
  for (const [place, [name, header]] of named.entries()) {
    const [nameBytes, valueBytes] = headerBytes[place] as readonly [number, number];
    at = writeVarint(bytes, at, nameBytes);
    at += bytes.write(name, at);
    at = writeVarint(bytes, at, valueBytes);
    at = typeof header === 'string' ? at + bytes.write(header, at) : writeBytes(bytes, at, header);
  }
  return at;
}

function writeBytes(bytes: Buffer, at: number, value: Uint8Array): number {
  bytes.set(value, at);
  return at + value.byteLength;
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
