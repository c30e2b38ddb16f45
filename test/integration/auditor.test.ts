/** The auditor on a real broker under real ACLs: a missing topic delays nobody, and each tenant's auditor reads its own and nothing else. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, inject, test } from 'vitest';
import { createCodec } from '#schemas/codec.ts';
import { type TenantId, tenantId } from '#schemas/ids.ts';
import { auditPrincipal, auditTopic } from '#schemas/topics.ts';
import { PartitionCopier } from '#services/auditor/copy.ts';
import { provision } from '#streams/kafka/admin.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { type ChainReport, ChainVerifier } from '#streams/support/audit.ts';
import { TEST_PASSWORDS } from '#test/start-kafka.ts';

const { brokers, registryUrl, admin } = inject('kafka');
const HISTORY = 'auditor.history';
const [ACME, GLOBEX, LATE] = ['acme', 'globex', 'latecomer'].map(tenantId) as [TenantId, TenantId, TenantId];
const passwords: Record<string, string> = { ...TEST_PASSWORDS, [auditPrincipal(LATE)]: 'late-secret' };
const as = (username: string) => createKafka({ brokers, username, password: passwords[username] ?? '', clientId: username });
const administrator = createKafka({ brokers, ...admin, clientId: 'auditor-test' });
const quiet = () => undefined;

const root = mkdtempSync(join(tmpdir(), 'evenkeel-auditor-'));
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function createHistory(): Promise<void> {
  const control = administrator.admin();
  await control.connect();
  await control.createTopics({ waitForLeaders: false, topics: [{ topic: HISTORY, numPartitions: 1, replicationFactor: -1 }] });
  while (!(await control.listTopics()).includes(HISTORY)) await new Promise((resolve) => setTimeout(resolve, 50));
  await control.disconnect();
}

async function read(tenant: TenantId, principal: string): Promise<ChainReport> {
  const codec = createCodec(await loadSchemas(registryUrl));
  const reader = new Reader(as(principal), quiet);
  try {
    const verifier = new ChainVerifier(tenant);
    for await (const { records } of reader.read(auditTopic(tenant), 0, 0)) {
      for (const { value } of records) {
        const decoded = codec.decode(value as Uint8Array);
        if (decoded.name === 'audit_entry') verifier.add(decoded.value);
      }
    }
    return verifier.report();
  } finally {
    await reader.close();
  }
}

test('copies for those whose topic is there while another has none, goes on after a restart, and catches up the late one', async () => {
  await createHistory();
  const codec = createCodec(await loadSchemas(registryUrl));
  const writer = createSender(administrator);
  closers.push(() => writer.close());
  let number = 0;
  const transact = async (...tenants: readonly TenantId[]) => {
    number++;
    const batch = codec.encode('batch', { number, events: tenants.length, inputs: [], time: number, version: 1, partitions: 1 });
    const events = tenants.map((tenant, at) => codec.encode('tenant_suspended', { tenant, command: `k${number}-${at}`, by: 'test', digest: '' }));
    await writer.send([batch, ...events].map((value) => ({ topic: HISTORY, partition: 0, key: 'k', value })));
  };
  const auditor = as('auditor');
  const [log, again] = [new Reader(administrator, quiet), new Reader(administrator, quiet)];
  closers.push(
    () => log.close(),
    () => again.close(),
  );
  const start = async () => {
    const shared = { topic: HISTORY, codec, log, again, stores: rocksStores(root), connect: () => createSender(auditor) };
    const copier = new PartitionCopier({ partition: 0, partitions: 1, ...shared, retryMs: 200 });
    await copier.start();
    closers.push(() => copier.close());
    await copier.ready;
    return copier;
  };
  const copied = (tenant: TenantId, count: number) =>
    expect.poll(async () => (await read(tenant, auditPrincipal(tenant))).count, { timeout: 10_000, interval: 100 }).toBe(count);

  for (let at = 0; at < 20; at++) await transact(ACME, GLOBEX, LATE, ACME);
  const first = await start();
  for (let at = 0; at < 20; at++) await transact(ACME, LATE);
  await copied(ACME, 60);
  await copied(GLOBEX, 20);
  expect(first.failing).toBe(1);
  await closers.pop()?.();

  const second = await start();
  await transact(GLOBEX);
  await copied(GLOBEX, 21);
  const settings = { brokers, ...admin, clientId: 'auditor-test' };
  await provision({ kafka: administrator, settings, passwords, tenants: [LATE] });
  await copied(LATE, 40);
  await expect.poll(() => second.failing).toBe(0);
  for (const tenant of [ACME, GLOBEX, LATE]) expect(await read(tenant, auditPrincipal(tenant))).toMatchObject({ first: 1, repeated: 0, problems: [] });
  await expect(read(ACME, auditPrincipal(GLOBEX))).rejects.toMatchObject({ type: 'TOPIC_AUTHORIZATION_FAILED' });
});
