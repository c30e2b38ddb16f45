/** From our outputs to kafkajs's messages, and to sends that the broker takes. */
import type { Message } from 'kafkajs';
import { AUDIT_TOPIC, TOPICS, type Topic } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';

/** kafkajs makes one batch of a `send`, and the broker measures batches: a thousand small records can be one batch too large. */
const LARGEST_SEND_BYTES = 512 * 1_024;
const MOST_IN_ONE_SEND = 2_000;
/** Lengths, deltas and the header of a batch; generously. */
const OVERHEAD_BYTES = 64;

export function toMessage({ key, value, headers, partition }: Output, fallback: number): Message {
  const plain = Object.fromEntries(Object.entries(headers ?? {}).map(([name, header]) => [name, Buffer.from(header)]));
  return { key, value: value === null ? null : Buffer.from(value), partition: partition ?? fallback, headers: plain };
}

/** Every record names its partition; kafkajs asks the partitioner all the same. */
export function explicitPartition() {
  return ({ message }: { readonly message: Message }): number => message.partition ?? 0;
}

/** How many of `records`, all of one topic, go into the next send: at least one, in all no more than the topic takes in one batch. */
export function nextSend(records: readonly Output[]): number {
  const topic = records[0]?.topic ?? '';
  const most = Object.hasOwn(TOPICS, topic) ? TOPICS[topic as Topic].maxMessageBytes : AUDIT_TOPIC.maxMessageBytes;
  const bound = Math.min(LARGEST_SEND_BYTES, most / 2);
  let bytes = 0;
  for (const [at, record] of records.entries()) {
    bytes += sizeOf(record);
    if (at > 0 && (bytes > bound || at >= MOST_IN_ONE_SEND)) return at;
  }
  return records.length;
}

/** Bytes on the wire, about. */
function sizeOf({ key, value, headers }: Output): number {
  let bytes = OVERHEAD_BYTES + Buffer.byteLength(key) + (value?.byteLength ?? 0);
  for (const [name, header] of Object.entries(headers ?? {})) bytes += OVERHEAD_BYTES + Buffer.byteLength(name) + Buffer.byteLength(header);
  return bytes;
}
