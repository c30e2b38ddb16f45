/**
 * The peer of `pipeline`: the same client, the same commits with the same records, and nothing else. Requests are consumed and pass the
 * commits that ours were seen to make (accepted and dispatched, step started, step and request finished); records are bytes made beforehand.
 */

import type { Producer } from 'kafkajs';
import type { Output } from '#streams/engine/machine.ts';
import { createKafka, type KafkaSettings, withAdmin } from '#streams/kafka/client.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { explicitPartition, toMessage } from '#test/plain-producer.ts';
import type { Sized, Written } from './written.ts';

type Settings = Pick<KafkaSettings, 'brokers' | 'username' | 'password'> & {
  readonly partitions: number;
  readonly requests: number;
  readonly written: Written;
};
const { partitions, requests, written, ...settings } = JSON.parse(process.argv[2] as string) as Settings;
const TOPICS = { input: 'bench.requests', history: 'bench.events', words: 'bench.steps', results: 'bench.results' };
/** CONCURRENT_TRANSACTIONS meets each transaction after the first: with the default pauses there are three a second. */
const RETRY = { initialRetryTime: 2, factor: 0.2, multiplier: 1.3, maxRetryTime: 300, retries: 40 };
const MOST = 1_000;
const OUTSTANDING = 6_000;
const client = (name: string) => createKafka({ ...settings, clientId: `bare.${name}` });

const record = (topic: string, partition: number, { key, value, headers }: Sized): Output => ({
  topic,
  partition,
  key: 'k'.repeat(key),
  value: Buffer.alloc(value, 1),
  headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, Buffer.alloc(bytes, 1)])),
});
/** What one request adds to the commit of each of its stages. */
const stagesOf = (partition: number): readonly (readonly Output[])[] =>
  written.commits.map((records) => records.map(({ place, ...sized }) => record(TOPICS[place], partition, sized)));
const LAST = written.commits.length - 1;

class Loop {
  readonly #partition: number;
  readonly #producer: Producer;
  readonly #stages: readonly (readonly Output[])[];
  readonly #batch: Output;
  /** How many wait for each stage. */
  readonly #waiting = written.commits.map(() => 0);
  #offset = 0;
  #busy = false;
  readonly #finished: (count: number) => void;

  constructor(partition: number, producer: Producer, finished: (count: number) => void) {
    this.#partition = partition;
    this.#producer = producer;
    this.#finished = finished;
    this.#stages = stagesOf(partition);
    this.#batch = record(TOPICS.history, partition, written.batch);
  }

  arrived(count: number, next: number): void {
    this.#waiting[0] = (this.#waiting[0] as number) + count;
    this.#offset = next;
    if (!this.#busy) void this.#run();
  }

  /** One topic-partition in a `send`, the history's first, then the others side by side: as kafkajs must be used. */
  async #commit(records: readonly Output[], inputs: Readonly<Record<string, number>>): Promise<void> {
    const transaction = await this.#producer.transaction();
    const send = (topic: string, of: readonly Output[]) => transaction.send({ topic, messages: of.map((each) => toMessage(each, this.#partition)), acks: -1 });
    const [first, ...rest] = Map.groupBy(records, ({ topic }) => topic);
    if (first) await send(...first);
    await Promise.all(rest.map((each) => send(...each)));
    const topics = Object.entries(inputs).map(([topic, offset]) => ({ topic, partitions: [{ partition: this.#partition, offset: String(offset) }] }));
    if (topics.length > 0) await transaction.sendOffsets({ consumerGroupId: 'bare', topics });
    await transaction.commit();
    transactions++;
    recordsWritten += records.length;
  }

  async #run(): Promise<void> {
    this.#busy = true;
    while (this.#waiting.some((count) => count > 0)) {
      let room = MOST;
      const taken = Array.from({ length: LAST + 1 }, (_, at) => LAST - at).map((stage) => {
        const count = Math.min(room, this.#waiting[stage] as number);
        room -= count;
        this.#waiting[stage] = (this.#waiting[stage] as number) - count;
        return [stage, count] as const;
      });
      const records = [this.#batch];
      for (const [stage, count] of taken) for (let at = 0; at < count; at++) records.push(...(this.#stages[stage] as readonly Output[]));
      const inputs = taken.some(([stage, count]) => stage === 0 && count > 0) ? { [TOPICS.input]: this.#offset - (this.#waiting[0] as number) } : {};
      await this.#commit(records, inputs as Record<string, number>);
      for (const [stage, count] of taken) {
        if (stage === LAST) this.#finished(count);
        else this.#waiting[stage + 1] = (this.#waiting[stage + 1] as number) + count;
      }
    }
    this.#busy = false;
  }
}

await withAdmin(client('admin'), async (admin) => {
  const topics = Object.values(TOPICS).map((topic) => ({ topic, numPartitions: partitions, replicationFactor: 1 }));
  await admin.createTopics({ topics, waitForLeaders: false });
  for (let there = false; !there; await new Promise((resolve) => setTimeout(resolve, 100)))
    there = await admin.fetchTopicMetadata({ topics: Object.values(TOPICS) }).then(
      () => true,
      () => false,
    );
});
const producing = client('transactions');
let [finished, transactions, recordsWritten] = [0, 0, 0];
const marks: (readonly [number, number])[] = [];
const loops = await Promise.all(
  Array.from({ length: partitions }, async (_, partition) => {
    const producer = producing.producer({
      transactionalId: `bare-${partition}`,
      idempotent: true,
      maxInFlightRequests: 5,
      retry: RETRY,
      allowAutoTopicCreation: false,
      createPartitioner: explicitPartition,
    });
    await producer.connect();
    return new Loop(partition, producer, (count) => {
      finished += count;
      marks.push([performance.now(), finished]);
    });
  }),
);
const consumer = client('group').consumer({ groupId: 'bare', retry: { retries: 20 } });
await consumer.connect();
await consumer.subscribe({ topics: [TOPICS.input], fromBeginning: true });
await consumer.run({
  autoCommit: false,
  eachBatch: async ({ batch }) => loops[batch.partition]?.arrived(batch.messages.length, Number(batch.lastOffset()) + 1),
});
const sender = createSender(client('sender'));
for (let sent = 0; finished < requests; await new Promise((resolve) => setTimeout(resolve, 10))) {
  const room = Math.min(OUTSTANDING - (sent - finished), requests - sent);
  if (room > 0) void sender.send(Array.from({ length: room }, (_, at) => record(TOPICS.input, (sent + at) % partitions, written.request)));
  sent += Math.max(0, room);
}
const [from, to] = [marks.find(([, count]) => count >= requests * 0.2), marks.find(([, count]) => count >= requests * 0.98)] as [
  [number, number],
  [number, number],
];
console.log(JSON.stringify({ rate: ((to[1] - from[1]) * 1_000) / (to[0] - from[0]), recordsPerTransaction: recordsWritten / transactions }));
process.exit(0);
