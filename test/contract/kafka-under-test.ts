/** What the contract suites on real Kafka share: clients as the administrator, and topics of their own. */
import { inject } from 'vitest';
import { createKafka } from '#streams/kafka/client.ts';

const { brokers, admin } = inject('kafka');
let made = 0;

export const client = (name: string) => createKafka({ brokers, ...admin, clientId: name });

/** A new topic; resolves once it can be written to. */
export async function newTopic(partitions: number): Promise<string> {
  const topic = `contract.${process.pid}.${Date.now()}.${made++}`;
  const administrator = client('topics').admin();
  await administrator.connect();
  const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }];
  await administrator.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: partitions, replicationFactor: -1, configEntries }] });
  await until(async () => (await administrator.listTopics()).includes(topic));
  await administrator.disconnect();
  return topic;
}

/** @throws after `ms` */
export async function until(done: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> {
  for (const end = performance.now() + ms; !(await done()); ) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** As retention does: partition 0 begins at `offset`. */
export async function cutHead(topic: string, offset: number): Promise<void> {
  const administrator = client('cut').admin();
  await administrator.connect();
  // deleteTopicRecords asks metadata that only another call loads.
  await administrator.fetchTopicOffsets(topic);
  await administrator.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(offset) }] });
  await administrator.disconnect();
}
