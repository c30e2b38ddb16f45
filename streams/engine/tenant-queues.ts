/**
 * Each tenant's queue in order of arrival: the store's keys with this transaction's changes laid over. Of each queue its first keys are kept
 * read, so that a head costs no seek, however many are added and taken in one transaction; what is read next begins past the tombstones
 * of what was dispatched before it. Memory is bounded for each tenant, whatever waits.
 */
import type { TenantId } from '#schemas/ids.ts';
import { Heap } from './heap.ts';
import { queueKey, queueOrder } from './keys.ts';
import type { View } from './ports.ts';
import { readQueue, type Waiting } from './queue-pages.ts';

/** Pages read at once. */
const PAGES = 4;
const CHUNK = 64;
/** Committed keys kept for a tenant between transactions. */
const KEPT = 128;

type Queue = {
  /** Committed keys in order: all of them before `next`. */
  stored: string[];
  /** Every key of `stored` before this place is in `removed`. */
  at: number;
  /** From which place of arrival on to read; undefined: `stored` is all there is. */
  next: number | undefined;
  /** Of this transaction. */
  readonly added: Heap<string>;
  readonly removed: Set<string>;
};

export class TenantQueues {
  readonly #view: View;
  readonly #queues = new Map<TenantId, Queue>();
  readonly #changed = new Set<Queue>();

  constructor(view: View) {
    this.#view = view;
  }

  change(tenant: TenantId, remove: string | undefined, add: string | undefined): void {
    const queue = this.#queue(tenant);
    this.#changed.add(queue);
    if (remove !== undefined && !queue.added.delete(remove)) queue.removed.add(remove);
    if (add === undefined) return;
    if (queue.removed.delete(add)) queue.at = 0;
    else queue.added.set(add, queueOrder(add));
  }

  head(tenant: TenantId): string | undefined {
    const queue = this.#queue(tenant);
    const [stored, added] = [this.#stored(tenant, queue), queue.added.peek()];
    if (stored === undefined || added === undefined) return stored ?? added;
    if (stored < added) return stored;
    return added;
  }

  /** What stands in a tenant's first committed page, and where to read on, as many tenants' were read at once; of a queue in use they are no news. */
  prime(tenant: TenantId, waiting: readonly Waiting[], next: number): void {
    if (this.#queues.has(tenant)) return;
    const queue = this.#queue(tenant);
    queue.stored = waiting.map(({ order, item }) => queueKey(tenant, order, item));
    queue.next = next;
  }

  /** After the store was written. */
  committed(): void {
    for (const queue of this.#changed) commit(queue);
    this.#changed.clear();
  }

  #queue(tenant: TenantId): Queue {
    let queue = this.#queues.get(tenant);
    if (!queue) {
      queue = { stored: [], at: 0, next: 0, added: new Heap(), removed: new Set() };
      this.#queues.set(tenant, queue);
    }
    return queue;
  }

  #stored(tenant: TenantId, queue: Queue): string | undefined {
    for (;;) {
      for (; queue.at < queue.stored.length; queue.at++) {
        const key = queue.stored[queue.at] as string;
        if (!queue.removed.has(key)) return key;
      }
      if (queue.next === undefined) return undefined;
      const { waiting, next } = readQueue(this.#view, tenant, queue.next, PAGES);
      for (const { order, item } of waiting) queue.stored.push(queueKey(tenant, order, item));
      queue.next = next;
    }
  }
}

function commit(queue: Queue): void {
  const { next, added, removed } = queue;
  const read = [...added].filter((key) => next === undefined || queueOrder(key) < next);
  const kept = queue.stored.filter((key) => !removed.has(key));
  queue.stored = read.length === 0 ? kept : [...kept, ...read].sort();
  if (queue.stored.length > KEPT) {
    queue.stored.length = CHUNK;
    queue.next = after(queue.stored);
  }
  queue.at = 0;
  added.clear();
  removed.clear();
}

const after = (keys: readonly string[]): number => queueOrder(keys.at(-1) as string) + 1;
