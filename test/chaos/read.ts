/** Topics as a plain consumer reads them: kafkajs with a group of its own, committed records, each decoded with the schema it names. */
import avsc from 'avsc';
import kafkajs, { type Admin, type Consumer, type Kafka, type KafkaMessage, logLevel } from 'kafkajs';
import type { Decoded } from '#schemas/codec.ts';
import { SHAPES } from '#schemas/records.ts';
import type { Stored } from './evidence.ts';

export type Cluster = { readonly brokers: readonly string[]; readonly username: string; readonly password: string; readonly registryUrl: string };

const SUBJECTS = Object.keys(SHAPES);
const READ_WITHIN_MS = 60_000;
const WIRE_HEADER = 5;

export function plainClient({ brokers, username, password }: Cluster, clientId: string): Kafka {
  return new kafkajs.Kafka({
    brokers: [...brokers],
    clientId,
    sasl: { mechanism: 'scram-sha-512', username, password },
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, maxRetryTime: 1_000, retries: 30 },
  });
}

/** By schema id. */
export async function loadTypes(registryUrl: string): Promise<ReadonlyMap<number, { readonly name: string; readonly type: avsc.Type }>> {
  const get = async (path: string) => (await fetch(`${registryUrl}${path}`)).json();
  const found = await Promise.all(
    SUBJECTS.map(async (name) => {
      const versions = (await get(`/subjects/${name}/versions`)) as number[];
      const bodies = await Promise.all(versions.map((version) => get(`/subjects/${name}/versions/${version}`) as Promise<{ id: number; schema: string }>));
      return bodies.map(({ id, schema }) => [id, { name, type: avsc.Type.forSchema(JSON.parse(schema)) }] as const);
    }),
  );
  return new Map(found.flat());
}

type Types = Awaited<ReturnType<typeof loadTypes>>;
type Raw = KafkaMessage & { readonly batchContext?: { readonly producerId: string; readonly producerEpoch: number } };

function decodeStored(types: Types, topic: string, partition: number, message: Raw): Stored {
  const { value: bytes, key, offset, timestamp, headers = {}, batchContext } = message;
  return {
    topic,
    partition,
    offset: Number(offset),
    timestamp: Number(timestamp),
    key: key?.toString() ?? null,
    bytes,
    headers: Object.fromEntries(Object.entries(headers).flatMap(([name, header]) => (Buffer.isBuffer(header) ? [[name, header]] : []))),
    producer: { id: String(batchContext?.producerId ?? -1), epoch: batchContext?.producerEpoch ?? -1 },
    decoded: bytes === null ? undefined : decode(types, bytes),
  };
}

/** What a stranger wrote may be anything: then it is none of ours. */
function decode(types: Types, bytes: Buffer): Decoded | undefined {
  const known = bytes.length >= WIRE_HEADER && bytes[0] === 0 ? types.get(bytes.readUInt32BE(1)) : undefined;
  if (!known) return undefined;
  try {
    return { name: known.name, value: known.type.fromBuffer(bytes.subarray(WIRE_HEADER)) } as Decoded;
  } catch {
    return undefined;
  }
}

/** All of `topics`, to the ends that they have now. @throws when a topic's end is not reached within a minute */
export async function readTopics(kafka: Kafka, admin: Admin, topics: readonly string[], types: Types): Promise<Record<string, Stored[]>> {
  const groupId = `chaos-check-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100, minBytes: 1, allowAutoTopicCreation: false });
  const left = await endsOf(admin, topics);
  const found = new Map<string, Stored>();
  const done = Promise.withResolvers<void>();
  const reach = (topic: string, partition: number, next: number) => {
    const end = left.get(`${topic}/${partition}`);
    if (end !== undefined && next >= end) left.delete(`${topic}/${partition}`);
    if (left.size === 0) done.resolve();
  };
  const late = setTimeout(() => done.reject(new Error(`not read within a minute: ${[...left.keys()].join(', ')}`)), READ_WITHIN_MS);
  try {
    consumer.on(consumer.events.CRASH, ({ payload }) => done.reject(payload.error));
    await consumer.connect();
    await consumer.subscribe({ topics: [...topics], fromBeginning: true });
    // The batches that hold markers alone never reach eachBatch: their ends are told here.
    consumer.on(consumer.events.START_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize === 0) reach(payload.topic, payload.partition, Number(payload.lastOffset) + 1);
    });
    await run(consumer, types, found, reach);
    if (left.size === 0) done.resolve();
    await done.promise;
  } finally {
    clearTimeout(late);
    await consumer.disconnect();
    await admin.deleteGroups([groupId]).catch(() => undefined);
  }
  const sorted = [...found.values()].sort((a, b) => a.partition - b.partition || a.offset - b.offset);
  return Object.fromEntries(topics.map((topic) => [topic, sorted.filter((record) => record.topic === topic)]));
}

async function run(consumer: Consumer, types: Types, found: Map<string, Stored>, reach: (topic: string, partition: number, next: number) => void) {
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      const { topic, partition, messages } = batch;
      for (const message of messages) found.set(`${topic}/${partition}/${message.offset}`, decodeStored(types, topic, partition, message));
      reach(topic, partition, Number(batch.lastOffset()) + 1);
    },
  });
}

/** Of partitions that hold something: what is empty is read to its end. */
async function endsOf(admin: Admin, topics: readonly string[]): Promise<Map<string, number>> {
  const ends = new Map<string, number>();
  for (const topic of topics)
    for (const { partition, high, low } of await admin.fetchTopicOffsets(topic))
      if (Number(high) > Number(low)) ends.set(`${topic}/${partition}`, Number(high));
  return ends;
}
