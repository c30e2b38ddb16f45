/** A task that could not be opened leaves nothing open behind it. */
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Stores } from '#streams/engine/ports.ts';
import { openTask } from '#streams/engine/task.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { support } from '#streams/support/support.ts';

const topics = { history: 'tenant.events', words: 'support.steps' };

test('fenced between its opening and its first batch: the store is closed, so that the next task of this process can open it', async () => {
  let open = 0;
  const memory = memoryStores();
  const stores: Stores = {
    ...memory,
    async open(partition) {
      const store = await memory.open(partition);
      open++;
      const close = store.close.bind(store);
      store.close = () => {
        open--;
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
  const opening = openTask({
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
  await expect(opening).rejects.toMatchObject({ code: 'fenced' });
  expect(open).toBe(0);
});
