/** What kafkajs's own producer needs, for tests and peers that write beside us. */
import type { Message } from 'kafkajs';
import type { Output } from '#streams/engine/machine.ts';

export function toMessage({ key, value, headers, partition }: Output, fallback: number): Message {
  const plain = Object.fromEntries(Object.entries(headers ?? {}).map(([name, header]) => [name, Buffer.from(header)]));
  return { key, value: value === null ? null : Buffer.from(value), partition: partition ?? fallback, headers: plain };
}

/** Every record names its partition; kafkajs asks the partitioner all the same. */
export function explicitPartition() {
  return ({ message }: { readonly message: Message }): number => message.partition ?? 0;
}
