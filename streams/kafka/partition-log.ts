/**
 * The log on real Kafka: one transactional id for each partition, since the client sends no group metadata (KIP-447). A new owner's
 * `initProducerId` fences the old one: nothing of it enters the log afterwards (invariant 6).
 */
import type { Kafka, Message, Producer, RecordMetadata, Transaction } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Committed, Log, Offsets, PartitionLog } from '#streams/engine/ports.ts';
import { classify } from './client.ts';
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
        throw classify(error, `partition ${partition} cannot be opened`);
      }
      return new KafkaPartition(options, partition, producer);
    },
    owned: options.owned,
    follow: (topic, partition, from, signal) => options.follower.follow(topic, partition, from, signal),
  };
}

class KafkaPartition implements PartitionLog {
  readonly #options: KafkaLogOptions;
  readonly #partition: number;
  readonly #producer: Producer;
  #words: Offset = 0;
  #dead = false;

  constructor(options: KafkaLogOptions, partition: number, producer: Producer) {
    this.#options = options;
    this.#partition = partition;
    this.#producer = producer;
  }

  async *read(topic: string, from: Offset) {
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
    await this.#producer.disconnect().catch((error: Error) => classify(error, 'disconnect'));
  }

  /** One `send` for each topic-partition: a retry over several writes records twice (kafkajs PR #1798). The history's goes first. */
  async #send(transaction: Transaction, records: readonly Output[]): Promise<ReadonlyMap<string, { metadata: RecordMetadata; count: number }>> {
    const groups = Map.groupBy(records, (record) => `${record.topic}/${record.partition ?? this.#partition}`);
    const written = new Map<string, { metadata: RecordMetadata; count: number }>();
    const one = async (at: string, of: readonly Output[]) => {
      const topic = of[0]?.topic as string;
      const messages = of.map((record) => toMessage(record, this.#partition));
      const [metadata] = await transaction.send({ topic, messages, acks: -1, timeout: SEND_TIMEOUT_MS });
      if (!metadata) throw new EvenkeelError('commit_failed', `no answer for ${at}`);
      written.set(at, { metadata, count: of.length });
    };
    const [first, ...rest] = groups;
    if (first) await one(...first);
    const results = await Promise.allSettled(rest.map((each) => one(...each)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    return written;
  }

  async #sendOffsets(transaction: Transaction, inputs: Offsets): Promise<void> {
    const topics = Object.entries(inputs).map(([topic, offset]) => ({ topic, partitions: [{ partition: this.#partition, offset: String(offset) }] }));
    if (topics.length > 0) await transaction.sendOffsets({ consumerGroupId: this.#options.group, topics });
  }

  #committed(written: ReadonlyMap<string, { metadata: RecordMetadata; count: number }>): Committed {
    const { history, words } = this.#options.topics;
    const next = (topic: string): Offset | undefined => {
      const found = written.get(`${topic}/${this.#partition}`);
      return found && Number(found.metadata.baseOffset) + found.count;
    };
    this.#words = next(words) ?? this.#words;
    const time = Number(written.get(`${history}/${this.#partition}`)?.metadata.logAppendTime ?? 0);
    return { history: next(history) ?? 0, words: this.#words, time };
  }
}

export function toMessage({ key, value, headers, partition }: Output, fallback: number): Message {
  const plain = Object.fromEntries(Object.entries(headers ?? {}).map(([name, header]) => [name, Buffer.from(header)]));
  return { key, value: value === null ? null : Buffer.from(value), partition: partition ?? fallback, headers: plain };
}

/** Every record names its partition; kafkajs asks the partitioner all the same. */
export function explicitPartition() {
  return ({ message }: { readonly message: Message }): number => message.partition ?? 0;
}
