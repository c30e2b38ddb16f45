/** Keys that were seen, as a Bloom filter: `mayHave` is never wrong when it says no, and seldom when it says yes, up to some 400,000 keys. */
import type { RowTable } from './row-writes.ts';

const BITS = 1 << 22;
const SEEDS = { account: 0x811c9dc5, item: 0x3c6ef372, mark: 0x9e3779b9 } as const;
const PROBES = 5;

export class SeenKeys {
  #bits: Uint32Array | undefined;

  add(table: RowTable, key: string): void {
    this.#bits ??= new Uint32Array(BITS / 32);
    const bits = this.#bits;
    probe(table, key, (at) => {
      bits[at >>> 5] = (bits[at >>> 5] as number) | (1 << (at & 31));
      return true;
    });
  }

  mayHave(table: RowTable, key: string): boolean {
    const bits = this.#bits;
    return bits !== undefined && probe(table, key, (at) => ((bits[at >>> 5] as number) & (1 << (at & 31))) !== 0);
  }
}

/** Two hashes make all places (Kirsch and Mitzenmacher, 2006). False as soon as `each` is. */
function probe(table: RowTable, key: string, each: (at: number) => boolean): boolean {
  let [first, second] = [SEEDS[table] as number, 0x2545f491];
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i);
    first = Math.imul(first ^ unit, 0x01000193);
    second = Math.imul(second ^ unit, 0x5bd1e995) ^ (second >>> 15);
  }
  const step = second | 1;
  for (let n = 0; n < PROBES; n++) if (!each((first + Math.imul(n, step)) & (BITS - 1))) return false;
  return true;
}
