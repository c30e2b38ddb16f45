/**
 * Committed rows kept decoded: a point read of the store costs 30 µs, and a request in flight reads its rows a dozen times. Two
 * generations: what was not asked for while a whole one filled is forgotten, without a list of ages.
 */
import type { TenantId } from '#schemas/ids.ts';
import { RowMap } from './row-map.ts';

const GENERATION = 4_096;

export class RowCache {
  #young = new RowMap<unknown>();
  #old = new RowMap<unknown>();
  readonly #generation: number;

  constructor(generation = GENERATION) {
    this.#generation = generation;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** null: known not to be there. undefined: not known. */
  get(tenant: TenantId, id: string): unknown {
    const young = this.#young.get(tenant, id);
    if (young !== undefined) return young;
    const old = this.#old.get(tenant, id);
    if (old !== undefined) this.set(tenant, id, old);
    return old;
  }

  /** Nobody is expected to ask for it again. */
  forget(tenant: TenantId, id: string): void {
    this.#young.delete(tenant, id);
    this.#old.delete(tenant, id);
  }

  set(tenant: TenantId, id: string, row: unknown): void {
    if (this.#young.size >= this.#generation) {
      this.#old = this.#young;
      this.#young = new RowMap();
    }
    this.#young.set(tenant, id, row ?? null);
  }
}
