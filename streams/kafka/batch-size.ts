/** What goes into one batch: the broker measures batches, and a thousand small records can be one batch too large. */
import { AUDIT_TOPIC, TOPICS, type Topic } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import { mostBytes } from './record-batch.ts';

const LARGEST_SEND_BYTES = 512 * 1_024;
const MOST_IN_ONE_SEND = 2_000;

/** How many of `records`, all of one topic, go into the next send: at least one, in all no more than the topic takes in one batch. */
export function nextSend(records: readonly Output[]): number {
  const topic = records[0]?.topic ?? '';
  const most = Object.hasOwn(TOPICS, topic) ? TOPICS[topic as Topic].maxMessageBytes : AUDIT_TOPIC.maxMessageBytes;
  const bound = Math.min(LARGEST_SEND_BYTES, most / 2);
  let bytes = 0;
  for (let at = 0; at < records.length; at++) {
    bytes += mostBytes(records[at] as Output);
    if (at > 0 && (bytes > bound || at >= MOST_IN_ONE_SEND)) return at;
  }
  return records.length;
}
