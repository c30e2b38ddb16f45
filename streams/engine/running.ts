/**
 * The effects that should run against those that do. On each round first all aborts, then all starts, so that the cap holds at every
 * instant (invariant 7). Effects outlive a re-open: they are known by the key of their work and adopted.
 */
import type { TenantId } from '#schemas/ids.ts';
import { itemKey } from './keys.ts';
import type { ItemId, Work } from './machine.ts';
import type { Effects } from './ports.ts';

type ItemRow = { readonly tenant: TenantId; readonly item: ItemId };
export type Wanted<X> = { readonly row: ItemRow; readonly work: X | undefined };
type Handle = { readonly key: string; abort(): void };

export class Running<X extends Work> {
  readonly #effects: Effects<X>;
  readonly #cap: number;
  readonly #handles = new Map<string, Handle>();
  /** Wanted and over the cap: what a takeover leaves running waits for a slot. */
  readonly #waiting = new Map<string, { readonly row: ItemRow; readonly work: X }>();

  constructor(effects: Effects<X>, cap: number) {
    this.#effects = effects;
    this.#cap = cap;
  }

  reconcile(wanted: readonly Wanted<X>[]): void {
    for (const { row, work } of wanted) {
      const at = itemKey(row.tenant, row.item);
      if (this.#handles.get(at)?.key !== work?.key) this.#stop(at);
      this.#waiting.delete(at);
      if (work && !this.#handles.has(at)) this.#waiting.set(at, { row, work });
    }
    for (const [at, { row, work }] of this.#waiting) {
      if (this.#handles.size >= this.#cap) return;
      this.#waiting.delete(at);
      this.#handles.set(at, this.#effects.start(work, row));
    }
  }

  /** After a re-open: `wanted` is all that should run; whatever else runs is aborted. */
  adopt(wanted: readonly Wanted<X>[]): void {
    const keep = new Set(wanted.map(({ row }) => itemKey(row.tenant, row.item)));
    for (const at of this.#handles.keys()) if (!keep.has(at)) this.#stop(at);
    this.#waiting.clear();
    this.reconcile(wanted);
  }

  abortAll(): void {
    for (const at of this.#handles.keys()) this.#stop(at);
    this.#waiting.clear();
  }

  #stop(at: string): void {
    this.#handles.get(at)?.abort();
    this.#handles.delete(at);
  }
}
