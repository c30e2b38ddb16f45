/**
 * Each tenant's queue in order of arrival: what the store holds with the changes that are not yet written laid over. Of each queue its first
 * places are kept read, so that a head costs no seek, however many are added and taken in between; what is read next begins past the
 * tombstones of what was dispatched before it. Memory is bounded for each tenant, whatever waits.
 */
import type { TenantId } from '#schemas/ids.ts';
import { Heap } from './heap.ts';
import type { ItemId } from './machine.ts';
import type { View } from './ports.ts';
import { readQueue, type Waiting } from './queue-pages.ts';

/** Pages read at once. */
const PAGES = 4;
const CHUNK = 64;
/** Stored places kept for a tenant between writes. */
const KEPT = 128;

/** Places of arrival: no two items of a tenant have the same. */
type Queue = {
  /** Places in the store, in order: all of them before `next`. */
  stored: number[];
  /** Every place of `stored` before this index is in `removed`. */
  at: number;
  /** From which place on to read; undefined: `stored` is all there is. */
  next: number | undefined;
  /** Not yet written. */
  readonly added: Heap<number>;
  readonly removed: Set<number>;
  /** Who stands, or stood, at each place of `stored` and `added`. */
  readonly items: Map<number, ItemId>;
};

export class TenantQueues {
  readonly #view: View;
  readonly #queues = new Map<TenantId, Queue>();
  readonly #changed = new Set<Queue>();

  constructor(view: View) {
    this.#view = view;
  }

  /** From one place of arrival, where it waited, to another, where it waits now. */
  move(tenant: TenantId, item: ItemId, from: number | undefined, to: number | undefined): void {
    const queue = this.#queue(tenant);
    this.#changed.add(queue);
    if (from !== undefined && !queue.added.delete(from)) queue.removed.add(from);
    if (to === undefined) return;
    queue.items.set(to, item);
    if (queue.removed.delete(to)) queue.at = 0;
    else queue.added.set(to, to);
  }

  head(tenant: TenantId): ItemId | undefined {
    const queue = this.#queue(tenant);
    const [stored, added] = [this.#stored(tenant, queue), queue.added.peek()];
    const first = stored === undefined || (added !== undefined && added < stored) ? added : stored;
    return first === undefined ? undefined : queue.items.get(first);
  }

  /** What stands in a tenant's first stored page, and where to read on, as many tenants' were read at once; of a queue in use they are no news. */
  prime(tenant: TenantId, waiting: readonly Waiting[], next: number): void {
    if (this.#queues.has(tenant)) return;
    read(this.#queue(tenant), waiting, next);
  }

  /** The store holds all changes. */
  written(): void {
    for (const queue of this.#changed) store(queue);
    this.#changed.clear();
  }

  #queue(tenant: TenantId): Queue {
    let queue = this.#queues.get(tenant);
    if (!queue) {
      queue = { stored: [], at: 0, next: 0, added: new Heap(), removed: new Set(), items: new Map() };
      this.#queues.set(tenant, queue);
    }
    return queue;
  }

  #stored(tenant: TenantId, queue: Queue): number | undefined {
    for (;;) {
      for (; queue.at < queue.stored.length; queue.at++) {
        const place = queue.stored[queue.at] as number;
        if (!queue.removed.has(place)) return place;
      }
      if (queue.next === undefined) return undefined;
      const { waiting, next } = readQueue(this.#view, tenant, queue.next, PAGES);
      read(queue, waiting, next);
    }
  }
}

function read(queue: Queue, waiting: readonly Waiting[], next: number | undefined): void {
  for (const { order, item } of waiting) {
    queue.stored.push(order);
    queue.items.set(order, item);
  }
  queue.next = next;
}

function store(queue: Queue): void {
  const { next, added, removed, items } = queue;
  const known = [...added].filter((place) => next === undefined || place < next);
  const kept = queue.stored.filter((place) => !removed.has(place));
  queue.stored = known.length === 0 ? kept : [...kept, ...known].sort((a, b) => a - b);
  if (queue.stored.length > KEPT) {
    queue.stored.length = CHUNK;
    queue.next = (queue.stored.at(-1) as number) + 1;
  }
  queue.at = 0;
  added.clear();
  removed.clear();
  const still = new Set(queue.stored);
  for (const place of items.keys()) if (!still.has(place)) items.delete(place);
}
