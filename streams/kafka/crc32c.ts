/** CRC-32C (Castagnoli, RFC 3720 appendix B.4), eight bytes at a time (Kounavis and Berry, 2005): a third of the time of a table of single bytes. */

const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;
const tables = makeTables();

/** Of `bytes` from `from` to before `to`, unsigned. */
export function crc32c(bytes: Uint8Array, from: number, to: number): number {
  let crc = -1;
  let at = from;
  for (; at + SLICES <= to; at += SLICES) {
    crc ^= (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
    crc =
      look(7, crc & 0xff) ^
      look(6, (crc >>> 8) & 0xff) ^
      look(5, (crc >>> 16) & 0xff) ^
      look(4, crc >>> 24) ^
      look(3, bytes[at + 4] as number) ^
      look(2, bytes[at + 5] as number) ^
      look(1, bytes[at + 6] as number) ^
      look(0, bytes[at + 7] as number);
  }
  for (; at < to; at++) crc = look(0, (crc ^ (bytes[at] as number)) & 0xff) ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

/** Of a byte that `slice` further bytes follow. */
function look(slice: number, byte: number): number {
  return tables[256 * slice + byte] as number;
}

function makeTables(): Int32Array {
  const made = new Int32Array(256 * SLICES);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    made[byte] = crc;
  }
  for (let at = 256; at < made.length; at++) {
    const before = made[at - 256] as number;
    made[at] = (before >>> 8) ^ (made[before & 0xff] as number);
  }
  return made;
}
