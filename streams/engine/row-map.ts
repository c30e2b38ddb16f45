/**
 * A map by tenant and id. One string of the two would have to be made and hashed for each look, and a request's rows are looked up thirty
 * times; ids are strings that are there already, and whose hash is known.
 */
import type { TenantId } from '#schemas/ids.ts';

export class RowMap<T> {
  readonly #tenants = new Map<TenantId, Map<string, T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(tenant: TenantId, id: string): T | undefined {
    return this.#tenants.get(tenant)?.get(id);
  }

  set(tenant: TenantId, id: string, value: T): void {
    let rows = this.#tenants.get(tenant);
    if (!rows) {
      rows = new Map();
      this.#tenants.set(tenant, rows);
    }
    const before = rows.size;
    rows.set(id, value);
    this.#size += rows.size - before;
  }

  delete(tenant: TenantId, id: string): void {
    const rows = this.#tenants.get(tenant);
    if (!rows?.delete(id)) return;
    this.#size--;
    if (rows.size === 0) this.#tenants.delete(tenant);
  }

  /** All there are now: by tenant, and of one tenant in the order in which they were first set. */
  values(): readonly T[] {
    const all: T[] = [];
    for (const rows of this.#tenants.values()) for (const value of rows.values()) all.push(value);
    return all;
  }

  forEach(each: (value: T, tenant: TenantId, id: string) => void): void {
    for (const [tenant, rows] of this.#tenants) for (const [id, value] of rows) each(value, tenant, id);
  }
}
