/**
 * `node test/chaos/check-main.ts FILE`: reads every topic and judges, as a process of its own; the platform may run or not. FILE is JSON with
 * the cluster's address, the master key (ids are keyed digests), the cap and what clients were told. Prints one object; exits 1 on a problem.
 */
import { readFileSync } from 'node:fs';
import type { Admin } from 'kafkajs';
import { requestId, tenantSecret } from '#schemas/digest.ts';
import type { TenantId } from '#schemas/ids.ts';
import { partitionOf, RUNTIME_GROUP } from '#schemas/topics.ts';
import { judge } from './check.ts';
import type { Acknowledged, Evidence } from './evidence.ts';
import { type Cluster, loadTypes, plainClient, readTopics } from './read.ts';

export type CheckFile = {
  readonly cluster: Cluster;
  readonly masterKey: string;
  readonly tenants: readonly string[];
  readonly cap: number;
  readonly acknowledged: readonly Acknowledged[];
};

const CONSUMED = ['support.requests', 'tenant.commands'];
const TOPICS = [...CONSUMED, 'tenant.events', 'support.steps', 'support.results', 'support.dead-letters'];

async function evidenceOf({ cluster, masterKey, tenants, cap, acknowledged }: CheckFile): Promise<Evidence> {
  const types = await loadTypes(cluster.registryUrl);
  const kafka = plainClient(cluster, 'chaos-check');
  const admin = kafka.admin();
  await admin.connect();
  try {
    const before = await groupOffsets(admin);
    const topics = await readTopics(kafka, admin, [...TOPICS, ...tenants.map((tenant) => `audit.${tenant}`)], types);
    const after = await groupOffsets(admin);
    const committed = Object.fromEntries([...after].map(([at, offset]) => [at, { before: before.get(at) ?? 0, after: offset }]));
    const partitions = (await admin.fetchTopicMetadata({ topics: ['tenant.events'] })).topics[0]?.partitions.length ?? 0;
    const secret = (tenant: string) => tenantSecret(Buffer.from(masterKey, 'hex'), tenant as TenantId);
    const idOf = (tenant: string, person: string, sent: string) => requestId(secret(tenant), person, sent);
    return {
      partitions,
      cap,
      topics,
      committed,
      acknowledged,
      idOf,
      partitionOf: (tenant) => partitionOf(tenant as TenantId, partitions),
    };
  } finally {
    await admin.disconnect();
  }
}

async function groupOffsets(admin: Admin): Promise<ReadonlyMap<string, number>> {
  const found = await admin.fetchOffsets({ groupId: RUNTIME_GROUP, topics: CONSUMED });
  return new Map(
    found.flatMap(({ topic, partitions }) => partitions.map(({ partition, offset }) => [`${topic}/${partition}`, Math.max(0, Number(offset))] as const)),
  );
}

const file = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as CheckFile;
const judged = judge(await evidenceOf(file));
console.log(JSON.stringify(judged));
process.exitCode = judged.problems.length === 0 ? 0 : 1;
