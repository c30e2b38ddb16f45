/** Invariant 11, on a real broker: who has records left and does not move is wedged; who stands before commit markers or moves is not. */
import { Registry } from 'prom-client';
import { afterEach, expect, test } from 'vitest';
import { LagWatch } from '#services/lag.ts';
import { Watchdog } from '#services/watchdog.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { client, newTopic, until } from './kafka-under-test.ts';

const AFTER_MS = 1_000;
const stop: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const each of stop.splice(0)) await each();
});

function watching() {
  const wedged: string[] = [];
  const [reader, metrics] = [new Reader(client('ends'), () => undefined), new Registry()];
  const lag = new LagWatch({ reader, watchdog: new Watchdog(AFTER_MS, (what) => wedged.push(...what)), metrics, warn: () => undefined });
  stop.push(
    () => lag.close(),
    () => reader.close(),
  );
  return { lag, wedged, metrics };
}
async function send(topic: string, count: number): Promise<void> {
  const out = createSender(client('sender'));
  await out.send(Array.from({ length: count }, (_, at) => ({ topic, partition: 0, key: 'k', value: Buffer.from(`${at}`) })));
  await out.close();
}
async function transact(topic: string, end: 'commit' | 'abort'): Promise<void> {
  const producer = client('tx').producer({ transactionalId: topic, idempotent: true });
  await producer.connect();
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: [{ key: 'k', value: 'v' }] });
  await transaction[end]();
  await producer.disconnect();
}
const longer = () => new Promise((resolve) => setTimeout(resolve, AFTER_MS * 2));

test('records that nobody takes up are a wedge, named', async () => {
  const topic = await newTopic(1);
  await send(topic, 3);
  const { lag, wedged, metrics } = watching();
  lag.add({ topic, partition: 0, position: () => 1 });
  await until(() => wedged.length === 1);
  expect(wedged).toEqual([`partition 0 of ${topic}`]);
  expect(await metrics.metrics()).toContain(`evenkeel_lag_offsets{topic="${topic}",partition="0"} 2`);
});

test('commit markers and aborted records are no lag; a record behind them is', async () => {
  const topic = await newTopic(1);
  await transact(topic, 'commit');
  await transact(topic, 'abort');
  const { lag, wedged } = watching();
  lag.add({ topic, partition: 0, position: () => 1 });
  await until(() => lag.waitingFor.length === 0);
  await longer();
  expect(wedged).toEqual([]);
  await send(topic, 1);
  await until(() => wedged.length === 1);
});

test('whoever moves is not wedged, has caught up at the end it first saw, and is forgotten when told', async () => {
  const topic = await newTopic(1);
  await send(topic, 20);
  const { lag, wedged } = watching();
  let position = 0;
  const remove = lag.add({ topic, partition: 0, position: () => position });
  expect(lag.waitingFor).toEqual([`partition 0 of ${topic} to be caught up`]);
  for (; position < 20; position += 4) await new Promise((resolve) => setTimeout(resolve, AFTER_MS / 2));
  await until(() => lag.waitingFor.length === 0);
  await send(topic, 1);
  remove();
  await longer();
  expect(wedged).toEqual([]);
});
