/** Three brokers: what was acknowledged outlives the kill of any one of them, and a broker comes back on its data. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKafka } from '#streams/kafka/client.ts';
import { type RunningKafka, startKafka } from '../start-kafka.ts';

const TOPIC = 'outlives';
let kafka: RunningKafka;
beforeAll(async () => {
  kafka = await startKafka({ brokers: 3 });
});
afterAll(() => kafka.stop());

const client = () => createKafka({ brokers: kafka.brokers, ...kafka.admin, clientId: 'brokers-test' });

test('each broker is killed in turn: every acknowledged record is there once it is back', async () => {
  const admin = client().admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic: TOPIC, numPartitions: 1, replicationFactor: 3 }] });
  const producer = client().producer({ idempotent: true });
  await producer.connect();
  let acknowledged = 0;
  const send = async () => {
    await producer.send({ topic: TOPIC, acks: -1, messages: [{ value: String(acknowledged) }] });
    acknowledged++;
  };
  const whole = async () => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] });
    return topics[0]?.partitions[0]?.isr.length === 3;
  };
  await until(whole);
  for (const broker of [0, 1, 2]) {
    await send();
    await kafka.kill(broker);
    for (let times = 0; times < 20; times++) await send();
    await kafka.restart(broker);
    await until(whole);
  }
  const [end] = await admin.fetchTopicOffsets(TOPIC);
  expect(Number(end?.high)).toBe(acknowledged);
  expect(acknowledged).toBe(63);
  await producer.disconnect();
  await admin.disconnect();
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100)))
    if (await condition().catch(() => false)) return;
  throw new Error('waited 60 s for three copies in sync');
}
