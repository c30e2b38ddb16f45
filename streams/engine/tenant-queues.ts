/**
 * Each tenant's queue in order of arrival: the store's keys with this transaction's changes laid over. The head of a tenant is one seek;
 * a cursor per tenant keeps that seek past the tombstones of what was dispatched before it.
 */
import type { TenantId } from '#schemas/ids.ts';
import { rangeEnd } from './keys.ts';
import type { View } from './ports.ts';

const CHUNK = 16;
type Changes = { readonly added: Set<string>; readonly removed: Set<string>; first: string | undefined; firstKnown: boolean };

export class TenantQueues {
  readonly #view: View;
  readonly #changes = new Map<TenantId, Changes>();
  /** No committed key of the tenant's queue is smaller. */
  readonly #cursors = new Map<TenantId, string>();

  constructor(view: View) {
    this.#view = view;
  }

  change(tenant: TenantId, remove: string | undefined, add: string | undefined): void {
    let changes = this.#changes.get(tenant);
    if (!changes) {
      changes = { added: new Set(), removed: new Set(), first: undefined, firstKnown: true };
      this.#changes.set(tenant, changes);
    }
    if (remove !== undefined) this.#remove(changes, remove);
    if (add !== undefined) this.#add(changes, add);
  }

  head(tenant: TenantId): string | undefined {
    const changes = this.#changes.get(tenant);
    const stored = this.#storedHead(tenant, changes?.removed);
    if (!changes) return stored;
    if (!changes.firstKnown) {
      changes.first = [...changes.added].reduce<string | undefined>(smaller, undefined);
      changes.firstKnown = true;
    }
    return changes.first === undefined ? stored : smaller(stored, changes.first);
  }

  committed(): void {
    for (const [tenant, { added }] of this.#changes) {
      const cursor = this.#cursors.get(tenant);
      if (cursor === undefined) continue;
      const lowest = [...added].reduce<string>(smaller, cursor);
      if (lowest < cursor) this.#cursors.set(tenant, lowest);
    }
    this.#changes.clear();
  }

  #add(changes: Changes, key: string): void {
    if (changes.removed.delete(key)) return;
    changes.added.add(key);
    if (changes.firstKnown) changes.first = smaller(changes.first, key);
  }

  #remove(changes: Changes, key: string): void {
    if (!changes.added.delete(key)) changes.removed.add(key);
    else if (changes.first === key) changes.firstKnown = false;
  }

  #storedHead(tenant: TenantId, removed: ReadonlySet<string> | undefined): string | undefined {
    let from = this.#cursors.get(tenant) ?? `${tenant}/`;
    let first = true;
    for (;;) {
      const keys = this.#view.scan('queue', from, CHUNK, rangeEnd(tenant));
      if (first) this.#cursors.set(tenant, keys[0]?.[0] ?? from);
      first = false;
      const found = keys.find(([key]) => !removed?.has(key));
      if (found) return found[0];
      if (keys.length < CHUNK) return undefined;
      from = `${keys[keys.length - 1]?.[0]}\0`;
    }
  }
}

function smaller(a: string | undefined, b: string): string {
  return a === undefined || b < a ? b : a;
}
