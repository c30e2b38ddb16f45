import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { logContract } from './log.contract.ts';

logContract(async () => {
  let now = 1_000;
  const broker = new MemoryBroker(() => now++);
  const topics = { history: 'tenant.events', words: 'support.steps' };
  return {
    log: memoryLog({ broker, topics, owned: () => true }),
    partition: 0,
    ...topics,
    input: 'support.requests',
    snapshots: 'tenant.snapshots',
    abandon: async (records) => broker.abandon(0, records),
    groupOffset: async (topic, partition) => broker.committed(topic, partition),
    close: async () => undefined,
  };
});
