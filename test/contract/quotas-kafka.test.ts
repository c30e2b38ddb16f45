/** Byte quotas by principal on a real broker: described back as the tables say, and one tenant's flood is delayed while another's is not. */
import { createRequire } from 'node:module';
import { ClientQuotaMatchTypes, Connection, describeClientQuotasV0 } from '@platformatic/kafka';
import { afterEach, expect, inject, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { PRINCIPALS, QUOTAS, TENANT_QUOTAS } from '#schemas/topics.ts';
import { createCluster, createKafka } from '#streams/kafka/client.ts';
import { fetch } from '#streams/kafka/fetch.ts';
import { createSender, type RecordSender } from '#streams/kafka/producer.ts';
import { TEST_PASSWORDS } from '#test/start-kafka.ts';

const { brokers, admin } = inject('kafka');
const TOPIC_AUTHORIZATION_FAILED = 29;
const [acme, globex] = ['acme', 'globex'] as TenantId[] as [TenantId, TenantId];

type Queue = { readonly clientId: string; maybeThrottle(ms: number | null): void };
const { prototype } = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as { prototype: Queue };
const original = prototype.maybeThrottle;
const stop: (() => Promise<void>)[] = [];
afterEach(async () => {
  prototype.maybeThrottle = original;
  for (const each of stop.splice(0)) await each();
});

/** The throttle times that the broker's replies name, by client. */
function throttles(): (clientId: string) => readonly number[] {
  const seen: { readonly clientId: string; readonly ms: number }[] = [];
  prototype.maybeThrottle = function (this: Queue, ms) {
    seen.push({ clientId: this.clientId, ms: ms ?? 0 });
    original.call(this, ms);
  };
  return (clientId) => seen.filter((each) => each.clientId === clientId).map(({ ms }) => ms);
}

type Name = keyof typeof TEST_PASSWORDS;
const kafkaAs = (principal: Name) => createKafka({ brokers, username: principal, password: TEST_PASSWORDS[principal], clientId: principal });
function sender(principal: Name): RecordSender {
  const made = createSender(kafkaAs(principal));
  stop.push(() => made.close());
  return made;
}

const record = (tenant: TenantId, partition: number, size: number) => ({ topic: 'support.requests', partition, key: tenant, value: Buffer.alloc(size) });

test('the broker holds the quotas of the tables', async () => {
  const [host = '', port] = (brokers[0] as string).split(':');
  const connection = new Connection('quotas-test', { sasl: { mechanism: 'SCRAM-SHA-512', ...admin } });
  await connection.connect(host, Number(port));
  const { entries } = await describeClientQuotasV0.api.async(connection, [{ entityType: 'user', matchType: ClientQuotaMatchTypes.ANY }], false);
  await connection.close();
  const held = new Map(entries?.map(({ entity, values }) => [entity[0]?.entityName, Object.fromEntries(values.map(({ key, value }) => [key, value]))]));
  for (const principal of PRINCIPALS) expect(held.get(principal) ?? {}, principal).toEqual(QUOTAS[principal]);
  for (const tenant of ['acme', 'globex']) {
    expect(held.get(`producer-${tenant}`)).toEqual(TENANT_QUOTAS.producer);
    expect(held.get(`auditor-${tenant}`)).toEqual(TENANT_QUOTAS.auditor);
  }
});

test('a tenant that floods support.requests is told to wait; another tenant, and the gateway, on the same partition are not', async () => {
  const throttled = throttles();
  const [noisy, quiet, gateway] = [sender('producer-acme'), sender('producer-globex'), sender('gateway')];
  // The broker looks at a window of ten seconds: more than ten seconds' worth at once, in what one batch may hold.
  const size = 200_000;
  const count = Math.ceil((12 * (TENANT_QUOTAS.producer.producer_byte_rate ?? 0)) / size);
  for (let sent = 0; sent < count && Math.max(0, ...throttled('producer-acme')) === 0; sent++) await noisy.send([record(acme, 0, size)]);
  expect(Math.max(...throttled('producer-acme'))).toBeGreaterThan(0);
  const waits = noisy.send([record(acme, 0, size)]);
  for (let times = 0; times < 10; times++) await Promise.all([quiet.send([record(globex, 0, 1_000)]), gateway.send([record(globex, 0, 1_000)])]);
  expect(throttled('producer-globex').length).toBeGreaterThan(10);
  expect(throttled('producer-globex').every((ms) => ms === 0)).toBe(true);
  expect(throttled('gateway').every((ms) => ms === 0)).toBe(true);
  // Delayed, not lost.
  expect(await waits).toHaveLength(1);
});

test('a tenant’s producer writes support.requests and nothing else, and reads nothing', async () => {
  const own = sender('producer-acme');
  for (const topic of ['tenant.commands', 'tenant.events', 'audit.acme']) {
    await expect(own.send([{ ...record(acme, 0, 10), topic }])).rejects.toMatchObject({ code: 'forbidden' });
  }
  const cluster = createCluster(kafkaAs('producer-acme'));
  stop.push(() => cluster.disconnect());
  await cluster.connect();
  await cluster.addMultipleTargetTopics(['support.requests']);
  const [leader = ''] = Object.keys(cluster.findLeaderForPartitions('support.requests', [0]));
  const [read] = await fetch(await cluster.findBroker({ nodeId: leader }), [{ topic: 'support.requests', partition: 0, offset: 0 }], 0);
  expect(read?.code).toBe(TOPIC_AUTHORIZATION_FAILED);
});
