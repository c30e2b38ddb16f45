/**
 * The effects that should run against those that do. On each round first all aborts, then all starts, so that the cap holds at every
 * instant (invariant 7). Effects outlive a re-open: they are known by the key of their work and adopted.
 */
import type { TenantId } from '#schemas/ids.ts';
import { itemKey } from './keys.ts';
import type { ItemId, Work } from './machine.ts';
import type { Effects } from './ports.ts';
import { RowMap } from './row-map.ts';

type ItemRow = { readonly tenant: TenantId; readonly item: ItemId };
export type Wanted<X> = { readonly row: ItemRow; readonly work: X | undefined };
type Handle = { readonly key: string; abort(): void };
type Runs = { readonly row: ItemRow; readonly handle: Handle };

export class Running<X extends Work> {
  readonly #effects: Effects<X>;
  readonly #cap: number;
  readonly #handles = new RowMap<Runs>();
  /** Wanted and over the cap: what a takeover leaves running waits for a slot. */
  readonly #waiting = new Map<string, { readonly row: ItemRow; readonly work: X }>();

  constructor(effects: Effects<X>, cap: number) {
    this.#effects = effects;
    this.#cap = cap;
  }

  reconcile(wanted: readonly Wanted<X>[]): void {
    const fresh: { readonly row: ItemRow; readonly work: X }[] = [];
    for (const { row, work } of wanted) {
      const runs = this.#handles.get(row.tenant, row.item);
      if (runs && runs.handle.key === work?.key) continue;
      if (runs) this.#stop(runs);
      if (this.#waiting.size > 0) this.#waiting.delete(itemKey(row.tenant, row.item));
      if (work) fresh.push({ row, work });
    }
    for (const [at, { row, work }] of this.#waiting) {
      if (this.#full) break;
      this.#waiting.delete(at);
      this.#start(row, work);
    }
    for (const { row, work } of fresh) {
      if (this.#full) this.#waiting.set(itemKey(row.tenant, row.item), { row, work });
      else this.#start(row, work);
    }
  }

  /** After a re-open: `wanted` is all that should run; whatever else runs is aborted. */
  adopt(wanted: readonly Wanted<X>[]): void {
    const keep = new Set(wanted.map(({ row }) => itemKey(row.tenant, row.item)));
    for (const runs of this.#handles.values()) if (!keep.has(itemKey(runs.row.tenant, runs.row.item))) this.#stop(runs);
    this.#waiting.clear();
    this.reconcile(wanted);
  }

  abortAll(): void {
    for (const runs of this.#handles.values()) this.#stop(runs);
    this.#waiting.clear();
  }

  get #full(): boolean {
    return this.#handles.size >= this.#cap;
  }

  #start(row: ItemRow, work: X): void {
    const handle = this.#effects.start(work, row);
    this.#handles.set(row.tenant, row.item, { row, handle });
  }

  #stop({ row, handle }: Runs): void {
    handle.abort();
    this.#handles.delete(row.tenant, row.item);
  }
}
