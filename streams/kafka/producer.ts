/** A plain idempotent producer for gateway, auditor and tools: what arrives while a send is in flight goes in the next one. */
import type { Kafka, Producer } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Output } from '#streams/engine/machine.ts';
import { classify } from './client.ts';
import { explicitPartition, toMessage } from './partition-log.ts';

export type Sent = { readonly offset: Offset; readonly time: Instant };
export interface RecordSender {
  /** Resolves when all are acknowledged by all in-sync replicas. @throws EvenkeelError `unavailable`; the records may or may not be in the log */
  send(records: readonly Output[]): Promise<readonly Sent[]>;
  close(): Promise<void>;
}

type Waiting = { readonly record: Output; readonly resolve: (sent: Sent) => void; readonly reject: (error: Error) => void };
const RETRY = { initialRetryTime: 20, factor: 0.2, multiplier: 1.5, maxRetryTime: 1_000, retries: 12 };
const MOST_IN_ONE_SEND = 2_000;

export function createSender(kafka: Kafka): RecordSender {
  return new BatchingSender(kafka);
}

class BatchingSender implements RecordSender {
  readonly #kafka: Kafka;
  /** One lane for each topic-partition: a `send` over several may write twice (kafkajs PR #1798). */
  readonly #lanes = new Map<string, { waiting: Waiting[]; busy: boolean }>();
  #producer: Promise<Producer> | undefined;
  #closed = false;

  constructor(kafka: Kafka) {
    this.#kafka = kafka;
  }

  send(records: readonly Output[]): Promise<readonly Sent[]> {
    if (this.#closed) return Promise.reject(new EvenkeelError('unavailable', 'this producer is closed'));
    return Promise.all(records.map((record) => this.#enter(record)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const producer = await this.#producer;
    await producer?.disconnect();
  }

  #enter(record: Output): Promise<Sent> {
    return new Promise((resolve, reject) => {
      const at = `${record.topic}/${record.partition ?? 0}`;
      let lane = this.#lanes.get(at);
      if (!lane) {
        lane = { waiting: [], busy: false };
        this.#lanes.set(at, lane);
      }
      lane.waiting.push({ record, resolve, reject });
      if (!lane.busy) void this.#drain(lane);
    });
  }

  async #drain(lane: { waiting: Waiting[]; busy: boolean }): Promise<void> {
    lane.busy = true;
    while (lane.waiting.length > 0) {
      const batch = lane.waiting.splice(0, MOST_IN_ONE_SEND);
      try {
        const first = batch[0]?.record as Output;
        const producer = await this.#connected();
        const messages = batch.map(({ record }) => toMessage(record, 0));
        const [metadata] = await producer.send({ topic: first.topic, messages, acks: -1 });
        const base = Number(metadata?.baseOffset ?? 0);
        for (const [at, { resolve }] of batch.entries()) resolve({ offset: base + at, time: Number(metadata?.logAppendTime ?? 0) });
      } catch (cause) {
        await this.#discard();
        const error = classify(cause, 'a record was not acknowledged');
        const told = error.code === 'forbidden' ? error : new EvenkeelError('unavailable', error.message, { cause });
        for (const { reject } of batch) reject(told);
      }
    }
    lane.busy = false;
  }

  #connected(): Promise<Producer> {
    this.#producer ??= this.#connect();
    return this.#producer;
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

  /** After an error that surfaces, sequence numbers are in doubt: a new producer begins anew. */
  async #discard(): Promise<void> {
    const old = this.#producer;
    this.#producer = undefined;
    await old?.then((producer) => producer.disconnect()).catch((error: Error) => classify(error, 'disconnect'));
  }
}
