/**
 * Effects of 2 s, ten thousand in flight in one process: what they cost beside the same requests with effects that take no time. Requests
 * are ordered by conversation, tenants have Zipf's sizes.
 */
import type { TenantId } from '#schemas/ids.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { type Ask, Load } from './load.ts';
import { SMALL } from './options.ts';
import { OPEN_POLICY, sustained } from './pipeline.ts';
import { BenchPlatform } from './platform.ts';
import { type Report, round } from './report.ts';

const TENANTS = 200;
const EFFECT_S = 2;
const IN_FLIGHT = SMALL ? 1_000 : 10_000;
/** Each slot is used some times over. */
const REQUESTS = IN_FLIGHT * 8;
const TURNS = 4;
/** Its multiples are spread evenly between 0 and 1. */
const GOLDEN = 0.618_033_988_75;
const SHARE_TARGET = 0.9;
const RSS_TARGET_MIB = 1_024;
const MIB = 1_048_576;

export async function slow(): Promise<Report> {
  const platform = await BenchPlatform.start();
  try {
    const tenants = await platform.tenants(TENANTS, OPEN_POLICY);
    await platform.run('auditor', 'services/auditor/main.ts', 'auditor');
    const load = new Load(platform);
    await load.open();
    const fast = await once(platform, load, tenants, 0, IN_FLIGHT);
    // Beside those in flight wait some whose conversation is busy.
    const slowed = await once(platform, load, tenants, EFFECT_S * 1_000, IN_FLIGHT * 1.25);
    await load.close();
    return report(fast, slowed, await mostInFlight(platform));
  } finally {
    await platform.stop();
  }
}

type Once = Awaited<ReturnType<typeof once>>;

/** With a new runtime process. */
async function once(platform: BenchPlatform, load: Load, tenants: readonly TenantId[], delayMs: number, outstanding: number) {
  const env = { EVENKEEL_IN_FLIGHT_PER_PARTITION: String(IN_FLIGHT), EVENKEEL_MODEL_DELAY_MS: String(delayMs) };
  await platform.run('runtime', 'test/bench/constant-runtime.ts', 'runtime', env);
  const { rate, cpu } = await sustained(platform, load, zipf(REQUESTS, tenants), outstanding);
  const peak = platform.peak('runtime');
  await platform.end('runtime');
  return { rate, cpu, peak };
}

/** The n-th tenant asks 1/n as often as the first; no tenant comes in a row, and a conversation's turns come in each quarter of the run. */
function zipf(count: number, tenants: readonly TenantId[]): readonly Ask[] {
  const total = tenants.reduce((sum, _, at) => sum + 1 / (at + 1), 0);
  const placed = tenants.flatMap((tenant, at) =>
    Array.from({ length: Math.ceil(count / (at + 1) / total / TURNS) }, (_, conversation) =>
      Array.from({ length: TURNS }, (_, turn) => ({
        ask: { tenant, person: `person-${conversation % 50}`, conversation: `conversation-${conversation}` },
        place: turn + ((conversation * GOLDEN + at * GOLDEN * GOLDEN) % 1),
      })),
    ).flat(),
  );
  return placed.sort((a, b) => a.place - b.place).map(({ ask }) => ask);
}

/** From the history alone, by append time. */
async function mostInFlight(platform: BenchPlatform): Promise<number> {
  const reader = new Reader(platform.client('admin'), () => undefined);
  const changes: { readonly at: number; readonly by: number }[] = [];
  for (let partition = 0; partition < platform.partitions; partition++)
    for await (const { records } of reader.read('tenant.events', partition, 0))
      for (const { value, timestamp: at } of records) {
        const name = value && platform.codec.decode(value).name;
        if (name === 'hold_placed') changes.push({ at, by: 1 });
        if (name === 'hold_settled') changes.push({ at, by: -1 });
      }
  await reader.close();
  let [running, most] = [0, 0];
  for (const { by } of changes.sort((a, b) => a.at - b.at || a.by - b.by)) {
    running += by;
    most = Math.max(most, running);
  }
  return most;
}

function report(fast: Once, slowed: Once, most: number): Report {
  const bound = Math.min(IN_FLIGHT / EFFECT_S, fast.rate);
  const share = slowed.rate / bound;
  return {
    name: 'slow',
    figures: {
      in_flight_cap: IN_FLIGHT,
      most_in_flight: most,
      requests: REQUESTS,
      pipeline_requests_per_s: Math.round(fast.rate),
      requests_per_s: Math.round(slowed.rate),
      bound_requests_per_s: Math.round(bound),
      share_of_bound: round(share),
      peak_rss_mib: Math.round(slowed.peak / MIB),
      peak_rss_without_effects_mib: Math.round(fast.peak / MIB),
      runtime_cpu_us_per_request: Math.round(slowed.cpu[0]),
      runtime_cpu_us_per_request_without_effects: Math.round(fast.cpu[0]),
    },
    ratio: round(share),
    target: `${SHARE_TARGET} of the lesser of ${IN_FLIGHT} / ${EFFECT_S} s and the same requests with effects that take no time; below ${RSS_TARGET_MIB} MiB`,
    met: share >= SHARE_TARGET && slowed.peak < RSS_TARGET_MIB * MIB,
    not_measured: ['a model behind HTTP', 'several runtimes', 'a broker on another machine'],
  };
}
