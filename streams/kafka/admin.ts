/** Topics, principals and ACLs from the tables: default-deny, literal names, least rights. Every call may be repeated. */
import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { alterUserScramCredentialsV0, Connection } from '@platformatic/kafka';
import kafkajs, { type AclEntry, type Admin, type Kafka } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import { AUDIT_TOPIC, auditPrincipal, auditTopic, DEFAULT_PARTITIONS, PRINCIPALS, type Principal, RUNTIME_GROUP, TOPICS, type Topic } from '#schemas/topics.ts';
import type { KafkaSettings } from './client.ts';

const { AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes } = kafkajs;
const SCRAM_ITERATIONS = 8_192;
const SHA_512 = 2;
const VISIBLE_MS = 20_000;

type TopicSettings = { readonly cleanup: string; readonly retentionMs: number | undefined; readonly maxMessageBytes: number };
type Created = { readonly topic: string; readonly partitions: number; readonly settings: TopicSettings };

function config({ cleanup, retentionMs, maxMessageBytes }: TopicSettings): { name: string; value: string }[] {
  return Object.entries({
    'cleanup.policy': cleanup,
    'retention.ms': String(retentionMs ?? -1),
    'max.message.bytes': String(maxMessageBytes),
    'message.timestamp.type': 'LogAppendTime',
  }).map(([name, value]) => ({ name, value }));
}

async function createTopics(admin: Admin, wanted: readonly Created[]): Promise<number> {
  const there = new Set(await admin.listTopics());
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

/** How many partitions the co-partitioned topics have that `principal` may see; counts that differ are refused. */
export async function partitionCount(admin: Pick<Admin, 'fetchTopicMetadata'>, principal: Principal): Promise<number> {
  const visible = (topic: Topic) => [...TOPICS[topic].readers, ...TOPICS[topic].writers].some((each) => each === principal);
  const names = (Object.keys(TOPICS) as Topic[]).filter((topic) => TOPICS[topic].partitions === 'co' && visible(topic));
  const { topics } = await admin.fetchTopicMetadata({ topics: names });
  const counts = new Set(topics.map(({ partitions }) => partitions.length));
  const [count] = counts;
  if (counts.size === 1 && count) return count;
  throw new EvenkeelError(
    'partitions_changed',
    `co-partitioned topics have different counts: ${topics.map((t) => `${t.name} ${t.partitions.length}`).join(', ')}`,
  );
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
  const idempotent = PRINCIPALS.map((principal) => ({ principal, type: AclResourceTypes.CLUSTER, name: 'kafka-cluster', operations: [IDEMPOTENT_WRITE] }));
  return [...topics, ...transactions, group, ...idempotent];
}

function tenantRights(tenant: TenantId): readonly Right[] {
  const name = auditTopic(tenant);
  return [
    { principal: 'auditor', type: AclResourceTypes.TOPIC, name, operations: [WRITE, DESCRIBE] },
    { principal: auditPrincipal(tenant), type: AclResourceTypes.TOPIC, name, operations: [READ, DESCRIBE] },
    // A plain client reads with a group, its own alone.
    { principal: auditPrincipal(tenant), type: AclResourceTypes.GROUP, name: auditPrincipal(tenant), operations: [READ, DESCRIBE] },
  ];
}

export type Provisioned = { readonly topics: number; readonly acls: number; readonly principals: number };
export type Provisioning = {
  readonly kafka: Kafka;
  readonly settings: KafkaSettings;
  /** Passwords by principal. */
  readonly passwords: Readonly<Record<string, string>>;
  readonly tenants: readonly TenantId[];
  readonly partitions?: number;
};

/** Creates what is missing. The audit topics and principals of `tenants` are included. */
export async function provision({ kafka, settings, passwords, tenants, partitions = DEFAULT_PARTITIONS }: Provisioning): Promise<Provisioned> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const shared = (Object.keys(TOPICS) as Topic[]).map((topic) => ({
      topic,
      partitions: TOPICS[topic].partitions === 'co' ? partitions : 1,
      settings: TOPICS[topic],
    }));
    const audit = tenants.map((tenant) => ({ topic: auditTopic(tenant), partitions: 1, settings: AUDIT_TOPIC }));
    const topics = await createTopics(admin, [...shared, ...audit]);
    const acl = [...serviceRights(partitions), ...tenants.flatMap(tenantRights)].flatMap(entries);
    await admin.createAcls({ acl });
    await setPasswords(settings, passwords);
    return { topics, acls: acl.length, principals: Object.keys(passwords).length };
  } finally {
    await admin.disconnect();
  }
}

/** kafkajs cannot administer SCRAM users. */
async function setPasswords(settings: KafkaSettings, passwords: Readonly<Record<string, string>>): Promise<void> {
  const [host, port] = (settings.brokers[0] ?? '').split(':');
  const sasl =
    settings.username === undefined ? {} : { sasl: { mechanism: 'SCRAM-SHA-512' as const, username: settings.username, password: settings.password ?? '' } };
  const connection = new Connection('evenkeel-provision', { ...sasl, ...(settings.tls ? { tls: {} } : {}) });
  await connection.connect(host ?? '127.0.0.1', Number(port));
  try {
    const upserts = Object.entries(passwords).map(([name, password]) => {
      const salt = randomBytes(32);
      const saltedPassword = pbkdf2Sync(password, salt, SCRAM_ITERATIONS, 64, 'sha512');
      return { name, mechanism: SHA_512, iterations: SCRAM_ITERATIONS, salt, saltedPassword };
    });
    await alterUserScramCredentialsV0.api.async(connection, [], upserts);
  } finally {
    await connection.close();
  }
}
