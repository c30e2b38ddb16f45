/** Provisioning from the tables on a real broker and registry: repeatable, least rights, incompatible schemas refused. */
import { expect, inject, test } from 'vitest';
import { createCodec } from '#schemas/codec.ts';
import type { TenantId } from '#schemas/ids.ts';
import { SHAPES, type ShapeName } from '#schemas/records.ts';
import { auditTopic, DEFAULT_PARTITIONS } from '#schemas/topics.ts';
import { partitionCount, provision, provisionTenant } from '#streams/kafka/admin.ts';
import { createKafka, withAdmin } from '#streams/kafka/client.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas, registerSchema, registerSchemas } from '#streams/kafka/registry.ts';
import { TEST_PASSWORDS } from '#test/start-kafka.ts';

const { brokers, admin, registryUrl } = inject('kafka');
const settings = { brokers, ...admin, clientId: 'provision-test' };
const as = (username: string, password: string) => createKafka({ brokers, username, password, clientId: username });

test('provisioning again changes nothing, is quick, and keeps the number of partitions that is there', async () => {
  const started = performance.now();
  const done = await provision({ kafka: createKafka(settings), settings, passwords: TEST_PASSWORDS, tenants: [], partitions: 3 });
  expect(done.topics).toBe(0);
  expect(performance.now() - started).toBeLessThan(1_500);
  const administrator = as('runtime', TEST_PASSWORDS.runtime).admin();
  await administrator.connect();
  expect(await partitionCount(administrator, 'runtime')).toBe(DEFAULT_PARTITIONS);
  await administrator.disconnect();
});

test('a tenant’s auditor reads its own audit topic and no other; only the auditor writes it', async () => {
  const tenant = `late-${process.pid}` as TenantId;
  await provisionTenant({ kafka: createKafka(settings), settings, tenant, passwords: { [`auditor-${tenant}`]: 'late-secret' } });
  const [writer, stranger] = [createSender(as('auditor', TEST_PASSWORDS.auditor)), createSender(as('gateway', TEST_PASSWORDS.gateway))];
  const record = { topic: auditTopic(tenant), partition: 0, key: '1', value: Buffer.from('entry') };
  await writer.send([record]);
  await expect(stranger.send([record])).rejects.toMatchObject({ code: 'forbidden' });
  const reader = new Reader(as(`auditor-${tenant}`, 'late-secret'), () => undefined);
  for await (const { records } of reader.read(auditTopic(tenant), 0, 0)) expect(records.map(({ key }) => key)).toEqual(['1']);
  for (const topic of [auditTopic('acme' as TenantId), 'tenant.events']) {
    await expect(reader.read(topic, 0, 0).next()).rejects.toMatchObject({ type: 'TOPIC_AUTHORIZATION_FAILED' });
  }
  await Promise.all([writer.close(), stranger.close(), reader.close()]);
});

// A benchmark's first record came before the broker knew its principal: refused for good, and nothing tried it again.
test('whoever has a new password can log in at once', async () => {
  for (let at = 0; at < 20; at++) {
    const [name, password] = ['producer-anew', `secret-${at}`];
    await provisionTenant({ kafka: createKafka(settings), settings, tenant: 'anew' as TenantId, passwords: { [name]: password } });
    await withAdmin(as(name, password), async (administrator) => administrator.listTopics());
  }
});

test('every shape is registered, and what one encodes another decodes', async () => {
  const registered = await registerSchemas(registryUrl);
  expect(registered.map(({ name }) => name)).toEqual(Object.keys(SHAPES));
  const [writer, reader] = [createCodec(registered), createCodec(await loadSchemas(registryUrl))];
  const command = { tenantId: 'acme' as TenantId, commandId: 'c1', by: 'x', role: 'operator' as const };
  expect(reader.decode(writer.encode('suspend_tenant', command))).toEqual({ name: 'suspend_tenant', value: command });
});

test('every version of a subject is loaded, not the newest alone: what the older one wrote is still in the log', async () => {
  const name: ShapeName = 'alert_cleared';
  const { fields, ...rest } = SHAPES[name].avro as { fields: readonly object[] };
  const later = { ...rest, fields: [...fields, { name: `since_${process.pid}`, type: 'long', default: 0 }] };
  const { id } = await registerSchema(registryUrl, name, later as never);
  const ids = (await loadSchemas(registryUrl)).filter((each) => each.name === name).map((each) => each.id);
  expect(ids.length).toBeGreaterThan(1);
  expect(ids).toContain(id);
  expect(new Set(ids).size).toBe(ids.length);
});

test('an incompatible change is refused, and the field named', async () => {
  const name: ShapeName = 'hold_settled';
  const { fields, ...rest } = SHAPES[name].avro as { fields: readonly { name: string; type: unknown }[] };
  const changed = {
    ...rest,
    fields: [...fields.map((field) => (field.name === 'held' ? { ...field, type: 'string' } : field)), { name: 'must', type: 'long' }],
  };
  await expect(registerSchema(registryUrl, name, changed as never)).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringMatching(/hold_settled .* in (held, must|must, held):/),
  });
  const optional = { ...rest, fields: [...fields, { name: 'note', type: ['null', 'string'], default: null }] };
  await expect(registerSchema(registryUrl, `${name}_probe`, { ...optional, name: `${name}_probe` } as never)).resolves.toMatchObject({ name: `${name}_probe` });
});
