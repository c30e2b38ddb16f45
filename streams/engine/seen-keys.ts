/** Keys that were seen, as a Bloom filter: `mayHave` is never wrong when it says no, and seldom when it says yes, up to some 400,000 keys. */
import type { RowTable } from './row-writes.ts';

const BITS = 1 << 22;
const PROBES = 5;
/** The end of an id tells it from others: ids are digests. */
const HASHED_UNITS = 12;

export class SeenKeys {
  #bits: Uint32Array | undefined;

  add(table: RowTable, tenant: string, id: string): void {
    this.#bits ??= new Uint32Array(BITS / 32);
    const bits = this.#bits;
    const [first, step] = hashes(table, tenant, id);
    for (let n = 0, at = first; n < PROBES; n++, at += step) bits[(at & (BITS - 1)) >>> 5] = (bits[(at & (BITS - 1)) >>> 5] as number) | (1 << (at & 31));
  }

  mayHave(table: RowTable, tenant: string, id: string): boolean {
    const bits = this.#bits;
    if (bits === undefined) return false;
    const [first, step] = hashes(table, tenant, id);
    for (let n = 0, at = first; n < PROBES; n++, at += step) if (((bits[(at & (BITS - 1)) >>> 5] as number) & (1 << (at & 31))) === 0) return false;
    return true;
  }
}

/** Two hashes make all places (Kirsch and Mitzenmacher, 2006). */
function hashes(table: RowTable, tenant: string, id: string): readonly [number, number] {
  let [first, second] = [table.charCodeAt(0), tenant.length];
  const mix = (unit: number) => {
    first = Math.imul(first ^ unit, 0x01000193);
    second = Math.imul(second ^ unit, 0x5bd1e995) ^ (second >>> 15);
  };
  for (let i = Math.max(0, tenant.length - HASHED_UNITS); i < tenant.length; i++) mix(tenant.charCodeAt(i));
  for (let i = Math.max(0, id.length - HASHED_UNITS); i < id.length; i++) mix(id.charCodeAt(i));
  return [first ^ (first >>> 15), second | 1];
}
