/**
 * Rows kept decoded: a point read of the store costs 30 µs, and a request in flight reads its rows a dozen times. Two generations: what was
 * not asked for while a whole one filled is forgotten, without a list of ages.
 */
import type { TenantId } from '#schemas/ids.ts';
import { RowMap } from './row-map.ts';

const GENERATION = 4_096;

export class RowCache<T> {
  #young = new RowMap<T>();
  #old = new RowMap<T>();
  readonly #generation: number;
  readonly #isPinned: (value: T) => boolean;

  /** What is pinned is not forgotten. */
  constructor(generation = GENERATION, isPinned: (value: T) => boolean = () => false) {
    this.#generation = generation;
    this.#isPinned = isPinned;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(tenant: TenantId, id: string): T | undefined {
    const young = this.#young.get(tenant, id);
    if (young !== undefined) return young;
    const old = this.#old.get(tenant, id);
    if (old !== undefined) {
      this.#old.delete(tenant, id);
      this.set(tenant, id, old);
    }
    return old;
  }

  /** Nobody is expected to ask for it again. */
  forget(tenant: TenantId, id: string): void {
    this.#young.delete(tenant, id);
    this.#old.delete(tenant, id);
  }

  set(tenant: TenantId, id: string, value: T): void {
    if (this.#young.size >= this.#generation) this.#turn();
    this.#young.set(tenant, id, value);
  }

  #turn(): void {
    const forgotten = this.#old;
    this.#old = this.#young;
    this.#young = new RowMap();
    forgotten.forEach((value, tenant, id) => {
      if (this.#isPinned(value) && this.#old.get(tenant, id) === undefined) this.#young.set(tenant, id, value);
    });
  }
}
