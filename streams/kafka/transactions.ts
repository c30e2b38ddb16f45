/**
 * Transactions over kafkajs's connections, without its producer. A commit is three round trips, whatever it writes: what it touches is
 * announced at once, one request a broker carries all partitions beside the input offsets, then the end. kafkajs's producer takes seven and
 * more, and retries: over several brokers its retries write records twice or lose them (kafkajs PR #1798). Here nothing is retried but the
 * wait for the last transaction's markers: any other error ends this producer, and the task reads back what the log holds (invariant 10).
 */
import type { Kafka } from 'kafkajs';
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Offsets } from '#streams/engine/ports.ts';
import { nextSend } from './batch-size.ts';
import { type Cluster, createCluster, errorOf, leaderOf, sendTo, type TransactionBroker } from './client.ts';
import { PRODUCE_TIMEOUT_MS, produce } from './produce.ts';
import { encodeBatch } from './record-batch.ts';

export type TransactionsOptions = {
  readonly kafka: Kafka;
  readonly transactionalId: string;
  /** Whose input offsets ride in the transactions. */
  readonly group: string;
  /** What most transactions write to: who leads there is asked beside the fencing. */
  readonly topics: readonly string[];
  /** The broker aborts what has taken longer. */
  readonly timeoutMs: number;
};
export type Placed = Output & { readonly partition: number };
/** By `topic/partition`: the offset after the last record written, and the broker's append time. */
export type Written = ReadonlyMap<string, { readonly next: Offset; readonly time: Instant }>;

type Batch = { readonly topic: string; readonly partition: number; readonly records: readonly Output[] };

const TRANSACTION_COORDINATOR = 1;
/** The last transaction's markers are still being written; a transaction's coordinator is being loaded, or has moved. */
const CONCURRENT = new Set(['CONCURRENT_TRANSACTIONS']);
const NOT_YET = new Set([
  ...CONCURRENT,
  'COORDINATOR_LOAD_IN_PROGRESS',
  'NOT_COORDINATOR',
  'COORDINATOR_NOT_AVAILABLE',
  'GROUP_LOAD_IN_PROGRESS',
  'NOT_COORDINATOR_FOR_GROUP',
  'GROUP_COORDINATOR_NOT_AVAILABLE',
]);
const PAUSES_MS = [1, 1, 2, 2, 3, 5, 5, 10, 10, 20];
const LAST_PAUSE_MS = 50;
const OPEN_WITHIN_MS = 20_000;

export class Transactions {
  readonly #options: TransactionsOptions;
  readonly #cluster: Cluster;
  /** Next sequence number by `topic/partition`. */
  readonly #sequences = new Map<string, number>();
  /** The nodes of the two coordinators, as of opening. */
  #transactionNode = '';
  #groupNode = '';
  #producer = { producerId: '', producerEpoch: 0 };

  private constructor(options: TransactionsOptions) {
    this.#options = options;
    this.#cluster = createCluster(options.kafka);
  }

  /** Fences whoever wrote under this transactional id before: nothing of it enters the log afterwards (invariant 6). */
  static async open(options: TransactionsOptions): Promise<Transactions> {
    const transactions = new Transactions(options);
    try {
      await transactions.#open();
      return transactions;
    } catch (error) {
      await transactions.close();
      throw error;
    }
  }

  async #open(): Promise<void> {
    await this.#cluster.connect();
    await Promise.all([this.#fence(), this.#findGroup(), this.#cluster.addMultipleTargetTopics(this.#options.topics)]);
  }

  async #fence(): Promise<void> {
    const { transactionalId, timeoutMs } = this.#options;
    await patiently(NOT_YET, OPEN_WITHIN_MS, async () => {
      const coordinator = await this.#cluster.findGroupCoordinator({ groupId: transactionalId, coordinatorType: TRANSACTION_COORDINATOR });
      this.#transactionNode = String(coordinator.nodeId);
      const { producerId, producerEpoch } = await coordinator.initProducerId({ transactionalId, transactionTimeout: timeoutMs });
      this.#producer = { producerId, producerEpoch };
    });
  }

  async #findGroup(): Promise<void> {
    const { group } = this.#options;
    await patiently(NOT_YET, OPEN_WITHIN_MS, async () => {
      this.#groupNode = String((await this.#cluster.findGroupCoordinator({ groupId: group })).nodeId);
    });
  }

  /** One transaction. @throws whatever the client throws; this producer is of no more use then */
  async commit(records: readonly Placed[], inputs: Offsets, inputPartition: number): Promise<Written> {
    const { transactionalId } = this.#options;
    const who = { transactionalId, ...this.#producer };
    const places = byPlace(records);
    const coordinator = await this.#cluster.findBroker({ nodeId: this.#transactionNode });
    await Promise.all([this.#announce(coordinator, places), this.#announceOffsets(coordinator, inputs)]);
    const [written] = await Promise.all([this.#produce(places), this.#commitOffsets(inputs, inputPartition)]);
    await patiently(CONCURRENT, PRODUCE_TIMEOUT_MS, () => coordinator.endTxn({ ...who, transactionResult: true }));
    return written;
  }

  async close(): Promise<void> {
    await this.#cluster.disconnect();
  }

  /** What the transaction will touch. It waits here for the markers of the last one. */
  async #announce(coordinator: TransactionBroker, places: readonly (readonly Placed[])[]): Promise<void> {
    const who = { transactionalId: this.#options.transactionalId, ...this.#producer };
    const first = places.flatMap(([record]) => record ?? []);
    const topics = [...Map.groupBy(first, ({ topic }) => topic)].map(([topic, of]) => ({ topic, partitions: of.map(({ partition }) => partition) }));
    await this.#cluster.addMultipleTargetTopics(topics.map(({ topic }) => topic));
    await patiently(CONCURRENT, PRODUCE_TIMEOUT_MS, () => coordinator.addPartitionsToTxn({ ...who, topics }));
  }

  /** One request for each leader; what is more than one batch may hold goes in further ones. */
  async #produce(places: readonly (readonly Placed[])[]): Promise<Written> {
    const written = new Map<string, { readonly next: Offset; readonly time: Instant }>();
    for (let left = places; left.length > 0; ) {
      const batches = left.map((records): Batch => {
        const [first] = records as readonly [Placed, ...Placed[]];
        return { topic: first.topic, partition: first.partition, records: records.slice(0, nextSend(records)) };
      });
      const byLeader = Map.groupBy(batches, ({ topic, partition }) => leaderOf(this.#cluster, topic, partition));
      const answers = await Promise.all([...byLeader].map(([leader, of]) => this.#send(leader, of)));
      for (const each of answers.flat()) written.set(each.at, each);
      left = left.map((records, at) => records.slice(batches[at]?.records.length)).filter(({ length }) => length > 0);
    }
    return written;
  }

  async #send(leader: string, batches: readonly Batch[]) {
    const broker = await this.#cluster.findBroker({ nodeId: leader });
    const encoded = batches.map((batch) => ({ ...batch, bytes: this.#encode(batch) }));
    const answers = await sendTo(broker, produce(this.#options.transactionalId, encoded));
    const counts = new Map(batches.map(({ topic, partition, records }) => [`${topic}/${partition}`, records.length]));
    return answers.map(({ at, code, base, time }) => {
      if (code !== 0) throw errorOf(code);
      return { at, next: base + (counts.get(at) ?? 0), time };
    });
  }

  #encode({ topic, partition, records }: Batch): Buffer {
    const at = `${topic}/${partition}`;
    const sequence = this.#sequences.get(at) ?? 0;
    this.#sequences.set(at, (sequence + records.length) % 0x80000000);
    return encodeBatch(records, {
      id: BigInt(this.#producer.producerId),
      epoch: this.#producer.producerEpoch,
      sequence,
      transactional: true,
      time: Date.now(),
    });
  }

  async #announceOffsets(coordinator: TransactionBroker, inputs: Offsets): Promise<void> {
    if (Object.keys(inputs).length === 0) return;
    const { transactionalId, group } = this.#options;
    await patiently(CONCURRENT, PRODUCE_TIMEOUT_MS, () => coordinator.addOffsetsToTxn({ transactionalId, groupId: group, ...this.#producer }));
  }

  async #commitOffsets(inputs: Offsets, partition: number): Promise<void> {
    const topics = Object.entries(inputs).map(([topic, offset]) => ({ topic, partitions: [{ partition, offset: String(offset) }] }));
    if (topics.length === 0) return;
    const { transactionalId, group } = this.#options;
    const coordinator = await this.#cluster.findBroker({ nodeId: this.#groupNode });
    await patiently(CONCURRENT, PRODUCE_TIMEOUT_MS, () => coordinator.txnOffsetCommit({ transactionalId, groupId: group, ...this.#producer, topics }));
  }
}

/** A transaction touches few places: they are looked through, where a map's key would have to be made for each record. */
function byPlace(records: readonly Placed[]): readonly (readonly Placed[])[] {
  const places: [Placed, ...Placed[]][] = [];
  for (const record of records) {
    const place = places.find(([{ topic, partition }]) => topic === record.topic && partition === record.partition);
    if (place) place.push(record);
    else places.push([record]);
  }
  return places;
}

/** Tries again what says that it is not yet possible, and did nothing. */
async function patiently(kinds: ReadonlySet<string>, withinMs: number, run: () => Promise<unknown>): Promise<void> {
  const late = performance.now() + withinMs;
  for (let tries = 0; ; tries++) {
    try {
      await run();
      return;
    } catch (error) {
      if (!kinds.has((error as { type?: string }).type ?? '') || performance.now() > late) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[tries] ?? LAST_PAUSE_MS));
    }
  }
}
