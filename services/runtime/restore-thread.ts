/** A thread that restores partitions into stores which the runtime's own thread has opened, one after the other (restorer.ts). */
import { parentPort, workerData } from 'node:worker_threads';
import { createCodec, type Registered } from '#schemas/codec.ts';
import { type ErrorCode, EvenkeelError } from '#schemas/errors.ts';
import type { ReadLog } from '#streams/engine/ports.ts';
import { type Restored, restoreFrom, type Source, type Topics } from '#streams/engine/recover.ts';
import { createKafka, type KafkaSettings } from '#streams/kafka/client.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { borrowedStore } from '#streams/rocksdb/store.ts';
import { support } from '#streams/support/support.ts';

/** What does not change from one partition to the next. */
export type Restoring = {
  readonly kafka: Omit<KafkaSettings, 'warn'>;
  readonly schemas: readonly Registered[];
  readonly partitions: number;
  readonly topics: Topics;
  readonly snapshots: { readonly topic: string };
};
export type Asked = { readonly partition: number; readonly handle: bigint; readonly source: Source };
export type Told =
  | { readonly warning: string }
  | { readonly restored: Restored | undefined }
  | { readonly failed: string; readonly code: ErrorCode | undefined };

const { kafka, schemas, partitions, topics, snapshots } = workerData as Restoring;
const tell = (what: Told) => parentPort?.postMessage(what);
const warn = (warning: string) => tell({ warning });
const reader = new Reader(createKafka({ ...kafka, warn }), warn);
const machine = support(createCodec(schemas));

async function restore({ partition, handle, source }: Asked): Promise<Told> {
  const log: ReadLog = {
    read: (topic, from) => reader.read(topic, partition, from),
    end: (topic) => reader.end(topic, partition),
  };
  try {
    const recovery = { machine, partitions, topics, snapshots, ignored: (why: string) => warn(`partition ${partition}: snapshot ignored: ${why}`) };
    return { restored: await restoreFrom(recovery, log, await borrowedStore(handle), source) };
  } catch (error) {
    return { failed: (error as Error).message, code: error instanceof EvenkeelError ? error.code : undefined };
  }
}

parentPort?.on('message', (asked: Asked | 'end') => {
  if (asked === 'end') void reader.close().then(() => parentPort?.close());
  else void restore(asked).then(tell);
});
