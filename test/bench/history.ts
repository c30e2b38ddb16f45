/** A history on real Kafka, written as a task writes it: transactions of one batch record and its events. */
import type { Codec } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import type { ConversationId, Instant, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { DEFAULT_POLICY } from '#schemas/policy.ts';
import { partitionOf } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import { provision } from '#streams/kafka/admin.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { support } from '#streams/support/support.ts';
import type { TestKafka } from '../start-kafka.ts';

export const TOPICS = { history: 'tenant.events', words: 'support.steps' };
export const PARTITIONS = 8;
export const DAY = { day: '2026-11-24', month: '2026-11' };
const TIME: Instant = Date.UTC(2026, 10, 24, 12);
/** What a busy task puts into one transaction. */
const EVENTS_PER_TRANSACTION = 1_000;

export type Written = { readonly event: Event; readonly words?: Output };
export const event = (one: Event): Written => ({ event: one });
export const money = (amount: number) => amount as MicroUsd;

/** Ids as long as the real ones, which are digests. */
const digest = (prefix: string, n: number) => `${prefix}_${Buffer.from(`${n}`.padStart(16, '0')).toString('base64url')}`;
export const requestId = (n: number) => digest('r', n) as RequestId;
export const conversationId = (n: number) => digest('c', n) as ConversationId;
export const personId = (n: number) => digest('p', n) as PersonId;
const tenantOf = (n: number) => `tenant-${String(n).padStart(5, '0')}` as TenantId;

/** The numbers of the tenants of each partition. */
export function tenantsByPartition(tenants: number): readonly (readonly { readonly n: number; readonly tenant: TenantId }[])[] {
  const found: { n: number; tenant: TenantId }[][] = Array.from({ length: PARTITIONS }, () => []);
  for (let n = 0; n < tenants; n++) found[partitionOf(tenantOf(n), PARTITIONS)]?.push({ n, tenant: tenantOf(n) });
  return found;
}

export const created = (tenant: TenantId): Written =>
  event({ type: 'tenant_created', tenant, command: 'bench', by: 'operator', digest: '', policy: DEFAULT_POLICY });

export async function provisionTopics(kafka: TestKafka): Promise<void> {
  const settings = { brokers: kafka.brokers, ...kafka.admin, clientId: 'bench-provision' };
  await provision({ kafka: createKafka(settings), settings, passwords: { runtime: 'runtime-secret' }, tenants: [], partitions: PARTITIONS });
}

/** All partitions side by side, each by its own transactional producer, as its task would. */
export async function writeHistory(kafka: TestKafka, codec: Codec, group: string, written: (partition: number) => Iterable<Written>): Promise<void> {
  const client = (name: string) => createKafka({ brokers: kafka.brokers, ...kafka.admin, clientId: `bench.${name}` });
  const reader = new Reader(client('reader'), () => undefined);
  const log = kafkaLog({ kafka: client('writer'), reader, follower: reader, group, topics: TOPICS, owned: async () => true });
  const machine = support(codec);
  await Promise.all(
    Array.from({ length: PARTITIONS }, async (_, partition) => {
      const opened = await log.open(partition);
      let number = 0;
      for (const some of chunks(written(partition), EVENTS_PER_TRANSACTION)) {
        const batch = {
          type: 'batch' as const,
          number: ++number,
          events: some.length,
          inputs: [],
          time: TIME,
          version: machine.version,
          partitions: PARTITIONS,
        };
        const record = (key: string, value: Uint8Array): Output => ({ topic: TOPICS.history, partition, key, value });
        const events = some.map(({ event: each }) => record(each.tenant, machine.history.encode(each)));
        const words = some.flatMap(({ words: each }) => (each ? [{ ...each, partition }] : []));
        await opened.commit([record('', machine.history.encode(batch)), ...events, ...words], {});
      }
      await opened.close();
    }),
  );
  await reader.close();
}

function* chunks<T>(from: Iterable<T>, size: number): Iterable<readonly T[]> {
  let chunk: T[] = [];
  for (const each of from) {
    chunk.push(each);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
