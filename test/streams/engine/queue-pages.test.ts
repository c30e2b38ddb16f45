/** Invariant 3: the pages of a queue are what waits in it, in the same bytes by whatever way it came there. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { emptyMeta } from '#streams/engine/fold.ts';
import type { Write } from '#streams/engine/ports.ts';
import { QueuePages, readQueue, type Waiting } from '#streams/engine/queue-pages.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { memoryStores } from '#streams/memory/store.ts';

const TENANTS = ['acme', 'globex'] as TenantId[];
const order = fc.oneof(fc.nat(70), fc.integer({ min: 1e9, max: 1e9 + 40 }));
const due = fc.option(fc.integer({ min: 0, max: 9e15 }), { nil: undefined });
const change = fc.record({ tenant: fc.constantFrom(...TENANTS), order, due, there: fc.boolean(), item: fc.string({ maxLength: 40, unit: 'binary' }) });
const happenings = fc.array(fc.record({ changes: fc.array(change, { maxLength: 60 }), held: fc.boolean() }), { minLength: 1, maxLength: 8 });

test('they hold what waits, each with its time, whether written at once, held back, or read again', async () => {
  await fc.assert(
    fc.asyncProperty(happenings, async (batches) => {
      const [store, same] = [await memoryStores().open(0), await memoryStores().open(0)];
      const model = new Map<string, { readonly tenant: TenantId; readonly waiting: Waiting }>();
      let pages = new QueuePages(store);
      for (const [at, { changes, held }] of batches.entries()) {
        for (const { tenant, order, there, ...rest } of changes) {
          const waiting = there ? { order, ...rest } : undefined;
          pages.set(tenant, order, waiting);
          if (waiting) model.set(`${tenant} ${order}`, { tenant, waiting });
          else model.delete(`${tenant} ${order}`);
        }
        const [writes, last]: [Write[], boolean] = [[], at === batches.length - 1];
        pages.writes(writes, held && !last);
        store.write(writes, emptyMeta(1, 1));
        // What is not held back is in the store: whoever comes next finds it there.
        if (!held) pages = new QueuePages(store);
      }
      for (const tenant of TENANTS) {
        const found: Waiting[] = [];
        for (let from: number | undefined = 0; from !== undefined; ) {
          const { waiting, next } = readQueue(store, tenant, from, 2);
          found.push(...waiting);
          from = next;
        }
        const expected = [...model.values()].filter((each) => each.tenant === tenant).map(({ waiting }) => waiting);
        expect(found).toEqual(expected.sort((a, b) => a.order - b.order));
      }
      const [once, writes]: [QueuePages, Write[]] = [new QueuePages(same), []];
      for (const { tenant, waiting } of model.values()) once.set(tenant, waiting.order, waiting);
      once.writes(writes, false);
      same.write(writes, emptyMeta(1, 1));
      expect(stateHash(store)).toEqual(stateHash(same));
    }),
    { numRuns: 200 },
  );
});

// Of more tenants than a fold keeps accounts of, some writes hold nothing back, and the next ones do.
test('a page that was full and written while others are held back is changed as it stands in the store, not as it was kept before', async () => {
  const store = await memoryStores().open(0);
  const [acme] = TENANTS as [TenantId];
  const pages = new QueuePages(store);
  const write = (held: boolean) => {
    const writes: Write[] = [];
    pages.writes(writes, held);
    store.write(writes, emptyMeta(1, 1));
  };
  const arrive = (from: number, to: number) => {
    for (let order = from; order < to; order++) pages.set(acme, order, { order, due: undefined, item: `c_${order}` });
  };
  arrive(0, 8);
  write(false);
  arrive(8, 16);
  write(true);
  pages.set(acme, 0, undefined);
  write(false);
  expect(readQueue(store, acme, 0, 2).waiting.map(({ order }) => order)).toEqual(Array.from({ length: 15 }, (_, at) => at + 1));
});
