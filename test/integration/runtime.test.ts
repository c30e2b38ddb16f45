/** Runtimes as processes on a real broker: what a rebalance keeps, how soon a partition has an owner again, and how a wedged one ends. */
import { afterEach, expect, inject, test } from 'vitest';
import { createCodec } from '#schemas/codec.ts';
import { DEFAULT_PARTITIONS, RUNTIME_GROUP } from '#schemas/topics.ts';
import { EXIT } from '#services/exit.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { client, until } from '../contract/kafka-under-test.ts';
import { ServiceProcess } from './service-process.ts';

const kafka = inject('kafka');
const ALL = Array.from({ length: DEFAULT_PARTITIONS }, (_, partition) => partition);
const runtimes: ServiceProcess[] = [];
afterEach(async () => {
  signalBrokers('SIGCONT');
  await Promise.all(runtimes.splice(0).map((each) => each.remove()));
});
function runtime(env: Readonly<Record<string, string>> = {}): ServiceProcess {
  const made = new ServiceProcess('runtime', kafka, env);
  runtimes.push(made);
  return made;
}
const sorted = (partitions: readonly number[]) => [...partitions].sort((a, b) => a - b);
function signalBrokers(signal: NodeJS.Signals): void {
  for (const pid of kafka.pids) process.kill(pid, signal);
}

/** Commands for one partition, as a flood: transactions follow one another for a while. */
async function floodCommands(count: number): Promise<void> {
  const codec = createCodec(await loadSchemas(kafka.registryUrl));
  const out = createSender(client('operator'));
  const command = (at: number) =>
    codec.encode('suspend_tenant', { tenantId: 'nobody' as never, commandId: `flood-${Date.now()}-${at}`, by: 'test', role: 'operator' });
  await out.send(Array.from({ length: count }, (_, at) => ({ topic: 'tenant.commands', partition: 0, key: 'nobody', value: command(at) })));
  await out.close();
}

test('a rebalance opens what is new to a runtime and nothing that it keeps; a clean stop hands over at once', async () => {
  const [first, second] = [runtime(), runtime()];
  await first.start();
  await until(async () => first.opened.length === DEFAULT_PARTITIONS && (await first.ready()), 30_000);
  expect(sorted(first.opened)).toEqual(ALL);
  await second.start();
  await until(async () => second.opened.length === DEFAULT_PARTITIONS / 2 && (await second.ready()), 30_000);
  const moved = second.opened;
  expect(first.opened.length).toBe(DEFAULT_PARTITIONS);
  expect(await second.end()).toBe(EXIT.ok);
  await until(() => first.opened.length === DEFAULT_PARTITIONS + moved.length, 5_000);
  expect(sorted(first.opened.slice(DEFAULT_PARTITIONS))).toEqual(sorted(moved));
  const admin = client('group').admin();
  await admin.connect();
  const { groups } = await admin.describeGroups([RUNTIME_GROUP]);
  expect(groups[0]?.members.length).toBe(1);
  await admin.disconnect();
});

test('killed and started again it has all partitions before its old session has ended', async () => {
  const killed = runtime();
  await killed.start();
  await until(() => killed.ready(), 30_000);
  expect(await killed.end('SIGKILL')).toBe('SIGKILL');
  const started = performance.now();
  await killed.start();
  await until(() => killed.ready(), 30_000);
  expect(performance.now() - started).toBeLessThan(6_000);
  await until(() => killed.opened.length === DEFAULT_PARTITIONS);
  expect(sorted(killed.opened)).toEqual(ALL);
});

test('invariant 11: brokers that stand still end the process, exit 75, and the log names the transaction; started again it goes on', async () => {
  const wedged = runtime({ EVENKEEL_WEDGED_AFTER_MS: '3000' });
  await wedged.start();
  await until(() => wedged.ready(), 30_000);
  const commits = async () => Number(/evenkeel_commit_seconds_count (\d+)/.exec((await wedged.get('/metrics')).body)?.[1] ?? 0);
  const before = await commits();
  await floodCommands(20_000);
  await until(async () => (await commits()) > before);
  signalBrokers('SIGSTOP');
  let unhealthy = '';
  const asking = setInterval(() => {
    void wedged.get('/healthz').then(
      ({ status, body }) => (unhealthy = status === 503 ? body : unhealthy),
      () => undefined,
    );
  }, 100);
  expect(await wedged.ended).toBe(EXIT.wedged);
  clearInterval(asking);
  expect(unhealthy).toContain('a transaction of partition 0');
  expect(wedged.log.at(-1)?.msg).toMatch(/nothing has moved for 3000 ms: .*a transaction of partition 0/);
  signalBrokers('SIGCONT');
  await wedged.start();
  await until(() => wedged.ready(), 60_000);
});

test('a short pause of the brokers is waited for: nothing ends, and what came meanwhile is taken up', async () => {
  const patient = runtime();
  await patient.start();
  await until(() => patient.ready(), 30_000);
  signalBrokers('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  signalBrokers('SIGCONT');
  await floodCommands(10);
  await until(() => patient.ready(), 30_000);
  expect(patient.opened.length).toBe(DEFAULT_PARTITIONS);
  expect(await patient.end()).toBe(EXIT.ok);
});
