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
import { partitionOf, RUNTIME_GROUP } from '#schemas/topics.ts';
import { GroupOwners } from '#streams/kafka/group-owners.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { pause } from '../bench/pace.ts';
import { BenchPlatform } from '../bench/platform.ts';
import type { Judged } from '../chaos/evidence.ts';
import { Desk } from './desk.ts';

const TENANTS = ['acme', 'globex', 'initech', 'umbrella'] as TenantId[];
const [ACME, GLOBEX, INITECH, UMBRELLA] = TENANTS as [TenantId, TenantId, TenantId, TenantId];
const SHARE = { requestsPerSecond: 20, burst: 40, budgetDay: 1e12 };
const DOLLAR = 1_000_000;
const REQUESTS = 1_000;
const CAP = 256;
const WIDE = { requestsPerSecond: 10_000, burst: 100_000, maxInFlight: 1_000, maxQueued: 100_000, deadlineMs: 600_000 };
/** Of the events that are looked at. */
type Fields = { readonly request: string; readonly amount: number; readonly outcome: string; readonly reason: string; readonly ran: boolean };
let platform: BenchPlatform;
let desk: Desk;

let owners: GroupOwners;
/** Runtimes by the port that their membership names. */
const runtimes = new Map<string, string>();

async function runtime(name: string): Promise<void> {
  const settings = { EVENKEEL_IN_FLIGHT_PER_PARTITION: String(CAP), EVENKEEL_MODEL_DELAY_MS: '100' };
  const { opsPort } = await platform.run(name, 'test/long/priced-runtime.ts', 'runtime', settings);
  runtimes.set(String(opsPort), name);
}

/** Which runtime owns each partition, by the group itself. */
async function ownersNow(): Promise<readonly (string | undefined)[]> {
  owners.forget();
  const addresses = await Promise.all(Array.from({ length: platform.partitions }, (_, partition) => owners.addressOf(partition)));
  return addresses.map((address) => runtimes.get(address?.split(':').at(-1) ?? ''));
}

/** Kills whoever owns the tenant's partition, and starts it again. */
async function killOwner(tenant: TenantId): Promise<void> {
  let owner: string | undefined;
  await until(`an owner of ${tenant}'s partition`, 30_000, async () => {
    owner = (await ownersNow())[partitionOf(tenant, platform.partitions)];
    return owner !== undefined;
  });
  await platform.end(owner as string, 'SIGKILL');
  await runtime(owner as string);
}

beforeAll(async () => {
  platform = await BenchPlatform.start();
  desk = new Desk(platform);
  owners = new GroupOwners(platform.client('admin'), RUNTIME_GROUP, 'support.requests');
  await desk.createTenant(ACME, { ...WIDE, budgetDay: DOLLAR, requestCeiling: 20_000 });
  await desk.createTenant(GLOBEX, { ...WIDE, ...SHARE, deadlineMs: 4_000 });
  for (const tenant of [INITECH, UMBRELLA]) await desk.createTenant(tenant, { ...WIDE, ...SHARE });
  await Promise.all([runtime('runtime-1'), runtime('runtime-2'), platform.run('auditor', 'services/auditor/main.ts', 'auditor')]);
  await desk.startGateways(2);
});
afterAll(async () => {
  await desk?.close();
  await owners?.close();
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
  const facts = { cluster: { brokers, ...admin, registryUrl }, masterKey, tenants: TENANTS, cap: CAP, acknowledged: desk.acknowledged };
  writeFileSync(file, JSON.stringify(facts));
  const said = await promisify(execFile)(process.execPath, ['test/chaos/check-main.ts', file], { maxBuffer: 1e8 }).catch((error: { stdout: string }) => error);
  return JSON.parse(said.stdout) as Judged;
}

test('a dollar is a dollar: 1,000 first requests at once over two gateways and Kafka, their runtime killed twice and a rebalance in between', async () => {
  const token = await desk.token(ACME);
  const asked = Array.from({ length: REQUESTS }, (_, at) => (at % 3 === 2 ? desk.publish(ACME) : desk.post(ACME, token, at)));
  const finished = (least: number) => until(`${least} ends`, 60_000, async () => (await count(ACME, 'request_finished')) > least);
  const disturbed = (async () => {
    await finished(20);
    await killOwner(ACME);
    await finished(40);
    await runtime('runtime-3');
    await until('each of three runtimes to own partitions', 60_000, async () => {
      const now = await ownersNow();
      return [...runtimes.values()].every((name) => now.includes(name));
    });
    await killOwner(ACME);
    return count(ACME, 'request_finished');
  })();
  await Promise.all([...asked, disturbed]);
  // It was in the midst of it that all this happened.
  expect(await disturbed).toBeLessThan(REQUESTS);
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
  const starts = events.filter(({ name }) => name === 'hold_placed');
  let [tat, waiting] = [0, 0];
  for (const [at, { name, value, time }] of events.entries()) {
    if (name === 'request_queued') waiting++;
    if (name === 'request_finished' && !value.ran) waiting--;
    if (name === 'hold_placed') {
      expect(time).toBeGreaterThanOrEqual(tat - 39 * 50);
      [tat, waiting] = [Math.max(tat, time) + 50, waiting - 1];
    }
    // What conforms and waits starts in the same transaction, however late the machine lets that come.
    if (waiting > 0 && events[at + 1]?.time !== time) expect(tat - 39 * 50).toBeGreaterThan(time);
  }
  const ended = events.filter(({ name }) => name === 'request_finished').map(({ value }) => value);
  expect(ended.filter(({ ran }) => ran).length).toBe(starts.length);
  // What could not start before its deadline says so, however it came.
  expect(ended.filter(({ ran }) => !ran).every(({ outcome, reason }) => outcome === 'refused' && reason === 'deadline')).toBe(true);
  expect(desk.refused.get(429)).toBeGreaterThan(0);
  expect((await judge()).problems).toEqual([]);
});

const SECONDS = 6;
/** As many connections the flooder has. */
const MOST_UNANSWERED = 100;

/** One tenant at its share, through to the answers. */
async function atItsShare(tenant: TenantId): Promise<unknown[]> {
  const token = await desk.token(tenant);
  const asking: Promise<unknown>[] = [];
  for (let at = 0; at < SECONDS * SHARE.requestsPerSecond; at++) {
    asking.push(desk.ask(tenant, token));
    await pause(1_000 / SHARE.requestsPerSecond);
  }
  return Promise.all(asking);
}

test('a tenant that asks a hundred times its rate over HTTP gets what GCRA says and 429s; all that another asks is answered in full', async () => {
  const token = await desk.token(INITECH);
  const before = new Map(desk.refused);
  const [posts, began]: [Promise<number>[], number] = [[], performance.now()];
  let [flooding, unanswered] = [true, 0];
  const flood = (async () => {
    // All at one gateway: each counts for itself.
    for (; flooding; await pause(5)) {
      const due = Math.min(Math.floor((performance.now() - began) * 2) - posts.length, MOST_UNANSWERED - unanswered);
      unanswered += Math.max(0, due);
      for (let post = 0; post < due; post++) posts.push(desk.post(INITECH, token, 0).finally(() => unanswered--));
    }
    const lastSent = performance.now();
    return { statuses: await Promise.all(posts), lastSent };
  })();
  const answers = await atItsShare(UMBRELLA);
  flooding = false;
  const { statuses, lastSent } = await flood;
  for (const answer of answers) expect(answer).toMatchObject({ outcome: 'answered', degraded: null });
  const taken = statuses.filter((status) => status === 202).length;
  const most = (from: number, to: number) => 40 + Math.floor(((to - from) * 20) / 1_000);
  // The gateway's own moments lie between the sending and the answers.
  expect(taken).toBeLessThanOrEqual(most(began, performance.now()));
  expect(taken).toBeGreaterThanOrEqual(most(began + 200, lastSent) - 1);
  expect(desk.refused.get(429)).toBe((before.get(429) ?? 0) + statuses.length - taken);
  expect(statuses.length).toBeGreaterThan(SECONDS * SHARE.requestsPerSecond * 10);
  await until('the end of what was taken', 60_000, async () => (await count(INITECH, 'request_finished')) === taken);
  expect((await judge()).problems).toEqual([]);
});
