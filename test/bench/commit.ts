/** How long a transaction takes on the local broker: a history batch of five events, one word record, the input's offset. */
import type { Output } from '#streams/engine/machine.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { startKafka } from '../start-kafka.ts';
import { quantile, type Report } from './report.ts';

const TRANSACTIONS = 400;
const TARGET_MS = 15;
const TOPICS = { history: 'tenant.events', words: 'support.steps' };

export async function commit(): Promise<Report> {
  // With a registry it is provisioned: no topic comes by itself.
  const kafka = await startKafka({ registry: true });
  const client = (name: string) => createKafka({ brokers: kafka.brokers, ...kafka.admin, clientId: name });
  const [reader, follower] = [new Reader(client('reader'), () => undefined), new Reader(client('follower'), () => undefined)];
  const log = kafkaLog({ kafka: client('log'), reader, follower, group: 'bench', topics: TOPICS, owned: async () => true });
  const admin = client('admin').admin();
  await admin.connect();
  // The coordinator of a group is there from the first use on.
  for (let there = false; !there; )
    there = await admin.fetchOffsets({ groupId: 'bench', topics: ['support.requests'] }).then(
      () => true,
      () => new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 200)),
    );
  const partition = await log.open(0);
  const record = (topic: string): Output => ({ topic, partition: 0, key: 'acme', value: Buffer.alloc(200, 1) });
  const records = [...Array.from({ length: 6 }, () => record(TOPICS.history)), record(TOPICS.words)];
  const measure = async (pauseMs: number): Promise<number[]> => {
    const took: number[] = [];
    for (let at = 0; at < TRANSACTIONS; at++) {
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
      const began = performance.now();
      await partition.commit(records, { 'support.requests': at + 1 });
      took.push(performance.now() - began);
    }
    return took.slice(TRANSACTIONS / 10);
  };
  const [paced, back] = [await measure(20), await measure(0)];
  await partition.close();
  await Promise.all([admin.disconnect(), reader.close(), follower.close()]);
  await kafka.stop();
  const p50 = quantile(paced, 0.5);
  return {
    name: 'commit',
    figures: {
      transactions: TRANSACTIONS,
      paced_p50_ms: p50,
      paced_p99_ms: quantile(paced, 0.99),
      back_to_back_p50_ms: quantile(back, 0.5),
      back_to_back_p99_ms: quantile(back, 0.99),
    },
    ratio: Math.round((p50 / TARGET_MS) * 100) / 100,
    target: `a transaction takes at most ${TARGET_MS} ms at the median, 20 ms after the last`,
    met: p50 <= TARGET_MS,
    not_measured: ['the RocksDB batch after it', 'several partitions at once', 'a broker on another machine'],
  };
}
