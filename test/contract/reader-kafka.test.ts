/** Reading without a group, and the plain producer, on a real broker: nothing skipped, nobody held up, nothing burnt while idle. */
import { afterEach, expect, test } from 'vitest';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { client, cutHead, newTopic, until } from './kafka-under-test.ts';

const stop: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const each of stop.splice(0)) await each();
});
function reader(warnings: string[] = [], restMs = 0): Reader {
  const made = new Reader(client('reader'), (message) => warnings.push(message), 1, restMs);
  stop.push(() => made.close());
  return made;
}
function sender() {
  const made = createSender(client('sender'));
  stop.push(() => made.close());
  return made;
}
const value = (at: number, size: number) => Buffer.from(`${at}`.padEnd(size, '.'));

test.each([0, 5])('catching up on more partitions than an answer has room for skips no record; with a rest of %i ms between answers', async (restMs) => {
  const [partitions, each] = [24, 1_500];
  const topic = await newTopic(partitions);
  const records = Array.from({ length: partitions * each }, (_, at) => ({ topic, partition: at % partitions, key: 'k', value: value(at, 1_000) }));
  const sent = await sender().send(records);
  expect(sent.every(({ time }) => time > 0)).toBe(true);
  const log = reader([], restMs);
  const offsets = await Promise.all(
    Array.from({ length: partitions }, async (_, partition) => {
      const found: number[] = [];
      for await (const batch of log.follow(topic, partition, 0, new AbortController().signal)) {
        found.push(...batch.records.map(({ offset }) => offset));
        if (batch.next >= each) break;
      }
      return found;
    }),
  );
  const expected = Array.from({ length: each }, (_, at) => at);
  for (const found of offsets) expect(found).toEqual(expected);
});

test('a topic that is not there holds up nobody, and is read once it is made', async () => {
  const [there, late] = [await newTopic(1), `contract.late.${Date.now()}`];
  const [log, warnings] = [reader(), [] as string[]];
  const follow = async (topic: string) => {
    for await (const { records } of log.follow(topic, 0, 0, new AbortController().signal)) if (records.length > 0) return performance.now();
    return 0;
  };
  const missing = follow(late);
  const found = follow(there);
  await sender().send([{ topic: there, partition: 0, key: 'k', value: value(1, 10) }]);
  await found;
  const admin = client('late').admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic: late, numPartitions: 1, replicationFactor: -1 }] });
  await until(async () => (await admin.listTopics()).includes(late));
  await admin.disconnect();
  await sender().send([{ topic: late, partition: 0, key: 'k', value: value(1, 10) }]);
  await missing;
  expect(warnings.filter((each) => each.includes(there))).toEqual([]);
});

test('a position before or behind the log begins at its start, and says so', async () => {
  const topic = await newTopic(1);
  await sender().send([1, 2, 3].map((at) => ({ topic, partition: 0, key: 'k', value: value(at, 10) })));
  await cutHead(topic, 1);
  const warnings: string[] = [];
  const log = reader(warnings);
  expect(await log.start(topic, 0)).toBe(1);
  for (const from of [0, 99]) {
    for await (const { records, end } of log.follow(topic, 0, from, new AbortController().signal)) {
      expect(records.map(({ offset }) => offset)).toEqual([1, 2]);
      expect(end).toBe(3);
      break;
    }
    for await (const { records } of log.read(topic, 0, from)) expect(records.map(({ offset }) => offset)).toEqual([1, 2]);
  }
  expect(warnings.join()).toMatch(/is read from 1: it holds 1 to 3, not 0.*not 99/);
});

test('what one caller sends keeps its order; a burst beyond one batch arrives; a record too large says so and harms no other', async () => {
  const topic = await newTopic(2);
  const out = sender();
  const burst = Array.from({ length: 3_000 }, (_, at) => ({ topic, partition: 0, key: 'k', value: value(at, 1_000) }));
  const huge = expect(out.send([{ topic, partition: 1, key: 'k', value: value(0, 6_000_000) }])).rejects.toMatchObject({ code: 'record_too_large' });
  const small = out.send([{ topic, partition: 1, key: 'k', value: value(1, 10) }]);
  const sent = await out.send(burst);
  expect(sent.map(({ offset }) => offset)).toEqual(burst.map((_, at) => at));
  await huge;
  await expect(small).resolves.toHaveLength(1);
});

test('an idle reader and an idle producer cost next to nothing', async () => {
  const topic = await newTopic(8);
  const [log, out, ends] = [reader(), sender(), new AbortController()];
  await out.send([{ topic, partition: 0, key: 'k', value: value(1, 10) }]);
  const followed = Array.from({ length: 8 }, async (_, partition) => {
    for await (const _batch of log.follow(topic, partition, 0, ends.signal));
  });
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const [before, started] = [process.cpuUsage(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const { user, system } = process.cpuUsage(before);
  ends.abort();
  await Promise.all(followed);
  expect((user + system) / 1_000 / (performance.now() - started)).toBeLessThan(0.03);
});

test('readings that begin at the same time share their connections: all arrive, and closing leaves none open', async () => {
  const topic = await newTopic(8);
  await sender().send(Array.from({ length: 8 }, (_, partition) => ({ topic, partition, key: 'k', value: value(partition, 10) })));
  const sockets = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
  const before = sockets();
  const log = new Reader(client('at-once'), () => undefined);
  const read = async (partition: number) => {
    let count = 0;
    for await (const { records } of log.read(topic, partition, 0)) count += records.length;
    return count;
  };
  expect(await Promise.all(Array.from({ length: 8 }, (_, partition) => read(partition)))).toEqual(Array(8).fill(1));
  await log.close();
  await until(() => sockets() <= before);
});

// Found with three brokers: retention took the first records of a topic that keeps its writers' time, for they seemed to be of 1970.
test('what a transaction or a producer writes has a time of its own, also where the broker does not set it', async () => {
  const topic = `contract.times.${Date.now()}`;
  const admin = client('times').admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 1, replicationFactor: -1 }] });
  await until(async () => (await admin.listTopics()).includes(topic));
  await admin.disconnect();
  const log = reader();
  const written = await kafkaLog({
    kafka: client('times'),
    reader: log,
    follower: log,
    group: 'contract',
    topics: { history: topic, words: topic },
    owned: async () => true,
  }).open(0);
  await written.commit([{ topic, partition: 0, key: 'k', value: value(1, 10) }], {});
  await written.close();
  await sender().send([{ topic, partition: 0, key: 'k', value: value(2, 10) }]);
  const times: number[] = [];
  for await (const { records } of log.read(topic, 0, 0)) times.push(...records.map(({ timestamp }) => timestamp));
  expect(times.length).toBe(2);
  for (const time of times) expect(Math.abs(Date.now() - time)).toBeLessThan(60_000);
});
