/**
 * Committed rows kept decoded: a point read of the store costs 30 µs, and a request in flight reads its rows a dozen times. Two
 * generations: what was not asked for while a whole one filled is forgotten, without a list of ages.
 */
const GENERATION = 4_096;

export class RowCache {
  #young = new Map<string, unknown>();
  #old = new Map<string, unknown>();
  readonly #generation: number;

  constructor(generation = GENERATION) {
    this.#generation = generation;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** null: known not to be there. undefined: not known. */
  get(key: string): unknown {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, row: unknown): void {
    if (this.#young.size >= this.#generation) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, row ?? null);
  }
}
