/**
 * The fake of Kafka, for simulation: fencing, atomic transactions, lost replies, and offsets with the gaps that commit markers leave.
 * It passes the same contract suite as the real log (test/contract), so that what the simulation finds is true.
 * Invariant 6: `open` raises the partition's epoch, and a commit of an older one is refused.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Batch, Committed, Log, Offsets, PartitionLog, Rec } from '#streams/engine/ports.ts';

/** Awaited before and after each operation: a simulator delays, throws (a lost request or reply) or never returns (a dead process). */
export interface Network {
  pass(operation: 'open' | 'read' | 'commit' | 'committed' | 'owned'): Promise<void>;
}
export const perfectNetwork: Network = { pass: () => Promise.resolve() };

type Partition = { records: Rec[]; end: Offset };

/** What all processes of a simulation share. */
export class MemoryBroker {
  readonly #partitions = new Map<string, Partition>();
  readonly #epochs = new Map<number, number>();
  readonly #offsets = new Map<string, Offset>();
  #waiters: (() => void)[] = [];
  readonly #now: () => Instant;

  constructor(now: () => Instant) {
    this.#now = now;
  }

  partition(topic: string, partition: number): Partition {
    const key = `${topic}/${partition}`;
    let found = this.#partitions.get(key);
    if (!found) {
      found = { records: [], end: 0 };
      this.#partitions.set(key, found);
    }
    return found;
  }

  /** What a producer outside any transaction does. */
  append(output: Output, partition: number): Rec {
    const target = this.partition(output.topic, partition);
    const headers = Object.fromEntries(Object.entries(output.headers ?? {}).map(([name, value]) => [name, Buffer.from(value)]));
    const record: Rec = { offset: target.end, key: output.key, value: output.value, timestamp: this.#now(), headers };
    target.records.push(record);
    target.end++;
    this.#wake();
    return record;
  }

  fence(partition: number): number {
    const epoch = (this.#epochs.get(partition) ?? 0) + 1;
    this.#epochs.set(partition, epoch);
    return epoch;
  }

  /** All or nothing; each partition that was written gets a marker, which takes an offset. */
  commit(partition: number, epoch: number, records: readonly Output[], inputs: Offsets): Instant {
    if (!this.current(partition, epoch)) throw new EvenkeelError('fenced', `epoch ${epoch} of partition ${partition} is over`);
    const written = new Set<Partition>();
    for (const record of records) {
      this.append(record, record.partition ?? partition);
      written.add(this.partition(record.topic, record.partition ?? partition));
    }
    for (const target of written) target.end++;
    for (const [topic, offset] of Object.entries(inputs)) this.#offsets.set(`${topic}/${partition}`, offset);
    this.#wake();
    return this.#now();
  }

  /** A transaction that was begun and aborted: it leaves no record, and the gap in the offsets that its records and markers leave. */
  abandon(partition: number, records: readonly Output[]): void {
    const written = new Set(records.map((record) => this.partition(record.topic, record.partition ?? partition)));
    for (const record of records) this.partition(record.topic, record.partition ?? partition).end++;
    for (const target of written) target.end++;
    this.#wake();
  }

  /** As a broker's cleaner does: of each key the newest record stays, at its offset; with `tombstones`, they go too. */
  compact(topic: string, partition: number, tombstones = true): void {
    const target = this.partition(topic, partition);
    const last = new Map(target.records.map((record) => [record.key, record]));
    target.records = target.records.filter((record) => last.get(record.key) === record && !(tombstones && record.value === null));
  }

  /** Whether the producer of that epoch has not been fenced. */
  current(partition: number, epoch: number): boolean {
    return this.#epochs.get(partition) === epoch;
  }

  /** The group's committed offset. */
  committed(topic: string, partition: number): Offset | undefined {
    return this.#offsets.get(`${topic}/${partition}`);
  }

  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      // A follower waits thousands of times on one signal: no wait may leave its listener behind.
      const done = () => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiters.push(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

export type MemoryLogOptions = {
  readonly broker: MemoryBroker;
  readonly topics: { readonly history: string; readonly words: string };
  readonly owned: (partition: number) => boolean;
  readonly network?: Network;
};

/** Records a read hands over at once: small, so that readers meet the edges of batches. */
const CHUNK = 100;

export function memoryLog({ broker, topics, owned, network = perfectNetwork }: MemoryLogOptions): Log {
  return {
    async open(partition) {
      await network.pass('open');
      const epoch = broker.fence(partition);
      const ends = new Map<string, Offset>();
      for (const topic of [topics.history, topics.words]) ends.set(topic, broker.partition(topic, partition).end);
      return memoryPartition(broker, topics, network, partition, epoch, ends);
    },
    async owned(partition) {
      await network.pass('owned');
      return owned(partition);
    },
    async *follow(topic, partition, from, signal) {
      let next = from;
      while (!signal.aborted) {
        const batch = chunk(broker, topic, partition, next, broker.partition(topic, partition).end);
        next = batch.next;
        yield batch;
        if (next >= broker.partition(topic, partition).end) await broker.changed(signal);
      }
    },
  };
}

function chunk(broker: MemoryBroker, topic: string, partition: number, from: Offset, end: Offset): Batch {
  const { records } = broker.partition(topic, partition);
  const first = lowerBound(records, from);
  const found = records.slice(first, first + CHUNK).filter((record) => record.offset < end);
  const last = found[found.length - 1];
  return { records: found, next: last && found.length === CHUNK ? last.offset + 1 : Math.max(from, end), end };
}

function lowerBound(records: readonly Rec[], offset: Offset): number {
  let [low, high] = [0, records.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((records[middle] as Rec).offset < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

function memoryPartition(
  broker: MemoryBroker,
  topics: MemoryLogOptions['topics'],
  network: Network,
  partition: number,
  epoch: number,
  ends: ReadonlyMap<string, Offset>,
): PartitionLog {
  let dead = false;
  /** A request that is lost on its way has begun a transaction, which the next owner's opening aborts. */
  const begin = async (records: readonly Output[]): Promise<void> => {
    try {
      await network.pass('commit');
    } catch (error) {
      if (broker.current(partition, epoch)) broker.abandon(partition, records);
      throw error;
    }
  };
  return {
    async *read(topic, from) {
      const end = ends.get(topic) ?? broker.partition(topic, partition).end;
      for (let next = from; next < end; ) {
        await network.pass('read');
        const batch = chunk(broker, topic, partition, next, end);
        next = batch.next;
        yield batch;
      }
    },
    async end(topic) {
      await network.pass('read');
      return broker.partition(topic, partition).end;
    },
    async commit(records, inputs): Promise<Committed> {
      if (dead) throw new EvenkeelError('commit_failed', 'this producer has failed before');
      dead = true;
      await begin(records);
      const time = broker.commit(partition, epoch, records, inputs);
      const [history, words] = [broker.partition(topics.history, partition).end, broker.partition(topics.words, partition).end];
      await network.pass('committed');
      dead = false;
      return { history, words, time };
    },
    async close() {
      dead = true;
    },
  };
}
