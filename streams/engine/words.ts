/**
 * Words as a store keeps them: the record, after a position in the words' topic at which or before which it stands. Snapshots hold no
 * words: the lowest of these positions says from where a restored store must read them again.
 */
import { bufferOf } from '#schemas/buffer.ts';
import type { Offset } from '#schemas/ids.ts';

const POSITION_BYTES = 8;

export function keepWords(from: Offset, record: Uint8Array): Uint8Array {
  const kept = Buffer.allocUnsafe(POSITION_BYTES + record.byteLength);
  kept.writeBigUInt64BE(BigInt(from));
  kept.set(record, POSITION_BYTES);
  return kept;
}
export function wordsFrom(kept: Uint8Array): Offset {
  return Number(bufferOf(kept).readBigUInt64BE());
}
export const wordsRecord = (kept: Uint8Array): Uint8Array => kept.subarray(POSITION_BYTES);
