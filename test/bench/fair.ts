/**
 * Ten tenants of one partition, and one of them floods: what the other nine notice, whose records are signed beforehand; then the same with
 * the nine over HTTP and the auditor beside it. Then all ten wait at once with requests of different cost, and a thousand come at once.
 */
import { randomUUID } from 'node:crypto';
import type { TenantId } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import { partitionOf } from '#schemas/topics.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { type OverHttp, overHttp } from './fair-http.ts';
import { Flood, type Offered } from './flood.ts';
import { BenchIssuer } from './issuer.ts';
import { Load } from './load.ts';
import { SMALL } from './options.ts';
import { pace, pause, waitUntil } from './pace.ts';
import { OPEN_POLICY } from './pipeline.ts';
import { BenchPlatform } from './platform.ts';
import { quantile, type Report, round, say } from './report.ts';

const TENANTS = 10;
const PARTITION = 0;
const TAKEN_WITHIN_MS = 30_000;
const SHARE_PER_S = 20;
/** A slot is held for the effect and for some commits: at their full shares the ten fill the cap. At this rate there is room. */
const WITH_ROOM_PER_S = 16;
const FLOOD_PER_S = 2_000;
const UNLIMITED = 10_000;
const CAP = 24;
const EFFECT_MS = 100;
const SECONDS = SMALL ? 6 : 15;
const MANY = 1_000;
/** Of each tenant, when all ten wait at once: more than the cheapest's share of the time that is looked at. */
const WAITING = SMALL ? 400 : 1_000;
const P95_TARGET = 1.5;
const JAIN_TARGET = 0.95;
/** The worst of a thousand tenants waits for its first result so many times as long as a thousand requests take. */
const WORST_TARGET = 2;
/** A share as it is meant: as many a second, and a second's worth at once. A long queue does not degrade: every effect takes its time. */
const SHARE: Partial<Policy> = {
  ...OPEN_POLICY,
  requestsPerSecond: SHARE_PER_S,
  burst: SHARE_PER_S,
  maxQueued: 2_000,
  deadlineMs: 600_000,
  overloadPercent: 100,
};

export async function fair(): Promise<Report> {
  const platform = await BenchPlatform.start();
  try {
    const [flooder, ...quiet] = inOnePartition(platform, TENANTS, 'tenant') as [TenantId, ...TenantId[]];
    const flood = new Flood(platform, flooder);
    await platform.createTenants([flooder], { ...SHARE, ...flood.policy });
    await platform.createTenants(quiet, SHARE);
    await platform.run('runtime', 'test/bench/fair-runtime.ts', 'runtime', {
      EVENKEEL_IN_FLIGHT_PER_PARTITION: String(CAP),
      EVENKEEL_MODEL_DELAY_MS: String(EFFECT_MS),
    });
    const issuer = new BenchIssuer();
    const url = await issuer.startGateway(platform);
    const token = (tenant: TenantId) => issuer.token({ tenant, role: 'end_user', subject: 'ann' });
    await flood.open(url, await token(flooder));
    const load = new Load(platform);
    await load.open();
    say('warming up, beside a flood too');
    await paced(load, quiet, [flooder], SHARE_PER_S);
    await beside(platform, load, quiet, flood, WITH_ROOM_PER_S);
    await setRate(platform, load, flooder, UNLIMITED);
    await setRate(platform, load, flooder, SHARE_PER_S);
    say(`everybody at its share, ${SECONDS} s`);
    const shared = await paced(load, quiet, [flooder], SHARE_PER_S);
    say(`beside a flood of ${FLOOD_PER_S}/s, ${SECONDS} s`);
    const flooded = await beside(platform, load, quiet, flood, SHARE_PER_S);
    await setRate(platform, load, flooder, UNLIMITED);
    say(`everybody at ${WITH_ROOM_PER_S} requests/s`);
    const roomy = await paced(load, quiet, [flooder], WITH_ROOM_PER_S);
    say('beside the flood, without a rate limit');
    const opened = await beside(platform, load, quiet, flood, WITH_ROOM_PER_S);
    await setRate(platform, load, flooder, SHARE_PER_S);
    const tokens = new Map(await Promise.all(quiet.map(async (tenant) => [tenant, await token(tenant)] as const)));
    const http = await overHttp(platform, { url, tokens, perS: WITH_ROOM_PER_S, seconds: SECONDS, flood, floodPerS: FLOOD_PER_S });
    say(`all ten with ${WAITING} waiting`);
    const all = await together(platform, load, inOnePartition(platform, TENANTS, 'dear'));
    say(`${MANY} tenants at once`);
    const worst = await thousand(platform, load, inOnePartition(platform, MANY, 'many'));
    await load.close();
    await flood.close();
    return report({ shared, flooded, roomy, opened, http, all, worst });
  } finally {
    await platform.stop();
  }
}

function inOnePartition({ partitions }: BenchPlatform, count: number, prefix: string): readonly TenantId[] {
  const names: TenantId[] = [];
  for (let at = 0; names.length < count; at++) {
    const name = `${prefix}-${at}` as TenantId;
    if (partitionOf(name, partitions) === PARTITION) names.push(name);
  }
  return names;
}

/** p95 of the quiet ones, ms, with everybody at an even pace. The first second is not looked at. */
async function paced(load: Load, quiet: readonly TenantId[], others: readonly TenantId[], perS: number): Promise<number> {
  const tenants = [...quiet, ...others];
  const asks = Array.from({ length: SECONDS * perS * tenants.length }, (_, at) => ({ tenant: tenants[at % tenants.length] as TenantId }));
  const made = await load.make(asks);
  const took = await pace(load, made, perS * tenants.length);
  const looked = took.filter((_, at) => at >= perS * tenants.length && quiet.includes(made[at]?.tenant as TenantId));
  return quantile(looked, 0.95);
}

type Beside = { readonly p95: number; readonly offered: Offered; readonly spent: ReadonlyMap<TenantId, number>; readonly ran: number; readonly queued: number };

async function beside(platform: BenchPlatform, load: Load, quiet: readonly TenantId[], flood: Flood, perS: number): Promise<Beside> {
  flood.make((FLOOD_PER_S / 2) * (SECONDS + 2));
  const from = await eventsEnd(platform);
  const asking = paced(load, quiet, [], perS);
  const [p95, offered] = await Promise.all([asking, flood.run(FLOOD_PER_S, asking)]);
  const { ran, queued } = await livedSince(platform, from, quiet);
  return { p95, offered, spent: await spentSince(platform, from, SECONDS), ran, queued };
}

/** Without a limit of requests a second only the fair queue stands between them. Resolves when nothing is left of the flood before. */
async function setRate(platform: BenchPlatform, load: Load, tenantId: TenantId, perS: number): Promise<void> {
  const sender = createSender(platform.client('operator'));
  const changes = JSON.stringify({ requestsPerSecond: perS, burst: perS });
  const value = platform.codec.encode('set_policy', { tenantId, commandId: randomUUID(), by: 'bench', role: 'operator', changes, expectedVersion: null });
  await sender.send([{ topic: 'tenant.commands', partition: partitionOf(tenantId, platform.partitions), key: tenantId, value }]);
  await sender.close();
  for (let before = -1; load.finished > before; await pause(2_000)) before = load.finished;
}

/** All wait at once: what each has spent after some time in which every one of them always waited. */
async function together(platform: BenchPlatform, load: Load, tenants: readonly TenantId[]): Promise<ReadonlyMap<TenantId, number>> {
  await platform.createTenants(tenants, OPEN_POLICY);
  await platform.taken('tenant.commands', PARTITION, TAKEN_WITHIN_MS);
  await load.send(await load.make(Array.from({ length: WAITING * tenants.length }, (_, at) => ({ tenant: tenants[at % tenants.length] as TenantId }))));
  await pause(2_000);
  const from = await eventsEnd(platform);
  // The cheapest tenants' queues are the first to be empty.
  const seconds = WAITING / (SMALL ? 80 : 60);
  await pause(seconds * 1_000);
  return spentSince(platform, from, seconds);
}

/** Three requests each, all at once, beside what the ten still have waiting: until the last tenant's first result, in units of what it takes. */
async function thousand(platform: BenchPlatform, load: Load, tenants: readonly TenantId[]): Promise<number> {
  await platform.createTenants(tenants, OPEN_POLICY);
  await platform.taken('tenant.commands', PARTITION, TAKEN_WITHIN_MS);
  const made = await load.make(Array.from({ length: 3 * MANY }, (_, at) => ({ tenant: tenants[at % MANY] as TenantId })));
  const sent = await load.send(made);
  await waitUntil(
    () => 'a first result of each of a thousand tenants',
    120_000,
    () => made.slice(0, MANY).every(({ request }) => load.results.has(request)),
  );
  const firsts = made.slice(0, MANY).map(({ request }, at) => (load.results.get(request) as number) - (sent[at]?.time ?? 0));
  return Math.max(...firsts) / ((MANY / CAP) * EFFECT_MS);
}

async function eventsEnd(platform: BenchPlatform): Promise<number> {
  const admin = platform.client('admin').admin();
  await admin.connect();
  const offsets = await admin.fetchTopicOffsets('tenant.events');
  await admin.disconnect();
  return Number(offsets.find(({ partition }) => partition === PARTITION)?.offset);
}

/** Micro-dollars settled in the history from an offset on, for so many seconds of the broker's time. */
async function spentSince(platform: BenchPlatform, from: number, seconds: number): Promise<ReadonlyMap<TenantId, number>> {
  const reader = new Reader(platform.client('admin'), () => undefined);
  const spent = new Map<TenantId, number>();
  let until: number | undefined;
  for await (const { records } of reader.read('tenant.events', PARTITION, from))
    for (const { value, timestamp } of records) {
      until ??= timestamp + seconds * 1_000;
      if (timestamp > until) break;
      const event = value && platform.codec.decode(value);
      if (event?.name === 'hold_settled') spent.set(event.value.tenant, (spent.get(event.value.tenant) ?? 0) + event.value.settled);
    }
  await reader.close();
  return spent;
}

/** Medians, ms: how long the slots of these tenants were held, and how long they waited for one once they were accepted. */
async function livedSince(platform: BenchPlatform, from: number, tenants: readonly TenantId[]): Promise<{ readonly ran: number; readonly queued: number }> {
  const reader = new Reader(platform.client('admin'), () => undefined);
  const lives: { readonly ranMs: number; readonly queuedMs: number }[] = [];
  for await (const { records } of reader.read('tenant.events', PARTITION, from))
    for (const { value } of records) {
      const event = value && platform.codec.decode(value);
      if (event?.name === 'request_finished' && tenants.includes(event.value.tenant)) lives.push(event.value);
    }
  await reader.close();
  return {
    ran: quantile(
      lives.map(({ ranMs }) => ranMs),
      0.5,
    ),
    queued: quantile(
      lives.map(({ queuedMs }) => queuedMs),
      0.5,
    ),
  };
}

/** Jain's index of fairness: 1 when all have the same, 1/n when one has all. */
function jain(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  return sum ** 2 / (TENANTS * values.reduce((a, b) => a + b * b, 0));
}

type Seen = {
  readonly shared: number;
  readonly flooded: Beside;
  readonly roomy: number;
  readonly opened: Beside;
  readonly http: OverHttp;
  readonly all: ReadonlyMap<TenantId, number>;
  readonly worst: number;
};

function report({ shared, flooded, roomy, opened, http, all, worst }: Seen): Report {
  const [ratio, openRatio, httpRatio] = [flooded.p95 / shared, opened.p95 / roomy, http.flooded / http.alone];
  const [share, together] = [jain([...flooded.spent.values()]), jain([...all].filter(([tenant]) => tenant.startsWith('dear-')).map(([, cost]) => cost))];
  const worstRatio = Math.max(ratio, openRatio, httpRatio);
  const { taken, refused, failed } = opened.offered;
  return {
    name: 'fair',
    figures: {
      quiet_p95_ms_all_at_their_share: shared,
      quiet_p95_ms_beside_a_flood: flooded.p95,
      quiet_p95_ratio: round(ratio),
      quiet_p95_ms_all_with_room: roomy,
      quiet_p95_ms_beside_a_flood_without_a_rate_limit: opened.p95,
      quiet_p95_ratio_without_a_rate_limit: round(openRatio),
      quiet_p95_ms_over_http_alone: round(http.alone),
      quiet_p95_ms_over_http_beside_a_flood: round(http.flooded),
      quiet_p95_ratio_over_http: round(httpRatio),
      quiet_asked_over_http: http.asked,
      quiet_not_answered_over_http: http.failed,
      flood_offered_per_s_over_http: Math.round(http.offered.perS),
      flood_taken_over_http: http.offered.taken,
      flood_refused_over_http: http.offered.refused,
      slot_held_p50_ms_beside_a_flood: flooded.ran,
      waited_for_a_slot_p50_ms_beside_a_flood: flooded.queued,
      slot_held_p50_ms_without_a_rate_limit: opened.ran,
      waited_for_a_slot_p50_ms_without_a_rate_limit: opened.queued,
      flood_offered_per_s: Math.round(flooded.offered.perS),
      flood_offered_per_s_without_a_rate_limit: Math.round(opened.offered.perS),
      flood_http_taken: taken,
      flood_http_refused: refused,
      flood_failed: failed + flooded.offered.failed + http.offered.failed,
      jain_of_cost_beside_a_flood: round(share),
      jain_of_cost_all_waiting: round(together),
      worst_of_1000_tenants_ratio: round(worst),
    },
    ratio: round(worstRatio),
    target: `the nine quiet tenants' p95 at most ${P95_TARGET} of that with the tenth at its share, also with no limit but the queue's; over HTTP of that without the tenth, each of them answered; Jain at least ${JAIN_TARGET} on cost; the last of ${MANY} tenants within ${WORST_TARGET} of its turn`,
    met: worstRatio <= P95_TARGET && http.failed === 0 && Math.min(share, together) >= JAIN_TARGET && worst <= WORST_TARGET,
    not_measured: ['a flood from many addresses', 'a broker on another machine'],
  };
}
