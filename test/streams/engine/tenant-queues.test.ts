import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { emptyMeta } from '#streams/engine/fold.ts';
import { queueItem, queueKey, queueOrder, tenantOf } from '#streams/engine/keys.ts';
import type { Store, Write } from '#streams/engine/ports.ts';
import { countBefore, QueuePages } from '#streams/engine/queue-pages.ts';
import { TenantQueues } from '#streams/engine/tenant-queues.ts';
import { memoryStores } from '#streams/memory/store.ts';

const TENANTS = ['acme', 'globex'] as TenantId[];
const happening = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('arrive' as const), tenant: fc.nat(1), count: fc.integer({ min: 1, max: 90 }) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('take' as const), tenant: fc.nat(1), count: fc.integer({ min: 1, max: 90 }) }) },
  /** A deadline in the middle, and an older turn that becomes ready again. */
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('leave' as const), tenant: fc.nat(1), count: fc.nat(1_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('return' as const), tenant: fc.nat(1), count: fc.nat(1_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('undo' as const), tenant: fc.nat(1), count: fc.constant(0) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('commit' as const), tenant: fc.nat(1), count: fc.constant(0) }) },
);

const waiting = (key: string) => ({ order: queueOrder(key), due: undefined, item: queueItem(key) });

/** The queue as one sorted list, beside the real one over a store. */
class Both {
  readonly store: Store;
  readonly queues: TenantQueues;
  readonly waiting = new Map<TenantId, string[]>(TENANTS.map((tenant) => [tenant, []]));
  readonly gone = new Map<TenantId, string[]>(TENANTS.map((tenant) => [tenant, []]));
  readonly #pages: QueuePages;
  #committed = new Set<string>();
  #undo: (() => void)[] = [];
  #arrivals = 0;

  constructor(store: Store) {
    this.store = store;
    this.queues = new TenantQueues(store);
    this.#pages = new QueuePages(store);
  }

  add(tenant: TenantId, key: string): void {
    this.#change(tenant, undefined, key);
    this.#undo.push(() => this.#change(tenant, key, undefined));
  }
  remove(tenant: TenantId, key: string): void {
    this.#change(tenant, key, undefined);
    this.#undo.push(() => this.#change(tenant, undefined, key));
  }
  arrive(tenant: TenantId): void {
    const order = this.#arrivals++;
    this.add(tenant, queueKey(tenant, order, `c-${order % 7}`));
  }
  settle(): void {
    this.#undo = [];
  }
  undo(): void {
    for (const each of this.#undo.reverse()) each();
    this.#undo = [];
  }

  commit(): void {
    const now = new Set([...this.waiting.values()].flat());
    for (const key of this.#committed) if (!now.has(key)) this.#pages.set(tenantOf(key), queueOrder(key), undefined);
    for (const key of now) if (!this.#committed.has(key)) this.#pages.set(tenantOf(key), queueOrder(key), waiting(key));
    const writes: Write[] = [];
    this.#pages.writes(writes, false);
    this.store.write(writes, emptyMeta(1, 1));
    this.queues.committed();
    this.#committed = now;
    this.#undo = [];
  }

  #change(tenant: TenantId, remove: string | undefined, add: string | undefined): void {
    this.queues.change(tenant, remove, add);
    const rest = (this.waiting.get(tenant) ?? []).filter((key) => key !== remove);
    this.waiting.set(tenant, add === undefined ? rest : [...rest, add].sort());
    if (remove !== undefined) this.gone.get(tenant)?.push(remove);
  }
}

test('the head is the first that waits, whatever was added, taken, taken back and committed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 60 }), async (happenings) => {
      const both = new Both(await memoryStores().open(0));
      for (const { kind, tenant: at, count } of happenings) {
        const tenant = TENANTS[at] as TenantId;
        if (kind !== 'undo') both.settle();
        const queue = () => both.waiting.get(tenant) as string[];
        if (kind === 'arrive') for (let i = 0; i < count; i++) both.arrive(tenant);
        for (let i = 0; kind === 'take' && i < count; i++) {
          const head = both.queues.head(tenant);
          expect(head).toBe(queue()[0]);
          if (head !== undefined) both.remove(tenant, head);
        }
        const middle = queue()[count % Math.max(1, queue().length)];
        if (kind === 'leave' && middle !== undefined) both.remove(tenant, middle);
        const gone = both.gone.get(tenant) as string[];
        const older = gone[count % Math.max(1, gone.length)];
        if (kind === 'return' && older !== undefined && !queue().includes(older)) both.add(tenant, older);
        if (kind === 'undo') both.undo();
        if (kind === 'commit') both.commit();
        for (const each of TENANTS) expect(both.queues.head(each)).toBe(both.waiting.get(each)?.[0]);
        if (kind !== 'commit') continue;
        const orders = queue().map(queueOrder);
        for (const [before, order] of orders.entries()) expect(countBefore(both.store, tenant, order, 1_000)).toBe(before);
      }
    }),
    { numRuns: 200 },
  );
});

test('a thousand taken in one transaction are read once', async () => {
  const store = await memoryStores().open(0);
  const [acme] = TENANTS as [TenantId];
  const keys = Array.from({ length: 2_000 }, (_, order) => queueKey(acme, order, 'c'));
  const [pages, writes]: [QueuePages, Write[]] = [new QueuePages(store), []];
  for (const key of keys) pages.set(acme, queueOrder(key), waiting(key));
  pages.writes(writes, false);
  store.write(writes, emptyMeta(1, 1));
  let read = 0;
  const queues = new TenantQueues({
    get: (table, key) => store.get(table, key),
    getMany: (table, keys) => store.getMany(table, keys),
    heads: (table, from, tenants) => store.heads(table, from, tenants),
    scan(table, from, limit, to) {
      const found = store.scan(table, from, limit, to);
      read += found.length;
      return found;
    },
  });
  for (const key of keys.slice(0, 1_000)) {
    expect(queues.head(acme)).toBe(key);
    queues.change(acme, key, undefined);
  }
  // Pages of sixteen.
  expect(read).toBeLessThan(1_100 / 16);
});
