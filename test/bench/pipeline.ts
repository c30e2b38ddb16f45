/**
 * The whole life of a request, sustained: signed ingress, queue, hold, one free step, result, audit, with a runtime and an auditor as
 * processes of their own. Latency is taken from the broker's append times, at half of the rate that was reached.
 */
import type { TenantId } from '#schemas/ids.ts';
import { type Ask, Load, livesOf, type Made } from './load.ts';
import { REQUESTS_ASKED } from './options.ts';
import { pause } from './pace.ts';
import { bareLoop } from './peers/bare.ts';
import { type Written, writtenBy } from './peers/written.ts';
import { BenchPlatform } from './platform.ts';
import { quantile, type Report, round } from './report.ts';

const TENANTS = 40;
const REQUESTS = REQUESTS_ASKED ?? 120_000;
/** Sent and not yet answered: enough to keep every partition busy, too little to build a backlog. */
const OUTSTANDING = 6_000;
const PACED_S = 10;
const TICK_MS = 10;
const RATE_TARGET = 5_000;
const P99_TARGET_MS = 250;
const PEER_SHARE = 0.4;
export const OPEN_POLICY = {
  requestsPerSecond: 10_000,
  burst: 100_000,
  maxInFlight: 10_000,
  maxQueued: 5_000_000,
  deadlineMs: 3_600_000,
  budgetDay: 1e15,
  budgetMonth: 1e15,
  budgetTotal: 1e15,
};
const SERVICES = ['runtime', 'auditor'] as const;

export async function pipeline(): Promise<Report> {
  const platform = await BenchPlatform.start();
  try {
    const tenants = await platform.tenants(TENANTS, OPEN_POLICY);
    await platform.run('auditor', 'services/auditor/main.ts', 'auditor');
    await platform.run('runtime', 'test/bench/constant-runtime.ts', 'runtime', { EVENKEEL_IN_FLIGHT_PER_PARTITION: '2000' });
    const load = new Load(platform);
    await load.open();
    const reached = await sustained(platform, load, spread(REQUESTS, tenants), OUTSTANDING);
    const written = await writtenBy(platform);
    const half = await paced(platform, load, tenants, reached.rate / 2);
    const auditBehind = await auditCaughtUp(platform, load.sent);
    await load.close();
    for (const name of SERVICES) await platform.end(name);
    return report(reached, half, auditBehind, written, await bareLoop(platform, REQUESTS, written));
  } finally {
    await platform.stop();
  }
}

/** As fast as it goes, with a bound on what is `outstanding`. The first fifth warms up. */
export async function sustained(platform: BenchPlatform, load: Load, asks: readonly Ask[], outstanding: number) {
  const made = await load.make(asks);
  const spent = () => [...SERVICES.map((name) => platform.cpu(name)), platform.kafkaCpu(), process.cpuUsage().user / 1e6];
  const before = spent();
  const target = load.finished + made.length;
  for (let at = 0; load.finished < target; ) {
    const room = Math.min(outstanding - (load.sent - load.finished), made.length - at);
    if (room > 0) void load.send(made.slice(at, at + room));
    at += Math.max(0, room);
    await pause(TICK_MS);
  }
  const times = load.resultTimes.slice(-made.length).sort((a, b) => a - b);
  const [from, to] = [Math.floor(times.length * 0.2), Math.floor(times.length * 0.98)];
  const rate = ((to - from) * 1_000) / ((times[to] as number) - (times[from] as number));
  const cpu = spent().map((seconds, at) => ((seconds - (before[at] as number)) * 1e6) / made.length);
  return { rate, cpu: cpu as [number, number, number, number] };
}

async function paced(platform: BenchPlatform, load: Load, tenants: readonly TenantId[], rate: number) {
  const made: readonly Made[] = await load.make(spread(Math.floor(rate * PACED_S), tenants));
  const [began, target] = [performance.now(), load.finished + made.length];
  for (let at = 0; at < made.length; ) {
    const due = Math.min(made.length, Math.floor(((performance.now() - began) / 1_000) * rate));
    if (due > at) void load.send(made.slice(at, due));
    at = due;
    await pause(TICK_MS);
  }
  while (load.finished < target) await pause(TICK_MS);
  const lives = await livesOf(platform);
  // The first second joins what the run before has left.
  const took = made.slice(Math.floor(rate)).map(({ request }) => (lives.get(request)?.finished ?? Number.NaN) - (lives.get(request)?.queued ?? 0));
  return { rate, p50: quantile(took, 0.5), p99: quantile(took, 0.99) };
}

/** Seconds after the last result until the auditor has copied every event of it: seven a request, and one for each tenant. */
async function auditCaughtUp(platform: BenchPlatform, requests: number): Promise<number> {
  const began = performance.now();
  while ((await platform.metric('auditor', 'evenkeel_audit_entries_total')) < requests * 7 + TENANTS) await pause(100);
  return (performance.now() - began) / 1_000;
}

const spread = (count: number, tenants: readonly TenantId[]): readonly Ask[] =>
  Array.from({ length: count }, (_, at) => ({ tenant: tenants[at % tenants.length] as TenantId }));

type Reached = Awaited<ReturnType<typeof sustained>>;
type Paced = Awaited<ReturnType<typeof paced>>;
type Bare = Awaited<ReturnType<typeof bareLoop>>;

function report(reached: Reached, half: Paced, auditBehind: number, written: Written, bare: Bare): Report {
  const share = reached.rate / bare.rate;
  const records = written.commits.flat();
  const bytes = records.reduce((sum, { key, value }) => sum + key + value, 0);
  return {
    name: 'pipeline',
    figures: {
      requests: REQUESTS,
      requests_per_s: Math.round(reached.rate),
      bare_loop_requests_per_s: Math.round(bare.rate),
      share_of_bare_loop: round(share),
      commits_per_request: written.commits.length,
      records_per_request: records.length,
      bytes_per_request: bytes,
      records_per_transaction: Math.round(written.recordsPerTransaction),
      bare_loop_records_per_transaction: Math.round(bare.recordsPerTransaction),
      half_rate_per_s: Math.round(half.rate),
      accept_to_result_p50_ms: half.p50,
      accept_to_result_p99_ms: half.p99,
      runtime_cpu_us_per_request: Math.round(reached.cpu[0]),
      auditor_cpu_us_per_request: Math.round(reached.cpu[1]),
      kafka_cpu_us_per_request: Math.round(reached.cpu[2]),
      load_cpu_us_per_request: Math.round(reached.cpu[3]),
      audit_behind_s: round(auditBehind),
    },
    ratio: round(share),
    target: `${RATE_TARGET} requests/s, p99 accept to result under ${P99_TARGET_MS} ms at half of the rate reached, and ${PEER_SHARE} of a bare kafkajs loop`,
    met: reached.rate >= RATE_TARGET && half.p99 < P99_TARGET_MS && share >= PEER_SHARE,
    not_measured: ['the gateway', 'several runtimes', 'a broker on another machine', 'a model'],
  };
}
