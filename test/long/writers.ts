/**
 * Owners of partitions that commit numbers one after the other, as tasks do: after any error they open anew, read what the log holds, and
 * go on from there. At the end every number stands there exactly once, in history and words alike (invariant 10).
 */
import type { Kafka } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch, Log, PartitionLog } from '#streams/engine/ports.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import type { RecordSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';

const TOPICS = { history: 'moves.history', words: 'moves.words' };
const INPUT = 'moves.input';
const PLAIN = 'moves.plain';
const GROUP = 'moves';
export const TOPICS_OF_WRITERS = [TOPICS.history, TOPICS.words, INPUT, PLAIN];
const IN_ONE_COMMIT = 5;
/** Three brokers and their load share a machine: what is tested is the order of things, not how many. */
const BETWEEN_MS = 20;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** In the order of the log. */
async function numbers(batches: AsyncIterable<Batch>): Promise<number[]> {
  const found: number[] = [];
  for await (const { records } of batches) found.push(...records.map(({ value }) => Number(Buffer.from(value ?? []).toString())));
  return found;
}

class Writer {
  readonly #log: Log;
  readonly #partition: number;
  next = 0;
  errors = 0;
  /** Commits that said they failed and are in the log. */
  unknown = 0;
  acknowledged = 0;

  constructor(log: Log, partition: number) {
    this.#log = log;
    this.#partition = partition;
  }

  async run(going: () => boolean): Promise<void> {
    let log = await this.#open();
    while (going()) {
      try {
        await log.commit(this.#records(), { [INPUT]: this.next + IN_ONE_COMMIT });
        this.next += IN_ONE_COMMIT;
        this.acknowledged = this.next;
        await pause(BETWEEN_MS);
      } catch (error) {
        if (!(error instanceof EvenkeelError)) throw error;
        this.errors++;
        await log.close();
        log = await this.#open();
      }
    }
    await log.close();
  }

  async #open(): Promise<PartitionLog> {
    for (;;) {
      try {
        const log = await this.#log.open(this.#partition);
        const last = (await numbers(log.read(TOPICS.history, 0))).at(-1) ?? -1;
        if (this.errors > 0 && last + 1 > this.next) this.unknown++;
        this.next = last + 1;
        return log;
      } catch (error) {
        if (!(error instanceof EvenkeelError)) throw error;
        await pause(100);
      }
    }
  }

  #records() {
    const of = (topic: string) =>
      Array.from({ length: IN_ONE_COMMIT }, (_, at) => ({ topic, partition: this.#partition, key: 'k', value: Buffer.from(String(this.next + at)) }));
    return [...of(TOPICS.history), ...of(TOPICS.words)];
  }
}

/** Sends numbers without transactions, many at a time, as the gateway does; one whose fate is unknown is not sent again. */
class Publisher {
  readonly #sender: RecordSender;
  #next: number;
  readonly acknowledged = new Set<number>();

  constructor(sender: RecordSender, first: number) {
    this.#sender = sender;
    this.#next = first;
  }

  async run(going: () => boolean): Promise<void> {
    while (going()) {
      const batch = Array.from({ length: 20 }, () => this.#next++);
      const send = (number: number) =>
        this.#sender.send([{ topic: PLAIN, partition: number % 4, key: 'k', value: Buffer.from(String(number)) }]).then(
          () => void this.acknowledged.add(number),
          () => undefined,
        );
      await Promise.all(batch.map(send));
      await pause(BETWEEN_MS);
    }
  }
}

export type Load = {
  /** Numbers committed so far. */
  readonly committed: () => number;
  /** Ends the load and counts what the logs hold. */
  count(): Promise<Count>;
};
export type Count = {
  readonly errors: number;
  readonly unknown: number;
  readonly partitions: readonly {
    readonly acknowledged: number;
    readonly history: readonly number[];
    readonly words: readonly number[];
    readonly offset: number;
  }[];
  readonly plain: { readonly acknowledged: ReadonlySet<number>; readonly found: readonly number[] };
};

/** `first`: plain numbers from here on were never sent before. */
export function startLoad(client: () => Kafka, sender: RecordSender, partitions: number, first: number): Load {
  const [reader, follower] = [new Reader(client(), () => undefined), new Reader(client(), () => undefined)];
  const log = kafkaLog({ kafka: client(), reader, follower, group: GROUP, topics: TOPICS, owned: async () => true });
  const writers = Array.from({ length: partitions }, (_, partition) => new Writer(log, partition));
  const publisher = new Publisher(sender, first);
  let going = true;
  const running = Promise.all([...writers, publisher].map((each) => each.run(() => going)));
  return {
    committed: () => writers.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
    async count() {
      going = false;
      await running;
      const admin = client().admin();
      await admin.connect();
      const [offsets] = await admin.fetchOffsets({ groupId: GROUP, topics: [INPUT] });
      await admin.disconnect();
      const found = await Promise.all(
        writers.map(async ({ acknowledged }, partition) => ({
          acknowledged,
          history: await numbers(reader.read(TOPICS.history, partition, 0)),
          words: await numbers(reader.read(TOPICS.words, partition, 0)),
          offset: Number(offsets?.partitions.find((each) => each.partition === partition)?.offset),
        })),
      );
      const plain = (await Promise.all(writers.map((_, partition) => numbers(reader.read(PLAIN, partition, 0))))).flat();
      await Promise.all([reader.close(), follower.close()]);
      const sum = (of: (writer: Writer) => number) => writers.reduce((total, each) => total + of(each), 0);
      return {
        errors: sum(({ errors }) => errors),
        unknown: sum(({ unknown }) => unknown),
        partitions: found,
        plain: { acknowledged: publisher.acknowledged, found: plain },
      };
    },
  };
}
