/** A runtime on a machine of its own, without the disk of the one before it: invariants 3 and 5 over real processes, rights and topics. */
import { afterEach, expect, inject, test } from 'vitest';
import { createCodec } from '#schemas/codec.ts';
import { tenantId } from '#schemas/ids.ts';
import { DEFAULT_PARTITIONS, partitionOf } from '#schemas/topics.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { client, until } from '../contract/kafka-under-test.ts';
import { ServiceProcess } from './service-process.ts';

const kafka = inject('kafka');
const TENANT = tenantId('snapshots');
const PARTITION = partitionOf(TENANT, DEFAULT_PARTITIONS);
const runtimes: ServiceProcess[] = [];
afterEach(async () => {
  await Promise.all(runtimes.splice(0).map((each) => each.remove()));
});

async function started(): Promise<ServiceProcess> {
  const made = new ServiceProcess('runtime', kafka, { EVENKEEL_SNAPSHOT_EVERY: '500' });
  runtimes.push(made);
  await made.start();
  await until(() => made.ready(), 30_000);
  return made;
}
async function metric(runtime: ServiceProcess, name: string): Promise<number> {
  const { body } = await runtime.get('/metrics');
  const line = body.split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line?.slice(name.length) ?? 0);
}
const state = async (runtime: ServiceProcess) => JSON.parse((await runtime.get(`/state?partition=${PARTITION}`)).body) as Record<string, unknown>;

/** Commands of one tenant: its creation first, then each suspends or resumes it, one event a command. */
async function commands(from: number, to: number): Promise<void> {
  const codec = createCodec(await loadSchemas(kafka.registryUrl));
  const out = createSender(client('operator'));
  const command = (at: number) => {
    const of = { tenantId: TENANT, commandId: `snapshot-${at}`, by: 'test', role: 'operator' as const };
    if (at === 0) return codec.encode('create_tenant', { ...of, changes: '{}' });
    return codec.encode(at % 2 === 1 ? 'suspend_tenant' : 'resume_tenant', of);
  };
  const records = Array.from({ length: to - from }, (_, at) => ({ topic: 'tenant.commands', partition: PARTITION, key: TENANT, value: command(from + at) }));
  await out.send(records);
  await out.close();
}

test('a runtime without a disk loads the snapshot of the one before it, and has its state', async () => {
  const first = await started();
  // Each command leaves a mark and when to forget it.
  const handled = async () => (((await state(first)).rows as number) - before) / 2;
  const before = (await state(first)).rows as number;
  await commands(0, 1_500);
  // Of this partition: what other tests have left in the others is snapshotted too.
  await until(async () => (await metric(first, `evenkeel_snapshot_bytes{partition="${PARTITION}"}`)) > 0, 30_000);
  await until(async () => (await handled()) >= 1_500, 30_000);
  // What no snapshot holds.
  await commands(1_500, 1_520);
  await until(async () => (await handled()) >= 1_520, 30_000);
  const { hash, rows } = await state(first);
  await first.end();
  const second = await started();
  expect(await state(second)).toMatchObject({ hash, rows });
  expect(await metric(second, 'evenkeel_restores_total{source="snapshot"}')).toBeGreaterThan(0);
  expect(await metric(second, `evenkeel_restore_events{partition="${PARTITION}"}`)).toBeGreaterThanOrEqual(20);
  expect(await metric(second, `evenkeel_restore_events{partition="${PARTITION}"}`)).toBeLessThan(1_520);
  await second.end();
  // Its own store now.
  await second.start();
  await until(() => second.ready(), 30_000);
  expect(await state(second)).toMatchObject({ hash, rows });
  expect(await metric(second, 'evenkeel_restores_total{source="store"}')).toBeGreaterThan(0);
});
