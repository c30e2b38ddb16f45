/**
 * The log on real Kafka: one transactional id for each partition, since the client sends no group metadata (KIP-447). A new owner's
 * `initProducerId` fences the old one: nothing of it enters the log afterwards (invariant 6).
 */
import type { Kafka, Producer, RecordMetadata, Transaction } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Committed, Log, Offsets, PartitionLog } from '#streams/engine/ports.ts';
import { classify } from './client.ts';
import { explicitPartition, nextSend, toMessage } from './messages.ts';
import type { Reader } from './reader.ts';

export type KafkaLogOptions = {
  /** Producers need a client of their own: offsets marked by `sendOffsets` stand in a cache that a consumer of the same client would read. */
  readonly kafka: Kafka;
  /** For opening and recovery; `follower` has its own connection, so that a long poll delays nobody. */
  readonly reader: Reader;
  readonly follower: Reader;
  readonly group: string;
  readonly topics: { readonly history: string; readonly words: string };
  readonly owned: (partition: number) => Promise<boolean>;
};

/** CONCURRENT_TRANSACTIONS meets each transaction after the first: without short pauses there are three a second. */
const RETRY = { initialRetryTime: 2, factor: 0.2, multiplier: 1.3, maxRetryTime: 300, retries: 40 };
const TRANSACTION_TIMEOUT_MS = 20_000;
const SEND_TIMEOUT_MS = 15_000;

export function kafkaLog(options: KafkaLogOptions): Log {
  return {
    async open(partition) {
      const producer = options.kafka.producer({
        transactionalId: `${options.group}-${partition}`,
        idempotent: true,
        maxInFlightRequests: 5,
        transactionTimeout: TRANSACTION_TIMEOUT_MS,
        retry: RETRY,
        allowAutoTopicCreation: false,
        createPartitioner: explicitPartition,
      });
      try {
        await producer.connect();
        // Only the first transaction calls initProducerId, which fences: an empty one, which sends nothing else.
        await (await producer.transaction()).abort();
      } catch (error) {
        await disconnect(producer);
        throw classify(error, `partition ${partition} cannot be opened`);
      }
      return new KafkaPartition(options, partition, producer);
    },
    owned: options.owned,
    follow: (topic, partition, from, signal) => options.follower.follow(topic, partition, from, signal),
  };
}

/** By topic-partition: the offset after the last record written, and the broker's append time. */
type Written = ReadonlyMap<string, { readonly next: Offset; readonly time: Instant }>;

class KafkaPartition implements PartitionLog {
  readonly #options: KafkaLogOptions;
  readonly #partition: number;
  readonly #producer: Producer;
  #history: Offset = 0;
  #words: Offset = 0;
  #dead = false;

  constructor(options: KafkaLogOptions, partition: number, producer: Producer) {
    this.#options = options;
    this.#partition = partition;
    this.#producer = producer;
  }

  async *read(topic: string, from: Offset) {
    // Nothing may follow it: then the words stand where the reader says.
    if (topic === this.#options.topics.words) this.#words = from;
    for await (const batch of this.#options.reader.read(topic, this.#partition, from)) {
      if (topic === this.#options.topics.words) this.#words = batch.next;
      yield batch;
    }
  }

  async commit(records: readonly Output[], inputs: Offsets): Promise<Committed> {
    if (this.#dead) throw new EvenkeelError('commit_failed', 'this producer has failed before');
    this.#dead = true;
    try {
      const transaction = await this.#producer.transaction();
      const written = await this.#send(transaction, records);
      await this.#sendOffsets(transaction, inputs);
      await transaction.commit();
      this.#dead = false;
      return this.#committed(written);
    } catch (error) {
      throw classify(error, `partition ${this.#partition} did not commit`);
    }
  }

  async close(): Promise<void> {
    this.#dead = true;
    await disconnect(this.#producer);
  }

  /**
   * One topic-partition in a `send`: a retry over several writes records twice (kafkajs PR #1798). The history's goes first, for it absorbs
   * CONCURRENT_TRANSACTIONS; what is more than one batch may hold goes in several, one after the other.
   */
  async #send(transaction: Transaction, records: readonly Output[]): Promise<Written> {
    const written = new Map<string, { readonly next: Offset; readonly time: Instant }>();
    const one = async (at: string, of: readonly Output[]) => {
      for (let left = of; left.length > 0; ) {
        const count = nextSend(left);
        const metadata = await this.#sendOne(transaction, left.slice(0, count));
        written.set(at, { next: Number(metadata.baseOffset) + count, time: Number(metadata.logAppendTime ?? 0) });
        left = left.slice(count);
      }
    };
    const [first, ...rest] = Map.groupBy(records, (record) => `${record.topic}/${record.partition ?? this.#partition}`);
    if (first) await one(...first);
    const results = await Promise.allSettled(rest.map((each) => one(...each)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    return written;
  }

  async #sendOne(transaction: Transaction, records: readonly Output[]): Promise<RecordMetadata> {
    const topic = records[0]?.topic as string;
    const messages = records.map((record) => toMessage(record, this.#partition));
    const [metadata] = await transaction.send({ topic, messages, acks: -1, timeout: SEND_TIMEOUT_MS });
    if (!metadata) throw new EvenkeelError('commit_failed', `no answer for ${topic}`);
    return metadata;
  }

  async #sendOffsets(transaction: Transaction, inputs: Offsets): Promise<void> {
    const topics = Object.entries(inputs).map(([topic, offset]) => ({ topic, partitions: [{ partition: this.#partition, offset: String(offset) }] }));
    if (topics.length > 0) await transaction.sendOffsets({ consumerGroupId: this.#options.group, topics });
  }

  #committed(written: Written): Committed {
    const { history, words } = this.#options.topics;
    const [events, steps] = [written.get(`${history}/${this.#partition}`), written.get(`${words}/${this.#partition}`)];
    this.#history = events?.next ?? this.#history;
    this.#words = steps?.next ?? this.#words;
    const times = [...written.values()].map(({ time }) => time);
    return { history: this.#history, words: this.#words, time: Math.max(0, ...times) };
  }
}

async function disconnect(producer: Producer): Promise<void> {
  try {
    await producer.disconnect();
  } catch {
    // The broker is gone, and with it what there was to let go of.
  }
}
