/**
 * Reading without a group: for each broker one long-polling fetch serves all partitions that are followed. Committed records only, exact
 * positions (commit markers included), reconnecting for ever. One partition's trouble holds up no other's.
 */
import { setImmediate } from 'node:timers/promises';
import type { Kafka } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset } from '#schemas/ids.ts';
import type { Batch, Rec } from '#streams/engine/ports.ts';
import { type Cluster, createCluster, type FetchBroker, leaderOf } from './client.ts';
import { committedRecords, type Fetched, fetch, OFFSET_OUT_OF_RANGE } from './fetch.ts';

const LATEST = '-1';
const EARLIEST = '-2';
const MAX_WAIT_MS = 500;
/** While a slow reader's partition is left out of the long poll, the poll is short, so that it comes back in soon. */
const CROWDED_WAIT_MS = 25;
const READ_WAIT_MS = 100;
/** One `read` has a partition to itself: fewer round trips, and less of each answer cut off within a batch. */
const READ_BYTES = 1_048_576;
/** Handed on in such slices: between two of them this thread takes in what has come of the next answer. */
const SLICE_BYTES = 256 * 1_024;
/** In one answer: more come than one waits for each of them. */
const BUSY_BYTES = 16_384;
/** Fetched and not yet taken: below this a partition stays in the long poll. */
const BUFFERED_BATCHES = 4;
const BACKOFF_MS = [50, 100, 250, 500, 1_000];
/** A `read` ends or throws: this many failures in a row, about four seconds, are waited for. */
const READ_TRIES = 8;
/** Worth telling apart: waiting does not mend them. */
const HOPELESS = new Set(['TOPIC_AUTHORIZATION_FAILED', 'UNKNOWN_TOPIC_OR_PARTITION', 'SASL_AUTHENTICATION_FAILED']);

const backoff = (failures: number) => BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)] ?? 1_000;
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

class Subscription {
  readonly topic: string;
  readonly partition: number;
  position: Offset;
  readonly buffer: Batch[] = [];
  /** An answer has said where the end is. */
  opened = false;
  /** The broker that leads the partition; undefined until it is known, and again when it has failed. */
  node: string | undefined;
  failures = 0;
  #wake: () => void = () => undefined;

  constructor(topic: string, partition: number, position: Offset) {
    this.topic = topic;
    this.partition = partition;
    this.position = position;
  }
  get name(): string {
    return `${this.topic}/${this.partition}`;
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

  /** Takes what of an answer lies at its position or after it. */
  take(fetched: Fetched): void {
    const { records, next } = committedRecords(fetched, this.position);
    // A new leader's may lie before what has been read.
    const end = Math.max(fetched.stable, next);
    const moved = next > this.position;
    this.position = next;
    this.failures = 0;
    // Markers alone are worth a word only when they bring the end.
    if (records.length > 0 || (next >= end && (moved || !this.opened))) this.push({ records, next, end });
    this.opened = true;
  }
}

export class Reader {
  readonly #kafka: Kafka;
  readonly #minBytes: number;
  readonly #restMs: number;
  readonly #warn: (message: string) => void;
  readonly #subscriptions = new Set<Subscription>();
  /** Brokers with a loop of their own: a long poll at one must not hold up what another has. */
  readonly #polling = new Set<string>();
  #session: { readonly cluster: Cluster; readonly topics: Set<string> } | undefined;
  #closed = false;
  #changed = Promise.withResolvers<void>();
  #turn = 0;

  /**
   * `minBytes`: a follower that is in no hurry gets its records in fewer and larger answers, half a second late at most. `restMs`: of a log
   * that is busy, so long between an answer and the next request: each costs the broker and us as much as a dozen records.
   */
  constructor(kafka: Kafka, warn: (message: string) => void, minBytes = 1, restMs = 0) {
    this.#kafka = kafka;
    this.#minBytes = minBytes;
    this.#restMs = restMs;
    this.#warn = warn;
  }

  /**
   * Committed records from `from` on, until `signal` aborts or the reader is closed. An empty batch says that the end was reached. Where
   * the log no longer has `from`, it begins at the log's start.
   */
  async *follow(topic: string, partition: number, from: Offset, signal: AbortSignal): AsyncGenerator<Batch> {
    const subscription = new Subscription(topic, partition, from);
    const stop = () => subscription.wake();
    signal.addEventListener('abort', stop, { once: true });
    this.#subscriptions.add(subscription);
    void this.#place(subscription);
    try {
      while (!signal.aborted && !this.#closed) {
        const batch = subscription.buffer.shift();
        if (batch) yield batch;
        else {
          this.#tell();
          await subscription.arrival();
        }
      }
    } finally {
      this.#subscriptions.delete(subscription);
      signal.removeEventListener('abort', stop);
      this.#tell();
    }
  }

  /**
   * To `upTo`, or else to the end as it is now, what is in a transaction included: it is waited for.
   * @throws what the broker said last, when it has not answered for some seconds
   */
  async *read(topic: string, partition: number, from: Offset, upTo?: Offset): AsyncGenerator<Batch> {
    // Not as a fetch says it: a new leader's high watermark may lie before what the old one has acknowledged. Here it says so instead.
    const end = upTo ?? (await this.end(topic, partition));
    let position = from > end ? await this.start(topic, partition) : from;
    let ahead: Promise<Fetched> | undefined;
    while (position < end) {
      const fetched = await (ahead ?? this.#fetchFrom(topic, partition, position));
      ahead = undefined;
      if (fetched.code === OFFSET_OUT_OF_RANGE) {
        position = await this.start(topic, partition);
        continue;
      }
      const { records, next } = committedRecords(fetched, position);
      if (next === position) continue;
      position = next;
      if (position < end) {
        ahead = this.#fetchFrom(topic, partition, position);
        // Whoever reads no further does not ask what became of it.
        ahead.catch(() => undefined);
      }
      for (const slice of slices(records, position, end)) {
        // The request goes out now: a fold of what has come holds this thread, and the broker works meanwhile.
        if (ahead) await setImmediate();
        yield slice;
      }
    }
  }

  /** The first offset that retention has left. */
  start(topic: string, partition: number): Promise<Offset> {
    return this.#trying(() => this.#bound(topic, partition, EARLIEST));
  }

  /** The offset after the last record as it is now, what is in a transaction included. */
  end(topic: string, partition: number): Promise<Offset> {
    return this.#trying(() => this.#bound(topic, partition, LATEST));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#tell();
    for (const subscription of this.#subscriptions) subscription.wake();
    await this.#drop(this.#session);
  }

  /** Tells the loops that a partition came, went or has room again. */
  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  /** Finds the partition's leader and joins its long poll; tries for ever, for nobody else's cost. */
  async #place(subscription: Subscription): Promise<void> {
    while (!this.#closed && this.#subscriptions.has(subscription)) {
      try {
        if (subscription.failures > 0) await sleep(backoff(subscription.failures - 1));
        if (subscription.failures > 0) await this.#refresh();
        const { cluster } = await this.#connected(subscription.topic);
        const node = leaderOf(cluster, subscription.topic, subscription.partition);
        subscription.node = node;
        this.#tell();
        if (!this.#polling.has(node)) void this.#poll(node);
        return;
      } catch (error) {
        this.#failed(subscription, error as Error);
      }
    }
  }

  #failed(subscription: Subscription, error: Error): void {
    subscription.failures++;
    // The first, second, fourth, eighth … time: an outage is not a flood of lines from every partition.
    const { failures } = subscription;
    if (!this.#closed && (failures & (failures - 1)) === 0) this.#warn(`${subscription.name} cannot be read (${failures}), trying again: ${error.message}`);
  }

  async #poll(node: string): Promise<void> {
    this.#polling.add(node);
    try {
      for (;;) {
        const mine = this.#at(node);
        if (mine.length === 0 || this.#closed) break;
        const wanting = mine.filter((each) => each.buffer.length < BUFFERED_BATCHES);
        if (wanting.length === 0) await this.#changed.promise;
        else if ((await this.#fetchFor(node, wanting, mine.length)) >= BUSY_BYTES && this.#restMs > 0) await sleep(this.#restMs);
      }
      this.#polling.delete(node);
    } catch (error) {
      this.#polling.delete(node);
      // Those that joined during the fetch as well: without a loop nobody would ever ask for them.
      for (const each of this.#at(node)) this.#displace(each, error as Error);
    }
  }

  #at(node: string): Subscription[] {
    return [...this.#subscriptions].filter((each) => each.node === node);
  }

  #displace(subscription: Subscription, error: Error): void {
    subscription.node = undefined;
    this.#failed(subscription, error);
    void this.#place(subscription);
  }

  /** Returns the bytes that came. */
  async #fetchFor(node: string, wanting: readonly Subscription[], all: number): Promise<number> {
    const fresh = wanting.some((each) => !each.opened);
    const waitMs = fresh ? 0 : wanting.length < all ? CROWDED_WAIT_MS : MAX_WAIT_MS;
    // Two readers of one partition share a fetch from the earlier position. The order turns: who comes first has room for a large batch.
    const shared = [...Map.groupBy(wanting, (each) => each.name).values()];
    const turn = this.#turn++ % shared.length;
    const wanted = [...shared.slice(turn), ...shared.slice(0, turn)].map((of) => {
      const { topic, partition } = of[0] as Subscription;
      return { topic, partition, offset: Math.min(...of.map((each) => each.position)) };
    });
    const { cluster } = await this.#connected();
    let bytes = 0;
    for (const fetched of await fetch(await cluster.findBroker({ nodeId: node }), wanted, waitMs, this.#minBytes)) {
      bytes += fetched.bytes.length;
      const of = wanting.filter((each) => each.topic === fetched.topic && each.partition === fetched.partition);
      if (fetched.code === OFFSET_OUT_OF_RANGE) await this.#restart(of);
      else for (const each of of) deliver(each, fetched, (error) => this.#displace(each, error));
    }
    return bytes;
  }

  /** Retention has overtaken the position, or the log is another one than before: both begin at its start. */
  async #restart(subscriptions: readonly Subscription[]): Promise<void> {
    for (const each of subscriptions) {
      const [start, end] = [await this.#bound(each.topic, each.partition, EARLIEST), await this.#bound(each.topic, each.partition, LATEST)];
      if (each.position >= start && each.position <= end) continue;
      this.#warn(`${each.name} is read from ${start}: it holds ${start} to ${end}, not ${each.position}`);
      each.position = start;
      each.opened = false;
    }
  }

  #fetchFrom(topic: string, partition: number, position: Offset): Promise<Fetched> {
    return this.#trying(() => this.#fetchOne(topic, partition, position, READ_WAIT_MS));
  }

  async #fetchOne(topic: string, partition: number, offset: Offset, waitMs: number): Promise<Fetched> {
    const broker = await this.#leader(topic, partition);
    const [fetched] = await fetch(broker, [{ topic, partition, offset }], waitMs, 1, READ_BYTES);
    if (!fetched || (fetched.code !== 0 && fetched.code !== OFFSET_OUT_OF_RANGE)) throw refused(`${topic}/${partition}`, fetched?.code);
    return fetched;
  }

  async #trying<T>(run: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures++) {
      try {
        return await run();
      } catch (error) {
        const { type } = error as { type?: string };
        if (this.#closed || failures >= READ_TRIES || (type !== undefined && HOPELESS.has(type))) throw error;
        await sleep(backoff(failures));
        await this.#refresh();
      }
    }
  }

  async #connected(topic?: string): Promise<{ readonly cluster: Cluster; readonly topics: Set<string> }> {
    if (this.#closed) throw new EvenkeelError('unavailable', 'this reader is closed');
    this.#session ??= { cluster: createCluster(this.#kafka), topics: new Set() };
    const session = this.#session;
    await session.cluster.connect();
    if (topic !== undefined && !session.topics.has(topic)) {
      await session.cluster.addMultipleTargetTopics([topic]);
      session.topics.add(topic);
    }
    return session;
  }

  /** Leaders may have moved. What even this does not mend (a topic that is gone spoils every refresh) ends with the session. */
  async #refresh(): Promise<void> {
    const session = this.#session;
    try {
      await session?.cluster.refreshMetadata();
    } catch {
      await this.#drop(session);
    }
  }

  async #drop(session: { readonly cluster: Cluster } | undefined): Promise<void> {
    if (this.#session === session) this.#session = undefined;
    await session?.cluster.disconnect().catch((error: Error) => this.#warn(`disconnecting: ${error.message}`));
  }

  async #leader(topic: string, partition: number): Promise<FetchBroker> {
    const { cluster } = await this.#connected(topic);
    return cluster.findBroker({ nodeId: leaderOf(cluster, topic, partition) });
  }

  async #bound(topic: string, partition: number, timestamp: typeof EARLIEST | typeof LATEST): Promise<Offset> {
    const broker = await this.#leader(topic, partition);
    const { responses } = await broker.listOffsets({ isolationLevel: 0, topics: [{ topic, partitions: [{ partition, timestamp }] }] });
    return Number(responses[0]?.partitions[0]?.offset ?? 0);
  }
}

/** What of an answer lies before `end`, in pieces; `next`: the position after all of it. */
export function* slices(records: readonly Rec[], next: Offset, end: Offset): Generator<Batch> {
  let [slice, bytes]: [Rec[], number] = [[], 0];
  for (const record of records) {
    if (record.offset >= end) break;
    if (bytes >= SLICE_BYTES) {
      yield { records: slice, next: record.offset, end };
      [slice, bytes] = [[], 0];
    }
    slice.push(record);
    bytes += record.span ? record.span.to - record.span.from : 0;
  }
  if (slice.length > 0 || next >= end) yield { records: slice, next: Math.min(next, end), end };
}

function refused(name: string, code: number | undefined): EvenkeelError {
  return new EvenkeelError('unavailable', `the broker refuses to read ${name}: error ${code ?? 'none'}`);
}

function deliver(subscription: Subscription, fetched: Fetched, failed: (error: Error) => void): void {
  try {
    if (fetched.code !== 0) throw refused(subscription.name, fetched.code);
    subscription.take(fetched);
  } catch (error) {
    failed(error as Error);
  }
}

type KafkajsMessage = {
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly timestamp: string;
  readonly headers?: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>;
};

/** kafkajs's record as ours: offsets and timestamps are strings there, a repeated header is a list. */
export function toRecord({ offset, key, value, timestamp, headers }: KafkajsMessage): Rec {
  const flat: (readonly [string, Uint8Array])[] = [];
  for (const [name, header] of Object.entries(headers ?? {})) {
    const last = Array.isArray(header) ? header.at(-1) : header;
    if (last !== undefined) flat.push([name, typeof last === 'string' ? Buffer.from(last) : last]);
  }
  return { offset: Number(offset), key: key === null ? undefined : key.toString(), value, timestamp: Number(timestamp), headers: Object.fromEntries(flat) };
}
