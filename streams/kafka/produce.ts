/** The Produce request (version 7): any number of partitions of one leader, one batch each, and an answer for each of them. */
import { createRequire } from 'node:module';
import type { Instant, Offset } from '#schemas/ids.ts';
import type { Protocol } from './client.ts';

export type EncodedBatch = { readonly topic: string; readonly partition: number; readonly bytes: Buffer };
/** `code`: 0, or a Kafka error of this partition alone. `base`: the offset of the batch's first record. */
export type Produced = { readonly at: string; readonly code: number; readonly base: Offset; readonly time: Instant };

/** How long the leader waits for the other replicas. */
export const PRODUCE_TIMEOUT_MS = 15_000;
const API = 0;
const VERSION = 7;
const ALL_IN_SYNC = -1;

type Decoded = {
  readonly topics: readonly {
    readonly topicName: string;
    readonly partitions: readonly { readonly partition: number; readonly errorCode: number; readonly baseOffset: string; readonly logAppendTime: string }[];
  }[];
};
const { decode } = createRequire(import.meta.url)('kafkajs/src/protocol/requests/produce/v7/response') as Protocol<Decoded, unknown>['response'];

/** kafkajs's own throws at the first partition's error, and says nothing of the others. */
async function parse({ topics }: Decoded): Promise<readonly Produced[]> {
  return topics.flatMap(({ topicName, partitions }) =>
    partitions.map(({ partition, errorCode: code, baseOffset, logAppendTime }) => ({
      at: `${topicName}/${partition}`,
      code,
      base: Number(baseOffset),
      time: Number(logAppendTime),
    })),
  );
}

/** `transactionalId` null: outside a transaction. */
export function produce(transactionalId: string | null, batches: readonly EncodedBatch[]): Protocol<Decoded, readonly Produced[]> {
  const body = encode(transactionalId, batches);
  // What kafkajs takes for an encoder.
  const encoder = { buf: body, buffer: body };
  return { request: { apiKey: API, apiVersion: VERSION, apiName: 'Produce', encode: async () => encoder }, response: { decode, parse } };
}

/** transactional_id acks timeout [topic [partition records]] */
function encode(transactionalId: string | null, batches: readonly EncodedBatch[]): Buffer {
  const byTopic = Map.groupBy(batches, ({ topic }) => topic);
  const id = transactionalId === null ? int16(-1) : text(transactionalId);
  const parts: Buffer[] = [id, int16(ALL_IN_SYNC), int32(PRODUCE_TIMEOUT_MS), int32(byTopic.size)];
  for (const [topic, of] of byTopic) {
    parts.push(text(topic), int32(of.length));
    for (const { partition, bytes } of of) parts.push(int32(partition), int32(bytes.byteLength), bytes);
  }
  return Buffer.concat(parts);
}

function int16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeInt16BE(value);
  return bytes;
}
function int32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
}
function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([int16(bytes.byteLength), bytes]);
}
