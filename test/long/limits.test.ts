/**
 * Invariants 4 and 7 on real processes: a budget that a thousand first requests press against at once, and a rate that two gateways and a
 * Kafka producer exceed together. What is right is read from the history by a reader that knows nothing of the ledger.
 */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '#infra/local/wait.mjs';
import type { TenantId } from '#schemas/ids.ts';
import { partitionOf } from '#schemas/topics.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { BenchPlatform } from '../bench/platform.ts';
import type { Judged } from '../chaos/evidence.ts';
import { Desk } from './desk.ts';

const [ACME, GLOBEX] = ['acme' as TenantId, 'globex' as TenantId];
const DOLLAR = 1_000_000;
const REQUESTS = 1_000;
const CAP = 256;
const WIDE = { requestsPerSecond: 10_000, burst: 100_000, maxInFlight: 1_000, maxQueued: 100_000, deadlineMs: 600_000 };
/** Of the events that are looked at. */
type Fields = { readonly request: string; readonly amount: number; readonly outcome: string; readonly reason: string; readonly ran: boolean };
let platform: BenchPlatform;
let desk: Desk;

const runtime = (name: string) =>
  platform.run(name, 'test/long/priced-runtime.ts', 'runtime', { EVENKEEL_IN_FLIGHT_PER_PARTITION: String(CAP), EVENKEEL_MODEL_DELAY_MS: '100' });

beforeAll(async () => {
  platform = await BenchPlatform.start();
  desk = new Desk(platform);
  await desk.createTenant(ACME, { ...WIDE, budgetDay: DOLLAR, requestCeiling: 20_000 });
  await desk.createTenant(GLOBEX, { ...WIDE, requestsPerSecond: 20, burst: 40, budgetDay: 1e12, deadlineMs: 4_000 });
  await Promise.all([runtime('runtime-1'), runtime('runtime-2'), platform.run('auditor', 'services/auditor/main.ts', 'auditor')]);
  await desk.startGateways(2);
});
afterAll(async () => {
  await desk?.close();
  await platform?.stop();
});

/** The tenant's history so far, each event with its transaction's time. */
async function history(tenant: TenantId) {
  const reader = new Reader(platform.client('admin'), () => undefined);
  const events: { readonly name: string; readonly value: Fields; readonly time: number }[] = [];
  let time = 0;
  for await (const { records } of reader.read('tenant.events', partitionOf(tenant, platform.partitions), 0))
    for (const { value } of records) {
      const decoded = platform.codec.decode(value as Uint8Array);
      if (decoded.name === 'batch') time = decoded.value.time;
      else if ((decoded.value as { tenant?: string }).tenant === tenant) events.push({ name: decoded.name, value: decoded.value as never, time });
    }
  await reader.close();
  return events;
}
const count = async (tenant: TenantId, name: string) => (await history(tenant)).filter((event) => event.name === name).length;

/** By a program that shares no code with the engine. */
async function judge(): Promise<Judged> {
  const file = join(platform.dir, 'check.json');
  const { brokers, admin, registryUrl } = platform.kafka;
  const masterKey = platform.masterKey.toString('hex');
  const facts = { cluster: { brokers, ...admin, registryUrl }, masterKey, tenants: [ACME, GLOBEX], cap: CAP, acknowledged: desk.acknowledged };
  writeFileSync(file, JSON.stringify(facts));
  const said = await promisify(execFile)(process.execPath, ['test/chaos/check-main.ts', file], { maxBuffer: 1e8 }).catch((error: { stdout: string }) => error);
  return JSON.parse(said.stdout) as Judged;
}

test('a dollar is a dollar: 1,000 first requests at once over two gateways and Kafka, each runtime killed once', async () => {
  const token = await desk.token(ACME);
  const asked = Array.from({ length: REQUESTS }, (_, at) => (at % 3 === 2 ? desk.publish(ACME) : desk.post(ACME, token, at)));
  const killed = (async () => {
    for (const [at, name] of ['runtime-1', 'runtime-2'].entries()) {
      await until(`a first part, before ${name} is killed,`, 60_000, async () => (await count(ACME, 'request_finished')) > 40 + at * 60);
      await platform.end(name, 'SIGKILL');
      await runtime(name);
    }
  })();
  await Promise.all([...asked, killed]);
  expect(desk.refused).toEqual(new Map());
  await until('the end of every request', 120_000, async () => (await count(ACME, 'request_finished')) === REQUESTS);

  const left = new Map<string, number>();
  let [settled, held, most] = [0, 0, 0];
  for (const { name, value } of await history(ACME)) {
    const { request, amount } = value;
    const rest = left.get(request) ?? 0;
    if (name === 'hold_placed') left.set(request, amount);
    if (name === 'hold_placed') held += amount;
    if (name === 'cost_recorded') left.set(request, rest - Math.min(rest, amount));
    if (name === 'cost_recorded') [settled, held] = [settled + amount, held - Math.min(rest, amount)];
    if (name === 'hold_settled') held -= rest;
    if (name === 'hold_settled') left.delete(request);
    most = Math.max(most, settled + held);
  }
  expect(most).toBeLessThanOrEqual(DOLLAR);
  expect([held, left.size]).toEqual([0, 0]);
  // Not one more could have been held for: the budget was used, not avoided.
  expect(settled).toBeGreaterThan(DOLLAR - 20_000);
  const { spent_total_micro_usd: balance } = await desk.get(`/v1/tenants/${ACME}`, await desk.token(undefined, 'operator'));
  expect(balance).toBe(settled);
  expect((await judge()).problems).toEqual([]);
});

test('20 a second with a burst of 40: over two gateways and Kafka at once the task starts what GCRA says, to the request', async () => {
  const token = await desk.token(GLOBEX);
  // All at once: more than both gateways' bursts, however slow they are.
  const asking: Promise<unknown>[] = Array.from({ length: 250 }, (_, at) => desk.post(GLOBEX, token, at));
  for (let at = 0; at < 250; at++) {
    asking.push(desk.publish(GLOBEX));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await Promise.all(asking);
  await until('the end of every request', 60_000, async () => (await count(GLOBEX, 'request_queued')) === (await count(GLOBEX, 'request_finished')));

  const events = await history(GLOBEX);
  const starts = events.filter(({ name }) => name === 'hold_placed').map(({ time }) => time);
  // While there is always one waiting, a start comes as soon as it conforms: as many as the model has, whatever the moment.
  let [tat, model] = [0, 0];
  const [first, last] = [starts[0] as number, starts.at(-1) as number];
  for (let now = first; now <= last; now++)
    while (Math.max(tat, now) - 39 * 50 <= now) {
      tat = Math.max(tat, now) + 50;
      model++;
    }
  expect(Math.abs(starts.length - model)).toBeLessThanOrEqual(1);
  const ended = events.filter(({ name }) => name === 'request_finished').map(({ value }) => value);
  expect(ended.filter(({ ran }) => ran).length).toBe(starts.length);
  // What could not start before its deadline says so, however it came.
  expect(ended.filter(({ ran }) => !ran).every(({ outcome, reason }) => outcome === 'refused' && reason === 'deadline')).toBe(true);
  expect(desk.refused.get(429)).toBeGreaterThan(0);
  expect((await judge()).problems).toEqual([]);
});
