import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { explicitPartition, toMessage } from '#test/plain-producer.ts';
import { client, until } from './kafka-under-test.ts';
import { logContract } from './log.contract.ts';

const topics = { history: 'contract.history', words: 'contract.words' };
const INPUT = 'contract.input';
const SNAPSHOTS = 'contract.snapshots';
const PARTITIONS = 32;
let next = 0;

logContract(async () => {
  const kafka = client('contract');
  const administrator = kafka.admin();
  await administrator.connect();
  const there = await administrator.listTopics();
  if (!there.includes(topics.history)) {
    const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }];
    const make = (topic: string) => ({ topic, numPartitions: PARTITIONS, replicationFactor: -1, configEntries });
    await administrator.createTopics({ waitForLeaders: false, topics: [topics.history, topics.words, INPUT, SNAPSHOTS].map(make) });
    await until(async () => (await administrator.listTopics()).includes(INPUT));
  }
  // The group's coordinator is there from the first use of any group on; a runtime has joined before it commits.
  await until(async () => {
    // It may still be loading, which this call does not wait for.
    return administrator.fetchOffsets({ groupId: 'contract', topics: [INPUT] }).then(
      () => true,
      () => false,
    );
  });
  const warn = () => undefined;
  const [reader, follower] = [new Reader(client('reader'), warn), new Reader(client('follower'), warn)];
  return {
    log: kafkaLog({ kafka, reader, follower, group: 'contract', topics, owned: async () => true }),
    partition: next++,
    ...topics,
    input: INPUT,
    snapshots: SNAPSHOTS,
    async abandon(records) {
      const producer = kafka.producer({ transactionalId: `contract-abandon-${next}`, idempotent: true, createPartitioner: explicitPartition });
      await producer.connect();
      const transaction = await producer.transaction();
      for (const record of records) await transaction.send({ topic: record.topic, messages: [toMessage(record, 0)] });
      await transaction.abort();
      await producer.disconnect();
    },
    async groupOffset(topic, partition) {
      const [found] = await administrator.fetchOffsets({ groupId: 'contract', topics: [topic] });
      const offset = Number(found?.partitions.find((each) => each.partition === partition)?.offset ?? -1);
      return offset < 0 ? undefined : offset;
    },
    async close() {
      await Promise.all([administrator.disconnect(), reader.close(), follower.close()]);
    },
  };
});
