/** The topic table: creation, ACLs, retention and docs follow from it. `support.*` may hold people's words, `tenant.*` never does. */
import type { CommandType } from './commands.ts';
import { COMMANDS } from './commands.ts';
import type { EventType } from './events.ts';
import { EVENTS } from './events.ts';
import type { TenantId } from './ids.ts';
import type { ShapeName } from './records.ts';

/** The services, each a Kafka principal with least rights. `operator` is the demo's and the command line's administrator. */
export const PRINCIPALS = ['gateway', 'runtime', 'auditor', 'operator'] as const;
export type Principal = (typeof PRINCIPALS)[number];

const MIB = 1_048_576;
/** Bytes a second at each broker, which delays who exceeds them, and nobody else. Without one: no bound. */
type Quota = { readonly producer_byte_rate?: number; readonly consumer_byte_rate?: number };
export const QUOTAS: Readonly<Record<Principal, Quota>> = {
  gateway: { producer_byte_rate: 32 * MIB },
  // What these two write follows from what they read, and a transaction that the broker delays would delay every tenant of its partition.
  runtime: {},
  auditor: {},
  operator: { producer_byte_rate: 16 * MIB },
};
/** Of each tenant's own principals: who publishes onto `support.requests`, and who reads `audit.<tenant>`. */
export const TENANT_QUOTAS: Readonly<Record<'producer' | 'auditor', Quota>> = {
  producer: { producer_byte_rate: MIB },
  auditor: { consumer_byte_rate: 4 * MIB },
};

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

type TopicEntry = {
  readonly records: readonly ShapeName[];
  /** co: one partition count for all, partitioned by tenant; single: one partition. */
  readonly partitions: 'co' | 'single';
  readonly cleanup: 'delete' | 'compact' | 'compact,delete';
  /** Milliseconds; undefined: kept without limit. */
  readonly retentionMs: number | undefined;
  readonly maxMessageBytes: number;
  /** undefined: the broker's own. */
  readonly segmentBytes?: number;
  readonly writers: readonly Principal[];
  readonly readers: readonly Principal[];
  readonly holds: string;
};

const commands = Object.keys(COMMANDS) as CommandType[];
const events = Object.keys(EVENTS) as (EventType | 'batch')[];

export const TOPICS = {
  'support.requests': {
    records: ['support_request'],
    partitions: 'co',
    cleanup: 'delete',
    retentionMs: DAY,
    maxMessageBytes: 1_048_576,
    writers: ['gateway', 'runtime'],
    readers: ['runtime'],
    holds: 'one support request; the gateway seals its message',
  },
  'tenant.commands': {
    records: commands,
    partitions: 'co',
    cleanup: 'delete',
    retentionMs: 7 * DAY,
    maxMessageBytes: 1_048_576,
    writers: ['gateway', 'operator', 'runtime'],
    readers: ['runtime'],
    holds: 'policy, budget grants, outside costs, suspend and resume, counts of refusals',
  },
  'tenant.events': {
    records: events,
    partitions: 'co',
    cleanup: 'delete',
    retentionMs: undefined,
    maxMessageBytes: 1_048_576,
    writers: ['runtime'],
    readers: ['runtime', 'gateway', 'auditor', 'operator'],
    holds: 'the history: ids, sums, digests, no text',
  },
  'support.steps': {
    records: ['support_step'],
    partitions: 'co',
    cleanup: 'delete',
    retentionMs: 3 * DAY,
    maxMessageBytes: 1_048_576,
    writers: ['runtime'],
    readers: ['runtime'],
    holds: "a request's message and each finished step's result, sealed by person",
  },
  'support.results': {
    records: ['support_result'],
    partitions: 'co',
    cleanup: 'delete',
    retentionMs: 3 * DAY,
    maxMessageBytes: 1_048_576,
    writers: ['runtime'],
    readers: ['gateway', 'operator'],
    holds: 'the one terminal result of each accepted request, sealed by person',
  },
  'support.knowledge': {
    records: ['knowledge_document'],
    partitions: 'co',
    cleanup: 'compact',
    retentionMs: undefined,
    maxMessageBytes: 4_194_304,
    writers: ['gateway', 'operator'],
    readers: ['runtime'],
    holds: 'documents and past tickets; key tenant_id/document_id',
  },
  'tenant.snapshots': {
    records: ['snapshot_chunk', 'snapshot_manifest'],
    partitions: 'co',
    cleanup: 'compact',
    retentionMs: undefined,
    maxMessageBytes: 1_048_576,
    // Compaction never touches the newest segment: a default one holds a gigabyte, dozens of snapshots that nobody needs.
    segmentBytes: 67_108_864,
    writers: ['runtime'],
    readers: ['runtime'],
    holds: "a partition's folded state at one batch, in chunks; a manifest written last makes it whole",
  },
  'tenant.keys': {
    records: ['person_key'],
    partitions: 'co',
    cleanup: 'compact',
    retentionMs: undefined,
    maxMessageBytes: 65_536,
    writers: ['gateway', 'runtime'],
    readers: ['gateway', 'runtime'],
    holds: "a person's keys, wrapped; key tenant_id/person/key_id",
  },
  'support.dead-letters': {
    records: ['dead_letter'],
    partitions: 'single',
    cleanup: 'delete',
    retentionMs: 7 * DAY,
    maxMessageBytes: 1_048_576,
    writers: ['runtime'],
    readers: ['operator'],
    holds: 'what could not be read, with reason, digest and bounded bytes',
  },
} as const satisfies Record<string, TopicEntry>;

export type Topic = keyof typeof TOPICS;

/** The consumer group of the runtimes; its offsets ride in the task's transactions. */
export const RUNTIME_GROUP = 'evenkeel.runtime';
/** How many partitions the co-partitioned topics get when they are created. It never changes afterwards. */
export const DEFAULT_PARTITIONS = 8;

/** Each topic of a tenant's own: only the auditor service writes it, only that tenant's auditor reads it. */
export const AUDIT_TOPIC = {
  cleanup: 'compact,delete',
  retentionMs: 400 * DAY,
  maxMessageBytes: 1_048_576,
} as const;

export function auditTopic(tenant: TenantId): string {
  return `audit.${tenant}`;
}
/** The Kafka principal that may read that tenant's audit topic, and nothing else. */
export function auditPrincipal(tenant: TenantId): string {
  return `auditor-${tenant}`;
}
/** The Kafka principal of a tenant's own producers: it may write `support.requests`, and nothing else. Whom it speaks for, signatures say. */
export function producerPrincipal(tenant: TenantId): string {
  return `producer-${tenant}`;
}

/** Kafka's default partitioner (murmur2 of the key, sign bit cleared), always called with the tenant alone. */
export function partitionOf(tenant: TenantId, partitions: number): number {
  return (murmur2(tenant) & 0x7fffffff) % partitions;
}

/** MurmurHash2 as Kafka's clients compute it (org.apache.kafka.common.utils.Utils#murmur2), of ASCII: its characters are its bytes. */
function murmur2(data: string): number {
  const m = 0x5bd1e995;
  const byte = (at: number) => data.charCodeAt(at);
  const word = (at: number) => byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16) | (byte(at + 3) << 24);
  let h = 0x9747b28c ^ data.length;
  const whole = data.length & ~3;
  for (let i = 0; i < whole; i += 4) {
    let k = Math.imul(word(i), m);
    k = Math.imul(k ^ (k >>> 24), m);
    h = Math.imul(h, m) ^ k;
  }
  const rest = data.length - whole;
  if (rest > 0) {
    for (let i = rest - 1; i >= 0; i--) h ^= byte(whole + i) << (8 * i);
    h = Math.imul(h, m);
  }
  h = Math.imul(h ^ (h >>> 13), m);
  return h ^ (h >>> 15);
}
