/**
 * The log on real Kafka: one transactional id for each partition, since the client sends no group metadata (KIP-447). A new owner's
 * `initProducerId` fences the old one: nothing of it enters the log afterwards (invariant 6).
 */
import type { Kafka } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Committed, Log, Offsets, PartitionLog } from '#streams/engine/ports.ts';
import { classify } from './client.ts';
import type { Reader } from './reader.ts';
import { type Placed, Transactions, type Written } from './transactions.ts';

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

const TRANSACTION_TIMEOUT_MS = 20_000;

export function kafkaLog(options: KafkaLogOptions): Log {
  return {
    async open(partition) {
      const { kafka, group } = options;
      const topics = Object.values(options.topics);
      try {
        const transactions = await Transactions.open({ kafka, group, topics, transactionalId: `${group}-${partition}`, timeoutMs: TRANSACTION_TIMEOUT_MS });
        return new KafkaPartition(options, partition, transactions);
      } catch (error) {
        throw classify(error, `partition ${partition} cannot be opened`);
      }
    },
    owned: options.owned,
    follow: (topic, partition, from, signal) => options.follower.follow(topic, partition, from, signal),
  };
}

class KafkaPartition implements PartitionLog {
  readonly #options: KafkaLogOptions;
  readonly #partition: number;
  readonly #transactions: Transactions;
  #history: Offset = 0;
  #words: Offset = 0;
  #dead = false;
  /** Fixed by the fence until we write ourselves: an opening asks for each once. */
  readonly #ends = new Map<string, Promise<Offset>>();

  constructor(options: KafkaLogOptions, partition: number, transactions: Transactions) {
    this.#options = options;
    this.#partition = partition;
    this.#transactions = transactions;
  }

  async *read(topic: string, from: Offset) {
    // Nothing may follow it: then the words stand where the reader says.
    if (topic === this.#options.topics.words) this.#words = from;
    for await (const batch of this.#options.reader.read(topic, this.#partition, from, await this.end(topic))) {
      if (topic === this.#options.topics.words) this.#words = batch.next;
      yield batch;
    }
  }

  end(topic: string): Promise<Offset> {
    const known = this.#ends.get(topic);
    if (known) return known;
    const asked = this.#options.reader.end(topic, this.#partition);
    this.#ends.set(topic, asked);
    asked.catch(() => this.#ends.delete(topic));
    return asked;
  }

  async commit(records: readonly Output[], inputs: Offsets): Promise<Committed> {
    if (this.#dead) throw new EvenkeelError('commit_failed', 'this producer has failed before');
    this.#dead = true;
    this.#ends.clear();
    try {
      const placed = records.map((record): Placed => (record.partition === undefined ? { ...record, partition: this.#partition } : (record as Placed)));
      const written = await this.#transactions.commit(placed, inputs, this.#partition);
      this.#dead = false;
      return this.#committed(written);
    } catch (error) {
      throw classify(error, `partition ${this.#partition} did not commit`);
    } finally {
      this.#ends.clear();
    }
  }

  async close(): Promise<void> {
    this.#dead = true;
    await this.#transactions.close();
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
