/**
 * A plain idempotent producer for gateway, auditor and tools. What arrives while a request is in flight goes in the next one, with all
 * partitions of the same leader in one request. kafkajs's producer takes a request for each partition, and over several its retries write
 * twice (kafkajs PR #1798): here what must be sent again is sent byte for byte, under the same sequence number, so that the log takes it once.
 */
import type { Kafka } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import { nextSend } from './batch-size.ts';
import { type Cluster, classify, createCluster, errorOf, type Producing, sendTo } from './client.ts';
import { type Produced, produce } from './produce.ts';
import { readsDone } from './reads-done.ts';
import { encodeBatch } from './record-batch.ts';

export type Sent = { readonly offset: Offset; readonly time: Instant };
export interface RecordSender {
  /**
   * Resolves when all are acknowledged by all in-sync replicas.
   * @throws EvenkeelError `unavailable`: the records may or may not be in the log; `forbidden`, `record_too_large`: they are not
   */
  send(records: readonly Output[]): Promise<readonly Sent[]>;
  /** At once: what is in flight is rejected, and may or may not be in the log. */
  close(): Promise<void>;
}

/** One call of `send`: it ends with the last of its records, or the first that fails. */
type Asked = { readonly sent: Sent[]; left: number; readonly resolve: (sent: readonly Sent[]) => void; readonly reject: (error: Error) => void };
type Waiting = { readonly record: Output; readonly asked: Asked; readonly place: number };
type Batch = { readonly of: readonly Waiting[]; readonly bytes: Buffer };
/** One topic-partition: its records in order, one batch at a time. */
type Lane = {
  readonly topic: string;
  readonly partition: number;
  readonly at: string;
  waiting: Waiting[];
  /** Sent and not acknowledged: it goes again as it is. */
  batch: Batch | undefined;
  identity: Producing | undefined;
  /** After a failure its sequence is in doubt, and it takes an identity of its own. */
  failed: boolean;
  sequence: number;
  leader: string | undefined;
  /** When the first of the present tries failed. */
  since: number | undefined;
  tries: number;
  busy: boolean;
};

const RETRY_WITHIN_MS = 8_000;
const PAUSES_MS = [20, 50, 100, 200, 500];
const LAST_PAUSE_MS = 1_000;
const MOST_IN_ONE_REQUEST = 2 * 1_048_576;
const LANES_KEPT = 20_000;
/** Of an identity without transactions; the broker asks for one all the same. */
const NO_TRANSACTION_MS = 30_000;

export function createSender(kafka: Kafka): RecordSender {
  return new BatchingSender(kafka);
}

class BatchingSender implements RecordSender {
  readonly #cluster: Cluster;
  readonly #lanes = new Map<string, Lane>();
  /** By leader: the lanes that its next request takes, and whether one is in flight. */
  readonly #outboxes = new Map<string, { readonly lanes: Set<Lane>; busy: boolean }>();
  #connected: Promise<void> | undefined;
  #identity: Promise<Producing> | undefined;
  #closed = false;

  constructor(kafka: Kafka) {
    this.#cluster = createCluster(kafka);
  }

  send(records: readonly Output[]): Promise<readonly Sent[]> {
    if (this.#closed) return Promise.reject(closed());
    if (records.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const asked: Asked = { sent: new Array(records.length), left: records.length, resolve, reject };
      for (let place = 0; place < records.length; place++) this.#enter({ record: records[place] as Output, asked, place });
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { batch, waiting } of this.#lanes.values()) for (const { asked } of [...(batch?.of ?? []), ...waiting.splice(0)]) asked.reject(closed());
    try {
      await this.#connected;
      await this.#cluster.disconnect();
    } catch {
      // It never connected, or the broker is gone: there is nothing left to let go of.
    }
  }

  #enter(waiting: Waiting): void {
    const lane = this.#lane(waiting.record.topic, waiting.record.partition ?? 0);
    lane.waiting.push(waiting);
    if (!lane.busy) this.#start(lane);
  }

  #lane(topic: string, partition: number): Lane {
    const at = `${topic}/${partition}`;
    let lane = this.#lanes.get(at);
    if (!lane) {
      if (this.#lanes.size >= LANES_KEPT) this.#forget();
      lane = { topic, partition, at, waiting: [], batch: undefined, identity: undefined, failed: false, sequence: 0, leader: undefined, ...NOT_TRIED };
      this.#lanes.set(at, lane);
    }
    return lane;
  }

  /** Lanes at rest. One that comes again begins at sequence 0: under the identity of before, the log would take it for a repeat, and drop it. */
  #forget(): void {
    for (const [at, { busy }] of this.#lanes) {
      if (busy) continue;
      this.#lanes.delete(at);
      this.#identity = undefined;
    }
  }

  /** At once where it is known who leads: lanes of one answer have their next request together. */
  #start(lane: Lane): void {
    lane.busy = true;
    if (lane.leader !== undefined && lane.identity !== undefined) this.#post(lane, lane.leader);
    else void this.#prepare(lane);
  }

  async #prepare(lane: Lane): Promise<void> {
    if (this.#closed) return;
    try {
      this.#connected ??= this.#cluster.connect();
      await this.#connected;
      lane.leader ??= await this.#leaderOf(lane);
      lane.identity ??= await this.#identify(lane, lane.leader);
    } catch (error) {
      // A connection, an identity that failed: the next asks anew.
      [this.#connected, this.#identity] = [undefined, undefined];
      return this.#again(lane, error as Error);
    }
    this.#post(lane, lane.leader);
  }

  /** Where that leader's next request takes it. */
  #post(lane: Lane, leader: string): void {
    let outbox = this.#outboxes.get(leader);
    if (!outbox) {
      outbox = { lanes: new Set(), busy: false };
      this.#outboxes.set(leader, outbox);
    }
    outbox.lanes.add(lane);
    if (!outbox.busy) void this.#deliver(leader, outbox);
  }

  #identify({ failed }: Lane, nodeId: string): Promise<Producing> {
    if (failed) return this.#newIdentity(nodeId);
    this.#identity ??= this.#newIdentity(nodeId);
    return this.#identity;
  }

  /** Any broker gives one. */
  async #newIdentity(nodeId: string): Promise<Producing> {
    const broker = await this.#cluster.findBroker({ nodeId });
    const { producerId, producerEpoch } = await broker.initProducerId({ transactionalId: null, transactionTimeout: NO_TRANSACTION_MS });
    return { producerId, producerEpoch };
  }

  async #leaderOf({ topic, partition }: Lane): Promise<string> {
    const { topicMetadata } = await this.#cluster.metadata({ topics: [topic] });
    const found = topicMetadata[0]?.partitionMetadata.find(({ partitionId }) => partitionId === partition);
    if (!found || found.leader < 0) throw errorOf(LEADER_NOT_AVAILABLE);
    return String(found.leader);
  }

  async #deliver(leader: string, outbox: { readonly lanes: Set<Lane>; busy: boolean }): Promise<void> {
    outbox.busy = true;
    for (await turnsRecords(); outbox.lanes.size > 0 && !this.#closed; await turnsRecords()) {
      const lanes = this.#take(outbox.lanes);
      try {
        const broker = await this.#cluster.findBroker({ nodeId: leader });
        const batches = lanes.map(({ topic, partition, batch }) => ({ topic, partition, bytes: (batch as Batch).bytes }));
        const answers = new Map((await sendTo(broker, produce(null, batches))).map((answer) => [answer.at, answer]));
        for (const lane of lanes) this.#answered(lane, answers.get(lane.at));
      } catch (error) {
        for (const lane of lanes) if (lane.batch) this.#again(lane, error as Error);
      }
    }
    outbox.busy = false;
  }

  /** As much as one request should hold; the rest stays for the next. */
  #take(from: Set<Lane>): readonly Lane[] {
    const taken: Lane[] = [];
    let bytes = 0;
    for (const lane of from) {
      if (taken.length > 0 && bytes >= MOST_IN_ONE_REQUEST) break;
      from.delete(lane);
      lane.batch ??= this.#encode(lane);
      bytes += lane.batch.bytes.byteLength;
      taken.push(lane);
    }
    return taken;
  }

  #encode(lane: Lane): Batch {
    const records = lane.waiting.map(({ record }) => record);
    const of = lane.waiting.splice(0, nextSend(records));
    const { producerId, producerEpoch: epoch } = lane.identity as Producing;
    const writer = { id: BigInt(producerId), epoch, sequence: lane.sequence, transactional: false, time: Date.now() };
    lane.sequence = (lane.sequence + of.length) % 0x80000000;
    return { of, bytes: encodeBatch(records.slice(0, of.length), writer) };
  }

  #answered(lane: Lane, answer: Produced | undefined): void {
    if (!lane.batch) return;
    if (answer?.code !== 0) return this.#again(lane, answer ? errorOf(answer.code) : new Error(`no answer for ${lane.at}`));
    const { of } = lane.batch;
    for (let at = 0; at < of.length; at++) acknowledge(of[at] as Waiting, answer.base + at, answer.time);
    this.#next(lane);
  }

  #next(lane: Lane): void {
    Object.assign(lane, { batch: undefined, ...NOT_TRIED });
    if (lane.waiting.length > 0 && !this.#closed) this.#start(lane);
  }

  /** The same bytes once more after a pause, when the error may pass and there is time; who leads is asked anew. */
  #again(lane: Lane, error: Error): void {
    lane.since ??= performance.now();
    if ((error as { retriable?: boolean }).retriable === false || performance.now() - lane.since > RETRY_WITHIN_MS) return this.#fail(lane, error);
    lane.leader = undefined;
    setTimeout(() => this.#start(lane), PAUSES_MS[lane.tries++] ?? LAST_PAUSE_MS);
  }

  #fail(lane: Lane, cause: Error): void {
    const error = classify(cause, 'a record was not acknowledged', 'unavailable');
    const of = lane.batch?.of ?? lane.waiting.splice(0);
    const told = error.code === 'fenced' ? new EvenkeelError('unavailable', error.message, { cause }) : error;
    for (const { asked } of of) asked.reject(told);
    [lane.identity, lane.failed, lane.sequence, lane.leader] = [undefined, true, 0, undefined];
    this.#next(lane);
  }
}

/** What is sent in this turn of the event loop rides along: whoever waits for the turn's reads may have asked later, and sends first. */
async function turnsRecords(): Promise<void> {
  await readsDone();
  await Promise.resolve();
}

function acknowledge({ asked, place }: Waiting, offset: Offset, time: Instant): void {
  asked.sent[place] = { offset, time };
  asked.left--;
  if (asked.left === 0) asked.resolve(asked.sent);
}

const LEADER_NOT_AVAILABLE = 5;
const NOT_TRIED = { since: undefined, tries: 0, busy: false } as const;
const closed = () => new EvenkeelError('unavailable', 'this producer is closed');
