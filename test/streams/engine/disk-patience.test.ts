/** A disk that is full for seconds costs nobody a partition; one that stays full gives its partitions to others (invariant 11). */
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Store, Stores } from '#streams/engine/ports.ts';
import { openTask } from '#streams/engine/task.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import type { Input } from '#streams/support/input.ts';
import { support } from '#streams/support/support.ts';

const tenant = 'acme' as TenantId;
const topics = { history: 'tenant.events', words: 'support.steps' };
const codec = createCodec(localSchemas());

/** Takes writes until `full` says otherwise. */
function storesOn(disk: { full: () => boolean; held: number }): Stores {
  const stores = memoryStores();
  return {
    async open(partition) {
      const store = await stores.open(partition);
      disk.held++;
      const write: Store['write'] = (...batch) => {
        if (disk.full()) throw new EvenkeelError('store_unwritable', 'No space left on device');
        store.write(...batch);
      };
      const close = async () => {
        disk.held--;
        await store.close();
      };
      return new Proxy(store, { get: (of, name) => (name === 'write' ? write : name === 'close' ? close : Reflect.get(of, name)) });
    },
    destroy: (partition) => stores.destroy(partition),
  };
}

/** What has nothing more to do writes its store. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

async function desk(fullFor: number) {
  // Pauses pass at once, on a clock of their own.
  let now = 0;
  let fullUntil = 0;
  const disk = { full: () => now < fullUntil, held: 0 };
  const after = (ms: number, run: () => void) => {
    const pause = setImmediate(() => {
      now += ms;
      run();
    });
    return () => clearImmediate(pause);
  };
  const task = await openTask({
    machine: support(codec),
    partition: 0,
    partitions: 1,
    topics,
    log: memoryLog({ broker: new MemoryBroker(() => 1_000_000 + now), topics, owned: () => true }),
    stores: storesOn(disk),
    effects: () => ({ start: (work) => ({ key: work.key, abort: () => undefined }) }),
    clock: { monotonic: () => now, after },
    cap: 1,
    deadLetter: () => [],
    report: { committed: () => undefined, warn: () => undefined },
  });
  fullUntil = now + fullFor;
  const create = (of: string): Input => ({
    kind: 'command',
    tenant: of as TenantId,
    mark: `k_${of}`,
    command: { type: 'create_tenant', tenantId: of as TenantId, commandId: of, by: 'test', role: 'operator', changes: '{}' },
  });
  return { task, disk, create, time: () => now };
}

test('full for seconds: what was asked for meanwhile is done once there is room', async () => {
  const { task, disk, create } = await desk(10_000);
  await task.offer(create(tenant), { topic: 'tenant.commands', from: 0, next: 1 });
  // The log has it; then the store's write fails, and the task opens again.
  await turn();
  await task.offer(create('globex'), { topic: 'tenant.commands', from: 1, next: 2 });
  expect(disk.full()).toBe(false);
  for (const each of [tenant, 'globex' as TenantId]) expect(task.peek({ tenant: each }).account.created).toBe(true);
  await task.close();
});

test('full for good: the task ends with a fatal error after a bounded time, and lets go of its store', async () => {
  const { task, disk, create, time } = await desk(Number.POSITIVE_INFINITY);
  await task.offer(create(tenant), { topic: 'tenant.commands', from: 0, next: 1 });
  await turn();
  await expect(task.offer(create('globex'), { topic: 'tenant.commands', from: 1, next: 2 })).rejects.toMatchObject({ code: 'disk_failed', class: 'fatal' });
  expect((await task.lost).message).toMatch(/no writes for 1\d s: No space left/);
  expect(time()).toBeLessThan(20_000);
  await task.close();
  expect(disk.held).toBe(0);
});

test('full now and then: each time is counted for itself', async () => {
  const first = await desk(10_000);
  await first.task.offer(first.create(tenant), { topic: 'tenant.commands', from: 0, next: 1 });
  await turn();
  await first.task.offer(first.create('globex'), { topic: 'tenant.commands', from: 1, next: 2 });
  first.disk.full = (
    (until) => () =>
      first.time() < until
  )(first.time() + 10_000);
  await first.task.offer(first.create('initech'), { topic: 'tenant.commands', from: 2, next: 3 });
  await turn();
  await first.task.offer(first.create('hooli'), { topic: 'tenant.commands', from: 3, next: 4 });
  expect(first.disk.full()).toBe(false);
  expect(first.task.position('tenant.commands')).toBe(4);
  await first.task.close();
});
