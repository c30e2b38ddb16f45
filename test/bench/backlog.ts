/** A million queued requests of one tenant: what they cost in memory, and another tenant of the same partition in time. */
import type { TenantId } from '#schemas/ids.ts';
import { DEFAULT_POLICY } from '#schemas/policy.ts';
import { partitionOf } from '#schemas/topics.ts';
import { Load } from './load.ts';
import { REQUESTS_ASKED, SMALL } from './options.ts';
import { pace } from './pace.ts';
import { OPEN_POLICY } from './pipeline.ts';
import { BenchPlatform } from './platform.ts';
import { quantile, type Report, round, say } from './report.ts';

const BACKLOG = REQUESTS_ASKED ?? (SMALL ? 30_000 : 1_000_000);
const CHUNK = 5_000;
const PARTITION = 0;
const CAP = 24;
const EFFECT_MS = 100;
/** A tenant's own cap is the default one: without it a backlog fills all slots at once, and they are free at once, one effect later. */
const POLICY = { ...OPEN_POLICY, maxInFlight: DEFAULT_POLICY.maxInFlight };
const QUIET_PER_S = 20;
const QUIET_S = 15;
const RSS_TARGET_MIB = 512;
const RATIO_TARGET = 1.5;
const ACCEPTED_WITHIN_MS = 900_000;
const MIB = 1_048_576;
const ENV = { EVENKEEL_IN_FLIGHT_PER_PARTITION: String(CAP), EVENKEEL_MODEL_DELAY_MS: String(EFFECT_MS) };

export async function backlog(): Promise<Report> {
  const platform = await BenchPlatform.start();
  try {
    const [quiet, flood] = samePartition(platform) as [TenantId, TenantId];
    await platform.createTenants([quiet, flood], POLICY);
    await platform.run('runtime', 'test/bench/constant-runtime.ts', 'runtime', ENV);
    const load = new Load(platform);
    await load.open();
    const ask = async () => {
      const made = await load.make(Array.from({ length: QUIET_PER_S * QUIET_S }, () => ({ tenant: quiet })));
      return quantile((await pace(load, made, QUIET_PER_S)).slice(QUIET_PER_S), 0.95);
    };
    say('warming up');
    await ask();
    say('another tenant beside an empty queue');
    const empty = await ask();
    const before = platform.rss('runtime');
    say(`queueing ${BACKLOG}`);
    const accepted = await queue(platform, load, flood);
    say('another tenant beside the backlog');
    const full = await ask();
    const peak = platform.peak('runtime');
    const left = load.sent - load.finished;
    await load.close();
    return report({ empty, full, before, peak, left, ...accepted });
  } finally {
    await platform.stop();
  }
}

function samePartition({ partitions }: BenchPlatform): readonly TenantId[] {
  const names = Array.from({ length: 100 }, (_, at) => `tenant-${at}` as TenantId);
  return names.filter((name) => partitionOf(name, partitions) === PARTITION);
}

/** Sends the backlog and waits until the task has taken the last record. */
async function queue(platform: BenchPlatform, load: Load, tenant: TenantId): Promise<{ readonly acceptedPerS: number; readonly acceptUs: number }> {
  const [began, cpu] = [performance.now(), platform.cpu('runtime')];
  for (let sent = 0; sent < BACKLOG; sent += CHUNK) await load.send(await load.make(Array.from({ length: CHUNK }, () => ({ tenant, deadlineMs: 86_400_000 }))));
  await platform.taken('support.requests', PARTITION, ACCEPTED_WITHIN_MS);
  const seconds = (performance.now() - began) / 1_000;
  return { acceptedPerS: BACKLOG / seconds, acceptUs: ((platform.cpu('runtime') - cpu) * 1e6) / BACKLOG };
}

type Seen = Record<'empty' | 'full' | 'before' | 'peak' | 'left' | 'acceptedPerS' | 'acceptUs', number>;

function report(seen: Seen): Report {
  const ratio = seen.full / seen.empty;
  return {
    name: 'backlog',
    figures: {
      backlog: BACKLOG,
      left_at_the_end: seen.left,
      quiet_p95_ms_empty_queue: seen.empty,
      quiet_p95_ms_full_queue: seen.full,
      quiet_p95_ratio: round(ratio),
      rss_mib_before: Math.round(seen.before / MIB),
      peak_rss_mib: Math.round(seen.peak / MIB),
      accepted_per_s: Math.round(seen.acceptedPerS),
      runtime_cpu_us_per_accepted: Math.round(seen.acceptUs),
    },
    ratio: round(ratio),
    target: `below ${RSS_TARGET_MIB} MiB with ${BACKLOG} queued; another tenant's p95 at most ${RATIO_TARGET} of that with an empty queue`,
    met: seen.peak < RSS_TARGET_MIB * MIB && ratio <= RATIO_TARGET,
    not_measured: ['the gateway’s and the auditor’s memory', 'a restart with it (bench restart)', 'a broker on another machine'],
  };
}
