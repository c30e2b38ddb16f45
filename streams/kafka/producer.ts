/** A plain idempotent producer for gateway, auditor and tools: what arrives while a send is in flight goes in the next one. */
import type { Kafka, Producer } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import { classify } from './client.ts';
import { explicitPartition, nextSend, toMessage } from './messages.ts';

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

type Waiting = { readonly record: Output; readonly resolve: (sent: Sent) => void; readonly reject: (error: Error) => void };
type Lane = { waiting: Waiting[]; busy: boolean };
/** A producer and how many sends use it now. */
type Connection = { readonly producer: Promise<Producer>; users: number; retired: boolean };
const RETRY = { initialRetryTime: 20, factor: 0.2, multiplier: 1.5, maxRetryTime: 1_000, retries: 12 };

export function createSender(kafka: Kafka): RecordSender {
  return new BatchingSender(kafka);
}

class BatchingSender implements RecordSender {
  readonly #kafka: Kafka;
  /** One lane for each topic-partition: a `send` over several may write twice (kafkajs PR #1798). */
  readonly #lanes = new Map<string, Lane>();
  #connection: Connection | undefined;
  #closed = false;

  constructor(kafka: Kafka) {
    this.#kafka = kafka;
  }

  send(records: readonly Output[]): Promise<readonly Sent[]> {
    if (this.#closed) return Promise.reject(closed());
    return Promise.all(records.map((record) => this.#enter(record)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const connection = this.#connection;
    if (!connection) return;
    this.#retire(connection);
    await disconnect(connection);
  }

  #enter(record: Output): Promise<Sent> {
    return new Promise((resolve, reject) => {
      const at = `${record.topic}/${record.partition ?? 0}`;
      const lane = this.#lanes.get(at) ?? { waiting: [], busy: false };
      this.#lanes.set(at, lane);
      lane.waiting.push({ record, resolve, reject });
      if (!lane.busy) void this.#drain(at, lane);
    });
  }

  async #drain(at: string, lane: Lane): Promise<void> {
    lane.busy = true;
    // What the same caller sends along with it rides along.
    await Promise.resolve();
    while (lane.waiting.length > 0) await this.#sendNext(lane.waiting.splice(0, nextSend(lane.waiting.map(({ record }) => record))));
    lane.busy = false;
    this.#lanes.delete(at);
  }

  async #sendNext(batch: readonly Waiting[]): Promise<void> {
    if (this.#closed) return reject(batch, closed());
    this.#connection ??= { producer: this.#connect(), users: 0, retired: false };
    const connection = this.#connection;
    connection.users++;
    try {
      const producer = await connection.producer;
      const topic = batch[0]?.record.topic as string;
      const [metadata] = await producer.send({ topic, messages: batch.map(({ record }) => toMessage(record, 0)), acks: -1 });
      const [base, time] = [Number(metadata?.baseOffset ?? 0), Number(metadata?.logAppendTime ?? 0)];
      for (const [at, { resolve }] of batch.entries()) resolve({ offset: base + at, time });
    } catch (cause) {
      this.#retire(connection);
      const error = classify(cause, 'a record was not acknowledged', 'unavailable');
      reject(batch, error.code === 'fenced' ? new EvenkeelError('unavailable', error.message, { cause }) : error);
    } finally {
      connection.users--;
      if (connection.retired && connection.users === 0) void disconnect(connection);
    }
  }

  async #connect(): Promise<Producer> {
    const producer = this.#kafka.producer({
      idempotent: true,
      maxInFlightRequests: 5,
      retry: RETRY,
      allowAutoTopicCreation: false,
      createPartitioner: explicitPartition,
    });
    await producer.connect();
    return producer;
  }

  /** After an error that surfaces, sequence numbers are in doubt: who comes next gets a new producer, who is in flight settles on this one. */
  #retire(connection: Connection): void {
    connection.retired = true;
    if (this.#connection === connection) this.#connection = undefined;
  }
}

const closed = () => new EvenkeelError('unavailable', 'this producer is closed');

function reject(batch: readonly Waiting[], error: Error): void {
  for (const { reject: tell } of batch) tell(error);
}

/** Again once nothing uses it: a send that was in flight at the first time has connected anew to try again. */
async function disconnect({ producer }: Connection): Promise<void> {
  try {
    await (await producer).disconnect();
  } catch {
    // It never connected, or the broker is gone: there is nothing left to let go of.
  }
}
