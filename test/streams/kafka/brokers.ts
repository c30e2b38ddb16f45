/**
 * Two brokers as an idempotent producer meets them, with faults by plan: a connection that is lost before or after a write, an error of one
 * partition, an answer that leaves one out, a leader that moves. They keep what Kafka keeps of a producer in each partition: the last sequence
 * number, and the last five batches, which are answered again and not written again.
 */
import type { Kafka } from 'kafkajs';
import { committedRecords } from '#streams/kafka/fetch.ts';

/** Of one call. `error`: of one of the partitions, chosen by `which`, which is `written` all the same or not. */
export type Fault =
  | { readonly fault: 'none' | 'refused' | 'lost' }
  | { readonly fault: 'error'; readonly code: number; readonly written: boolean; readonly which: number }
  | { readonly fault: 'unanswered' | 'moved'; readonly which: number };

type Batch = { readonly at: string; readonly producer: bigint; readonly first: number; readonly last: number; readonly keys: readonly string[] };
type Kept = { readonly first: number; readonly last: number; readonly base: number };
type Answer = { readonly at: string; readonly code: number; readonly base: number; readonly time: number };
type Protocol = { readonly request: { encode(): Promise<{ readonly buf: Buffer }> } };

const [MESSAGE_OUT_OF_ORDER, NOT_LEADER, KEPT_BATCHES, NODES] = [45, 6, 5, 2];

export class Brokers {
  /** By `topic/partition`: the keys of what was written. */
  readonly logs = new Map<string, string[]>();
  /** For each call of a broker in turn; without one nothing fails. */
  faults: Fault[] = [];
  /** Rules that were broken: a producer must not have two batches of one partition on their way. */
  readonly broken: string[] = [];
  /** For each request in turn, the partitions that it wrote to. */
  readonly requests: (readonly string[])[] = [];
  readonly #kept = new Map<string, Kept[]>();
  readonly #leaders = new Map<string, number>();
  readonly #inFlight = new Set<string>();
  #producers = 0;

  get kafka(): Kafka {
    const brokers = Array.from({ length: NODES }, (_, node) => new Broker(this, node));
    const cluster = {
      connect: () => this.#call(),
      disconnect: async () => undefined,
      findBroker: async ({ nodeId }: { nodeId: string }) => brokers[Number(nodeId)],
      metadata: async ({ topics }: { topics: readonly string[] }) => {
        await this.#call();
        return { topicMetadata: topics.map((topic) => ({ partitionMetadata: this.#partitions(topic) })) };
      },
    };
    return { [Symbol('private:Kafka:createCluster')]: () => cluster } as unknown as Kafka;
  }

  async newProducer(): Promise<{ producerId: string; producerEpoch: number }> {
    await this.#call();
    return { producerId: String(++this.#producers), producerEpoch: 0 };
  }

  async produce(node: number, batches: readonly Batch[]): Promise<readonly Answer[]> {
    this.requests.push(batches.map(({ at }) => at));
    const fault = this.faults.shift() ?? { fault: 'none' };
    const chosen = 'which' in fault ? batches[fault.which % batches.length]?.at : undefined;
    for (const { at } of batches) {
      if (this.#inFlight.has(at)) this.broken.push(`${at} is on its way twice`);
      this.#inFlight.add(at);
    }
    await reply();
    for (const { at } of batches) this.#inFlight.delete(at);
    if (fault.fault === 'refused') throw new Error('connection closed');
    if (fault.fault === 'moved') this.#leaders.set(chosen as string, (this.#leader(chosen as string) + 1) % NODES);
    const answers = batches.map((batch) => {
      if (fault.fault !== 'error' || batch.at !== chosen) return this.#write(node, batch);
      if (fault.written) this.#write(node, batch);
      return { at: batch.at, code: fault.code, base: -1, time: -1 };
    });
    if (fault.fault === 'lost') throw new Error('connection closed');
    return fault.fault === 'unanswered' ? answers.filter(({ at }) => at !== chosen) : answers;
  }

  #write(node: number, { at, producer, first, last, keys }: Batch): Answer {
    if (this.#leader(at) !== node) return { at, code: NOT_LEADER, base: -1, time: -1 };
    const log = this.logs.get(at) ?? [];
    this.logs.set(at, log);
    const kept = this.#kept.get(`${at} ${producer}`) ?? [];
    this.#kept.set(`${at} ${producer}`, kept);
    const again = kept.find((each) => each.first === first && each.last === last);
    if (again) return { at, code: 0, base: again.base, time: 1 };
    const before = kept.at(-1);
    if (before && first !== before.last + 1) return { at, code: MESSAGE_OUT_OF_ORDER, base: -1, time: -1 };
    kept.push({ first, last, base: log.length });
    if (kept.length > KEPT_BATCHES) kept.shift();
    log.push(...keys);
    return { at, code: 0, base: log.length - keys.length, time: 1 };
  }

  async #call(): Promise<void> {
    const { fault } = this.faults.shift() ?? { fault: 'none' };
    await reply();
    if (fault === 'refused' || fault === 'lost') throw new Error('connection closed');
  }

  #leader(at: string): number {
    return this.#leaders.get(at) ?? 0;
  }

  #partitions(topic: string) {
    return [0, 1, 2].map((partitionId) => ({ partitionId, leader: this.#leader(`${topic}/${partitionId}`) }));
  }
}

const SEND_REQUEST = Symbol('private:Broker:sendRequest');

class Broker {
  readonly #brokers: Brokers;
  readonly #node: number;
  constructor(brokers: Brokers, node: number) {
    this.#brokers = brokers;
    this.#node = node;
  }
  initProducerId() {
    return this.#brokers.newProducer();
  }
  async [SEND_REQUEST]({ request }: Protocol): Promise<readonly Answer[]> {
    return this.#brokers.produce(this.#node, batchesOf((await request.encode()).buf));
  }
}

const reply = () => new Promise<void>((resolve) => setTimeout(resolve, 5));

/** transactional_id acks timeout [topic [partition records]] */
function batchesOf(bytes: Buffer): readonly Batch[] {
  const batches: Batch[] = [];
  let at = 12;
  for (let topics = bytes.readInt32BE(8); topics > 0; topics--) {
    const name = bytes.subarray(at + 2, at + 2 + bytes.readInt16BE(at)).toString();
    at += 2 + name.length;
    const partitions = bytes.readInt32BE(at);
    at += 4;
    for (let left = partitions; left > 0; left--) {
      const end = at + 8 + bytes.readInt32BE(at + 4);
      batches.push(batchOf(`${name}/${bytes.readInt32BE(at)}`, bytes.subarray(at + 8, end)));
      at = end;
    }
  }
  return batches;
}

function batchOf(at: string, bytes: Buffer): Batch {
  const first = bytes.readInt32BE(53);
  const keys = committedRecords({ bytes, aborted: [] }, 0).records.map(({ key }) => key as string);
  return { at, producer: bytes.readBigInt64BE(43), first, last: first + keys.length - 1, keys };
}
