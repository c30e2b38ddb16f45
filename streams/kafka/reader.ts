/**
 * Reading without a group: one long-polling fetch for each broker serves all followed partitions. Committed records only, exact positions
 * (commit markers included), reconnecting for ever.
 */
import { createRequire } from 'node:module';
import type { Kafka } from 'kafkajs';
import type { Offset } from '#schemas/ids.ts';
import type { Batch, Rec } from '#streams/engine/ports.ts';
import { type Cluster, createCluster, type FetchedPartition } from './client.ts';

type RawMessage = {
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly timestamp: string;
  readonly headers: Record<string, Buffer | Buffer[]>;
};
type KafkajsBatch = new (
  topic: string,
  from: string,
  data: FetchedPartition,
) => { readonly messages: readonly RawMessage[]; readonly rawMessages: readonly RawMessage[]; lastOffset(): string };
const FetchBatch = createRequire(import.meta.url)('kafkajs/src/consumer/batch') as KafkajsBatch;

const READ_COMMITTED = 1;
const LATEST = '-1';
const EARLIEST = '-2';
const MAX_WAIT_MS = 500;
const MAX_BYTES = 8 * 1_048_576;
const PARTITION_BYTES = 1_048_576;
/** Fetched and not yet taken: below this a partition stays in the long poll. */
const BUFFERED_BATCHES = 4;
const BACKOFF_MS = [50, 100, 250, 500, 1_000];

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

class Subscription {
  readonly topic: string;
  readonly partition: number;
  position: Offset;
  readonly buffer: Batch[] = [];
  opened = false;
  #wake: () => void = () => undefined;

  constructor(topic: string, partition: number, position: Offset) {
    this.topic = topic;
    this.partition = partition;
    this.position = position;
  }
  push(batch: Batch): void {
    this.buffer.push(batch);
    this.wake();
  }
  wake(): void {
    this.#wake();
  }
  arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

export class Reader {
  readonly #cluster: Cluster;
  readonly #warn: (message: string) => void;
  readonly #subscriptions = new Set<Subscription>();
  #topics = new Set<string>();
  #connected = false;
  #loop: Promise<void> | undefined;
  #closed = false;
  #changed: () => void = () => undefined;

  constructor(kafka: Kafka, warn: (message: string) => void) {
    this.#cluster = createCluster(kafka);
    this.#warn = warn;
  }

  /** Committed records from `from` on, until `signal` aborts; an empty batch says that the end was reached. */
  async *follow(topic: string, partition: number, from: Offset, signal: AbortSignal): AsyncGenerator<Batch> {
    const subscription = new Subscription(topic, partition, from);
    const stop = () => subscription.wake();
    signal.addEventListener('abort', stop, { once: true });
    this.#subscriptions.add(subscription);
    this.#loop ??= this.#run();
    this.#changed();
    try {
      while (!signal.aborted) {
        const batch = subscription.buffer.shift();
        if (batch) yield batch;
        else {
          this.#changed();
          await subscription.arrival();
        }
      }
    } finally {
      this.#subscriptions.delete(subscription);
      signal.removeEventListener('abort', stop);
    }
  }

  /** To the end as it is now. */
  async *read(topic: string, partition: number, from: Offset): AsyncGenerator<Batch> {
    await this.#connect([topic]);
    const [start, end] = await this.#bounds(topic, partition, 0);
    const subscription = new Subscription(topic, partition, from < start || from > end ? start : from);
    while (subscription.position < end) {
      await this.#fetch([subscription], 100);
      for (let batch = subscription.buffer.shift(); batch; batch = subscription.buffer.shift()) {
        const records = batch.records.filter((record) => record.offset < end);
        yield { records, next: Math.min(batch.next, end), end };
      }
    }
  }

  /** The first offset that retention has left. */
  async start(topic: string, partition: number): Promise<Offset> {
    await this.#connect([topic]);
    return (await this.#bounds(topic, partition, 0))[0];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#changed();
    for (const subscription of this.#subscriptions) subscription.wake();
    await this.#cluster.disconnect();
    await this.#loop;
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#closed; ) {
      const wanting = [...this.#subscriptions].filter((each) => each.buffer.length < BUFFERED_BATCHES);
      try {
        if (wanting.length === 0) await this.#change();
        else {
          await this.#connect(wanting.map((each) => each.topic));
          await this.#open(wanting);
          await this.#fetch(wanting, MAX_WAIT_MS);
        }
        failures = 0;
      } catch (error) {
        if (this.#closed) return;
        this.#warn(`fetch failed, trying again: ${(error as Error).message}`);
        await pause(BACKOFF_MS[Math.min(failures++, BACKOFF_MS.length - 1)] ?? 1_000);
        await this.#repair(wanting, error as { type?: string });
      }
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve;
    });
  }

  async #connect(topics: readonly string[]): Promise<void> {
    if (!this.#connected) {
      await this.#cluster.connect();
      this.#connected = true;
    }
    const fresh = topics.filter((topic) => !this.#topics.has(topic));
    if (fresh.length === 0) return;
    await this.#cluster.addMultipleTargetTopics(fresh);
    this.#topics = new Set([...this.#topics, ...fresh]);
  }

  /** A new subscription learns where the log begins and ends before its first long poll. */
  async #open(subscriptions: readonly Subscription[]): Promise<void> {
    await Promise.all(
      subscriptions
        .filter((each) => !each.opened)
        .map(async (each) => {
          const [start, end] = await this.#bounds(each.topic, each.partition, READ_COMMITTED);
          if (each.position < start || each.position > end) each.position = start;
          if (each.position >= end) each.push({ records: [], next: each.position, end });
          each.opened = true;
        }),
    );
  }

  async #repair(subscriptions: readonly Subscription[], error: { type?: string }): Promise<void> {
    if (error.type === 'OFFSET_OUT_OF_RANGE') for (const each of subscriptions) each.opened = false;
    try {
      await this.#cluster.refreshMetadata();
    } catch (again) {
      this.#connected = false;
      this.#warn(`no broker answers: ${(again as Error).message}`);
    }
  }

  async #bounds(topic: string, partition: number, isolationLevel: number): Promise<readonly [Offset, Offset]> {
    const broker = await this.#leader(topic, partition);
    const at = async (timestamp: string) => {
      const { responses } = await broker.listOffsets({ isolationLevel, topics: [{ topic, partitions: [{ partition, timestamp }] }] });
      return Number(responses[0]?.partitions[0]?.offset ?? 0);
    };
    return [await at(EARLIEST), await at(LATEST)];
  }

  async #leader(topic: string, partition: number) {
    const nodeId = Object.keys(this.#cluster.findLeaderForPartitions(topic, [partition]))[0];
    if (nodeId === undefined) throw new Error(`${topic}/${partition} has no leader`);
    return this.#cluster.findBroker({ nodeId });
  }

  async #fetch(subscriptions: readonly Subscription[], maxWaitTime: number): Promise<void> {
    const byBroker = new Map<string, Subscription[]>();
    for (const each of subscriptions) {
      const nodeId = Object.keys(this.#cluster.findLeaderForPartitions(each.topic, [each.partition]))[0];
      if (nodeId === undefined) throw new Error(`${each.topic}/${each.partition} has no leader`);
      byBroker.set(nodeId, [...(byBroker.get(nodeId) ?? []), each]);
    }
    const results = await Promise.allSettled([...byBroker].map(([nodeId, of]) => this.#fetchFrom(nodeId, of, maxWaitTime)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #fetchFrom(nodeId: string, subscriptions: readonly Subscription[], maxWaitTime: number): Promise<void> {
    const broker = await this.#cluster.findBroker({ nodeId });
    const topics = [...Map.groupBy(subscriptions, (each) => each.topic)].map(([topic, of]) => ({
      topic,
      partitions: of.map((each) => ({ partition: each.partition, fetchOffset: String(each.position), maxBytes: PARTITION_BYTES })),
    }));
    const { responses } = await broker.fetch({ isolationLevel: READ_COMMITTED, maxWaitTime, minBytes: 1, maxBytes: MAX_BYTES, topics });
    for (const { topicName, partitions } of responses) {
      for (const data of partitions) {
        const subscription = subscriptions.find((each) => each.topic === topicName && each.partition === data.partition);
        if (subscription) deliver(subscription, data);
      }
    }
  }
}

function deliver(subscription: Subscription, data: FetchedPartition): void {
  const batch = new FetchBatch(subscription.topic, String(subscription.position), data);
  const end = Number(data.lastStableOffset ?? data.highWatermark);
  if (batch.rawMessages.length === 0) {
    // Compaction leaves batches without records: they are stepped over, or the reader would stand before them for ever.
    if (end > subscription.position) subscription.position++;
    return;
  }
  const next = Number(batch.lastOffset()) + 1;
  if (next <= subscription.position) return;
  subscription.position = next;
  subscription.push({ records: batch.messages.map(toRecord), next, end });
}

export function toRecord({ offset, key, value, timestamp, headers }: RawMessage): Rec {
  const flat = Object.entries(headers ?? {}).map(([name, header]) => [name, Array.isArray(header) ? (header[0] as Buffer) : header] as const);
  return {
    offset: Number(offset),
    key: key === null ? undefined : key.toString(),
    value,
    timestamp: Number(timestamp),
    headers: Object.fromEntries(flat),
  };
}
