/** Keys that were seen, as a Bloom filter: `mayHave` is never wrong when it says no, and seldom when it says yes, up to some 400,000 keys. */
import type { RowTable } from './row-writes.ts';

const BITS = 1 << 22;
const PROBES = 5;
/** The end of an id tells it from others: ids are digests. */
const HASHED_UNITS = 12;
const FIRST_PRIME = 0x01000193;
const STEP_PRIME = 0x5bd1e995;

export class SeenKeys {
  #bits: Uint32Array | undefined;

  add(table: RowTable, tenant: string, id: string): void {
    this.#bits ??= new Uint32Array(BITS / 32);
    const bits = this.#bits;
    const first = hash(FIRST_PRIME, table, tenant, id);
    const step = hash(STEP_PRIME, table, tenant, id) | 1;
    for (let n = 0, at = first; n < PROBES; n++, at += step) bits[(at & (BITS - 1)) >>> 5] = (bits[(at & (BITS - 1)) >>> 5] as number) | (1 << (at & 31));
  }

  mayHave(table: RowTable, tenant: string, id: string): boolean {
    const bits = this.#bits;
    if (bits === undefined) return false;
    const first = hash(FIRST_PRIME, table, tenant, id);
    const step = hash(STEP_PRIME, table, tenant, id) | 1;
    for (let n = 0, at = first; n < PROBES; n++, at += step) if (((bits[(at & (BITS - 1)) >>> 5] as number) & (1 << (at & 31))) === 0) return false;
    return true;
  }
}

/** Two of them make all places (Kirsch and Mitzenmacher, 2006). */
function hash(prime: number, table: RowTable, tenant: string, id: string): number {
  let mixed = table.charCodeAt(0);
  for (let i = Math.max(0, tenant.length - HASHED_UNITS); i < tenant.length; i++) mixed = Math.imul(mixed ^ tenant.charCodeAt(i), prime);
  for (let i = Math.max(0, id.length - HASHED_UNITS); i < id.length; i++) {
    mixed = Math.imul(mixed ^ id.charCodeAt(i), prime);
    mixed ^= mixed >>> 15;
  }
  return mixed;
}
