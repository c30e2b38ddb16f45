/** Topics, principals, ACLs and quotas from the tables: default-deny, literal names, least rights. Every call may be repeated. */
import kafkajs, { type AclEntry, type Admin, type Kafka } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import {
  AUDIT_TOPIC,
  auditPrincipal,
  auditTopic,
  DEFAULT_PARTITIONS,
  PRINCIPALS,
  type Principal,
  producerPrincipal,
  QUOTAS,
  RUNTIME_GROUP,
  TENANT_QUOTAS,
  TOPICS,
  type Topic,
} from '#schemas/topics.ts';
import { type KafkaSettings, withAdmin } from './client.ts';
import { type QuotaOf, setPrincipals } from './principals.ts';

const { AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes } = kafkajs;
const VISIBLE_MS = 20_000;

type TopicSettings = { readonly cleanup: string; readonly retentionMs: number | undefined; readonly maxMessageBytes: number; readonly segmentBytes?: number };
type Created = { readonly topic: string; readonly partitions: number; readonly settings: TopicSettings };

function config({ cleanup, retentionMs, maxMessageBytes, segmentBytes }: TopicSettings): { name: string; value: string }[] {
  return Object.entries({
    'cleanup.policy': cleanup,
    'retention.ms': String(retentionMs ?? -1),
    'max.message.bytes': String(maxMessageBytes),
    'message.timestamp.type': 'LogAppendTime',
    // A foreign producer may compress with what kafkajs cannot read (lz4, snappy, zstd), and would stop the group: the broker unpacks it.
    'compression.type': 'uncompressed',
    ...(segmentBytes === undefined ? {} : { 'segment.bytes': String(segmentBytes) }),
  }).map(([name, value]) => ({ name, value }));
}

async function createTopics(admin: Admin, there: ReadonlySet<string>, wanted: readonly Created[]): Promise<number> {
  const missing = wanted.filter(({ topic }) => !there.has(topic));
  if (missing.length === 0) return 0;
  // waitForLeaders throws UNKNOWN_TOPIC_OR_PARTITION on KRaft: metadata is polled instead.
  await admin.createTopics({
    waitForLeaders: false,
    topics: missing.map(({ topic, partitions, settings }) => ({ topic, numPartitions: partitions, replicationFactor: -1, configEntries: config(settings) })),
  });
  for (const end = Date.now() + VISIBLE_MS; Date.now() < end; ) {
    const now = new Set(await admin.listTopics());
    if (missing.every(({ topic }) => now.has(topic))) return missing.length;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new EvenkeelError('unavailable', `topics were created and are not visible: ${missing.map(({ topic }) => topic).join(', ')}`);
}

const coPartitioned = (Object.keys(TOPICS) as Topic[]).filter((topic) => TOPICS[topic].partitions === 'co');

/** How many partitions the co-partitioned topics have that `principal` may see. @throws EvenkeelError `partitions_changed` when they differ */
export async function partitionCount(admin: Pick<Admin, 'fetchTopicMetadata'>, principal: Principal): Promise<number> {
  const visible = (topic: Topic) => [...TOPICS[topic].readers, ...TOPICS[topic].writers].some((each) => each === principal);
  return commonCount(admin, coPartitioned.filter(visible));
}

async function commonCount(admin: Pick<Admin, 'fetchTopicMetadata'>, names: readonly string[]): Promise<number> {
  const { topics } = await admin.fetchTopicMetadata({ topics: [...names] });
  const counts = new Set(topics.map(({ partitions }) => partitions.length));
  const [count] = counts;
  if (counts.size === 1 && count) return count;
  const found = topics.map(({ name, partitions }) => `${name} ${partitions.length}`).join(', ');
  throw new EvenkeelError('partitions_changed', `co-partitioned topics have different counts: ${found}`);
}

type Right = { readonly principal: string; readonly type: number; readonly name: string; readonly operations: readonly number[] };

function entries({ principal, type, name, operations }: Right): AclEntry[] {
  return operations.map((operation) => ({
    resourceType: type,
    resourceName: name,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: `User:${principal}`,
    host: '*',
    operation,
    permissionType: AclPermissionTypes.ALLOW,
  }));
}

const { READ, WRITE, DESCRIBE, IDEMPOTENT_WRITE } = AclOperationTypes;

function serviceRights(partitions: number): readonly Right[] {
  const topics = (Object.keys(TOPICS) as Topic[]).flatMap((name) => [
    ...TOPICS[name].writers.map((principal) => ({ principal, type: AclResourceTypes.TOPIC, name, operations: [WRITE, DESCRIBE] })),
    ...TOPICS[name].readers.map((principal) => ({ principal, type: AclResourceTypes.TOPIC, name, operations: [READ, DESCRIBE] })),
  ]);
  const transactions = Array.from({ length: partitions }, (_, partition) => ({
    principal: 'runtime',
    type: AclResourceTypes.TRANSACTIONAL_ID,
    name: `${RUNTIME_GROUP}-${partition}`,
    operations: [WRITE, DESCRIBE],
  }));
  const group = { principal: 'runtime', type: AclResourceTypes.GROUP, name: RUNTIME_GROUP, operations: [READ, DESCRIBE] };
  // Where a partition's owner can be asked what a request waits for.
  const owners = { principal: 'gateway', type: AclResourceTypes.GROUP, name: RUNTIME_GROUP, operations: [DESCRIBE] };
  const idempotent = PRINCIPALS.map((principal) => ({ principal, type: AclResourceTypes.CLUSTER, name: 'kafka-cluster', operations: [IDEMPOTENT_WRITE] }));
  return [...topics, ...transactions, group, owners, ...idempotent];
}

function tenantRights(tenant: TenantId): readonly Right[] {
  const name = auditTopic(tenant);
  return [
    { principal: 'auditor', type: AclResourceTypes.TOPIC, name, operations: [WRITE, DESCRIBE] },
    { principal: auditPrincipal(tenant), type: AclResourceTypes.TOPIC, name, operations: [READ, DESCRIBE] },
    // A plain client reads with a group, its own alone.
    { principal: auditPrincipal(tenant), type: AclResourceTypes.GROUP, name: auditPrincipal(tenant), operations: [READ, DESCRIBE] },
    { principal: producerPrincipal(tenant), type: AclResourceTypes.TOPIC, name: 'support.requests', operations: [WRITE, DESCRIBE] },
  ];
}

const tenantQuotas = (tenant: TenantId): readonly QuotaOf[] => [
  [producerPrincipal(tenant), TENANT_QUOTAS.producer],
  [auditPrincipal(tenant), TENANT_QUOTAS.auditor],
];

export type Provisioned = { readonly topics: number; readonly acls: number; readonly principals: number; readonly quotas: number };
type Target = { readonly kafka: Kafka; readonly settings: KafkaSettings };
export type Provisioning = Target & {
  /** Passwords by principal. */
  readonly passwords: Readonly<Record<string, string>>;
  readonly tenants: readonly TenantId[];
  /** For topics that are not there yet; those that are keep theirs. */
  readonly partitions?: number;
};

/**
 * Creates what is missing. The audit topics and principals of `tenants` are included; quotas are set as the tables say.
 * @throws EvenkeelError `partitions_changed` when the co-partitioned topics that exist have different counts
 */
export function provision({ passwords, tenants, partitions = DEFAULT_PARTITIONS, ...target }: Provisioning): Promise<Provisioned> {
  return administrate(target, passwords, async (admin, there) => {
    const existing = coPartitioned.filter((topic) => there.has(topic));
    const count = existing.length > 0 ? await commonCount(admin, existing) : partitions;
    const shared = (Object.keys(TOPICS) as Topic[]).map((topic) => ({
      topic,
      partitions: TOPICS[topic].partitions === 'co' ? count : 1,
      settings: TOPICS[topic],
    }));
    return {
      topics: [...shared, ...tenants.map(audit)],
      rights: [...serviceRights(count), ...tenants.flatMap(tenantRights)],
      quotas: [...PRINCIPALS.map((principal) => [principal, QUOTAS[principal]] as const), ...tenants.flatMap(tenantQuotas)],
    };
  });
}

/** One tenant's own: its audit topic, its auditor and producer principals as far as there are `passwords`, their rights and quotas. */
export function provisionTenant({
  tenant,
  passwords,
  ...target
}: Target & Pick<Provisioning, 'passwords'> & { readonly tenant: TenantId }): Promise<Provisioned> {
  const own = Object.fromEntries(Object.entries(passwords).filter(([name]) => name === auditPrincipal(tenant) || name === producerPrincipal(tenant)));
  return administrate(target, own, async () => ({ topics: [audit(tenant)], rights: tenantRights(tenant), quotas: tenantQuotas(tenant) }));
}

const audit = (tenant: TenantId): Created => ({ topic: auditTopic(tenant), partitions: 1, settings: AUDIT_TOPIC });

type Plan = { readonly topics: readonly Created[]; readonly rights: readonly Right[]; readonly quotas: readonly QuotaOf[] };

async function administrate(
  { kafka, settings }: Target,
  passwords: Readonly<Record<string, string>>,
  plan: (admin: Admin, there: ReadonlySet<string>) => Promise<Plan>,
): Promise<Provisioned> {
  return withAdmin(kafka, async (admin) => {
    const there = new Set(await admin.listTopics());
    const { topics, rights, quotas } = await plan(admin, there);
    const acl = rights.flatMap(entries);
    const [created] = await Promise.all([createTopics(admin, there, topics), admin.createAcls({ acl }), setPrincipals(settings, passwords, quotas)]);
    return { topics: created, acls: acl.length, principals: Object.keys(passwords).length, quotas: quotas.length };
  });
}
