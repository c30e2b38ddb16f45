/** A task that could not be opened leaves nothing open behind it. */
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Log, Stores } from '#streams/engine/ports.ts';
import { openTask } from '#streams/engine/task.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { support } from '#streams/support/support.ts';

const topics = { history: 'tenant.events', words: 'support.steps' };

function open(log: Log, stores: Stores) {
  return openTask({
    machine: support(createCodec(localSchemas())),
    partition: 0,
    partitions: 1,
    topics,
    log,
    stores,
    effects: () => ({ start: (work) => ({ key: work.key, abort: () => undefined }) }),
    clock: {
      monotonic: () => 0,
      after(_ms, run) {
        setImmediate(run);
        return () => undefined;
      },
    },
    cap: 1,
    deadLetter: () => [],
    report: { committed: () => undefined, warn: () => undefined },
  });
}

test('fenced between its opening and its first batch: the store is closed, so that the next task of this process can open it', async () => {
  let left = 0;
  const memory = memoryStores();
  const stores: Stores = {
    ...memory,
    async open(partition) {
      const store = await memory.open(partition);
      left++;
      const close = store.close.bind(store);
      store.close = () => {
        left--;
        return close();
      };
      return store;
    },
  };
  let ours = true;
  const log = memoryLog({
    broker: new MemoryBroker(() => 1),
    topics,
    owned: () => ours,
    network: {
      pass: async (operation) => {
        if (operation !== 'commit') return;
        ours = false;
        throw new EvenkeelError('commit_failed', 'another has fenced it');
      },
    },
  });
  const opening = open(log, stores);
  await expect(opening).rejects.toMatchObject({ code: 'fenced' });
  expect(left).toBe(0);
});

test('a store that does not open for want of room is waited for, and not thrown away', async () => {
  let [tries, destroyed] = [0, 0];
  const memory = memoryStores();
  const stores: Stores = {
    open(partition) {
      if (++tries < 3) throw new EvenkeelError('unavailable', 'No space left on device');
      return memory.open(partition);
    },
    async destroy() {
      destroyed++;
    },
  };
  const task = await open(memoryLog({ broker: new MemoryBroker(() => 1), topics, owned: () => true }), stores);
  await task.close();
  expect([tries, destroyed]).toEqual([3, 0]);
});
