import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { emptyMeta } from '#streams/engine/fold.ts';
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
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('write' as const), tenant: fc.nat(1), count: fc.constant(0) }) },
);

const itemAt = (order: number) => `c-${order % 7}`;
const waiting = (order: number) => ({ order, due: undefined, item: itemAt(order) });

/** The queue as one sorted list, beside the real one over a store. */
class Both {
  readonly store: Store;
  readonly queues: TenantQueues;
  /** Places of arrival. */
  readonly waiting = new Map<TenantId, number[]>(TENANTS.map((tenant) => [tenant, []]));
  readonly gone = new Map<TenantId, number[]>(TENANTS.map((tenant) => [tenant, []]));
  readonly #pages: QueuePages;
  #stored = new Map<TenantId, readonly number[]>();
  #undo: (() => void)[] = [];
  #arrivals = 0;

  constructor(store: Store) {
    this.store = store;
    this.queues = new TenantQueues(store);
    this.#pages = new QueuePages(store);
  }

  add(tenant: TenantId, order: number): void {
    this.#move(tenant, undefined, order);
    this.#undo.push(() => this.#move(tenant, order, undefined));
  }
  remove(tenant: TenantId, order: number): void {
    this.#move(tenant, order, undefined);
    this.#undo.push(() => this.#move(tenant, undefined, order));
  }
  arrive(tenant: TenantId): void {
    this.add(tenant, this.#arrivals++);
  }
  settle(): void {
    this.#undo = [];
  }
  undo(): void {
    for (const each of this.#undo.reverse()) each();
    this.#undo = [];
  }

  write(): void {
    for (const [tenant, now] of this.waiting) {
      const before = this.#stored.get(tenant) ?? [];
      for (const order of before) if (!now.includes(order)) this.#pages.set(tenant, order, undefined);
      for (const order of now) if (!before.includes(order)) this.#pages.set(tenant, order, waiting(order));
      this.#stored.set(tenant, [...now]);
    }
    const writes: Write[] = [];
    this.#pages.writes(writes, false);
    this.store.write(writes, emptyMeta(1, 1));
    this.queues.written();
    this.#undo = [];
  }

  #move(tenant: TenantId, from: number | undefined, to: number | undefined): void {
    this.queues.move(tenant, itemAt(from ?? to ?? 0), from, to);
    const rest = (this.waiting.get(tenant) ?? []).filter((order) => order !== from);
    this.waiting.set(tenant, to === undefined ? rest : [...rest, to].sort((a, b) => a - b));
    if (from !== undefined) this.gone.get(tenant)?.push(from);
  }
}

test('the head is the first that waits, whatever was added, taken, taken back and written', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 60 }), async (happenings) => {
      const both = new Both(await memoryStores().open(0));
      for (const { kind, tenant: at, count } of happenings) {
        const tenant = TENANTS[at] as TenantId;
        if (kind !== 'undo') both.settle();
        const queue = () => both.waiting.get(tenant) as number[];
        const first = (of: TenantId) => both.waiting.get(of)?.[0];
        const item = (order: number | undefined) => (order === undefined ? undefined : itemAt(order));
        if (kind === 'arrive') for (let i = 0; i < count; i++) both.arrive(tenant);
        for (let i = 0; kind === 'take' && i < count; i++) {
          const head = first(tenant);
          expect(both.queues.head(tenant)).toBe(item(head));
          if (head !== undefined) both.remove(tenant, head);
        }
        const middle = queue()[count % Math.max(1, queue().length)];
        if (kind === 'leave' && middle !== undefined) both.remove(tenant, middle);
        const gone = both.gone.get(tenant) as number[];
        const older = gone[count % Math.max(1, gone.length)];
        if (kind === 'return' && older !== undefined && !queue().includes(older)) both.add(tenant, older);
        if (kind === 'undo') both.undo();
        if (kind === 'write') both.write();
        for (const each of TENANTS) expect(both.queues.head(each)).toBe(item(first(each)));
        if (kind !== 'write') continue;
        for (const [before, order] of queue().entries()) expect(countBefore(both.store, tenant, order, 1_000)).toBe(before);
      }
    }),
    { numRuns: 200 },
  );
});

test('of a long queue what is no longer kept read is read again, none of it left out', async () => {
  const both = new Both(await memoryStores().open(0));
  const [acme] = TENANTS as [TenantId];
  expect(both.queues.head(acme)).toBeUndefined();
  for (const most of [200, 250]) {
    while (both.waiting.get(acme)?.at(-1) !== most - 1) both.arrive(acme);
    both.write();
  }
  for (let order = 0; order < 250; order++) {
    expect(both.queues.head(acme)).toBe(itemAt(order));
    both.remove(acme, order);
  }
  expect(both.queues.head(acme)).toBeUndefined();
});

test('a thousand taken in one transaction are read once', async () => {
  const store = await memoryStores().open(0);
  const [acme] = TENANTS as [TenantId];
  const [pages, writes]: [QueuePages, Write[]] = [new QueuePages(store), []];
  for (let order = 0; order < 2_000; order++) pages.set(acme, order, waiting(order));
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
  for (let order = 0; order < 1_000; order++) {
    expect(queues.head(acme)).toBe(itemAt(order));
    queues.move(acme, itemAt(order), order, undefined);
  }
  // Pages of sixteen.
  expect(read).toBeLessThan(1_100 / 16);
});
