/**
 * Over HTTP, by autocannon. Like with like: `Prefer: respond-async` beside a bare Fastify with kafkajs's producer, both without a consumer
 * behind them; the runtime then works the records off, and every 202 must have ended exactly once. With the runtime beside: submitted,
 * accepted (the task's verdict), and through to the answer, beside LiteLLM's proxy. Each is loaded alone.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import autocannon from 'autocannon';
import { freePort, listens, until } from '#infra/local/wait.mjs';
import { requestId, tenantSecret } from '#schemas/digest.ts';
import type { TenantId } from '#schemas/ids.ts';
import { withAdmin } from '#streams/kafka/client.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { BenchIssuer } from './issuer.ts';
import { QUESTION } from './load.ts';
import { SMALL } from './options.ts';
import { pause } from './pace.ts';
import { startLiteLlm } from './peers/litellm.ts';
import { requestWritten, type Sized } from './peers/written.ts';
import { OPEN_POLICY } from './pipeline.ts';
import { BenchPlatform } from './platform.ts';
import { type Report, round, say } from './report.ts';

const TENANTS = 8;
const PERSON = 'ann';
const CONNECTIONS = 256;
/** Through to the answer each peer is taken at the count at which it is best; more connections make LiteLLM no faster. */
const WAITING = [256, 1_024, 2_048];
const LITELLM_CONNECTIONS = 32;
const SUBMITTED = SMALL ? 21_000 : 150_000;
/** Of the bare gateway and of ours, one after the other: of the same code, one is up to a tenth faster than the next. */
const PROCESSES = 3;
/** Of each pair of them: many and short, for the machine's speed changes between them. */
const TURNS = 4;
const ANSWERED = SMALL ? 6_000 : 25_000;
const PROXIED = SMALL ? 200 : 2_500;
/** Before each measurement, of its requests. */
const WARM_SHARE = 0.25;
/** autocannon looks at its end no more often. */
const SAMPLE_MS = 50;
const WORKED_OFF_MS = 240_000;
const BARE_SHARE = 0.8;
const LITELLM_TIMES = 20;
const BARE_TOPIC = 'bench.accepted';
const SERVICES = ['gateway', 'runtime', 'auditor'] as const;

/** `cpu`: microseconds a request of the services asked for, and then of Kafka. */
type Shot = { readonly perS: number; readonly p99: number; readonly cpu: readonly number[]; readonly connections: number };
type Target = { readonly url: string; readonly path: string; readonly body: object; readonly headers: () => Record<string, string> };
type Sent = { readonly tenant: TenantId; readonly key: string };

export async function gateway(): Promise<Report> {
  const platform = await BenchPlatform.start();
  try {
    const door = await Door.open(platform);
    const { bare, submitted } = await inTurn(platform, door);
    const workedOffPerS = await door.workOff();
    const beside = await door.shoot(ANSWERED, CONNECTIONS, 'respond-async', SERVICES);
    const accepted = await door.shoot(ANSWERED, CONNECTIONS, undefined, SERVICES);
    const answered: Shot[] = [];
    for (const connections of WAITING) answered.push(await door.shoot(ANSWERED, connections, 'wait=30', SERVICES));
    for (const name of SERVICES) await platform.end(name);
    const litellm = await liteLlm(platform);
    return report({ bare, submitted, workedOffPerS, beside, accepted, answered, litellm });
  } finally {
    await platform.stop();
  }
}

/** The gateway, its tenants, and what was sent through it. */
class Door {
  readonly #platform: BenchPlatform;
  readonly #issuer: BenchIssuer;
  #url: string;
  /** Of each tenant, and as the header says it. */
  readonly #credentials: readonly (readonly [TenantId, string])[];
  #sent: Sent[] = [];

  private constructor(platform: BenchPlatform, issuer: BenchIssuer, url: string, credentials: readonly (readonly [TenantId, string])[]) {
    this.#platform = platform;
    this.#issuer = issuer;
    this.#url = url;
    this.#credentials = credentials;
  }

  /** Without a runtime: the one that has created the tenants is ended. */
  static async open(platform: BenchPlatform): Promise<Door> {
    const tenants = await platform.tenants(TENANTS, OPEN_POLICY);
    const issuer = new BenchIssuer();
    await startRuntime(platform);
    const url = await issuer.startGateway(platform);
    const credentials = await Promise.all(
      tenants.map(async (tenant) => [tenant, `Bearer ${await issuer.token({ tenant, role: 'end_user', subject: PERSON })}`] as const),
    );
    for (const [tenant, authorization] of credentials) await until(`${tenant} to be known`, 30_000, () => answersOnce(url, authorization));
    await platform.end('runtime');
    return new Door(platform, issuer, url, credentials);
  }

  /** Another process of the same gateway. */
  async renew(): Promise<void> {
    await this.#platform.end('gateway');
    this.#url = await this.#issuer.startGateway(this.#platform);
  }

  /** Every request has a key of its own, which is written down; tenants take turns. */
  headers(sent: Sent[], prefer: string | undefined): () => Record<string, string> {
    let at = 0;
    return () => {
      const [tenant, authorization] = this.#credentials[at++ % this.#credentials.length] as readonly [TenantId, string];
      const key = randomUUID();
      sent.push({ tenant, key });
      return { authorization, 'idempotency-key': key, ...(prefer ? { prefer } : {}) };
    };
  }

  async shoot(count: number, connections: number, prefer: string | undefined, services: readonly string[]): Promise<Shot> {
    const headers = this.headers(this.#sent, prefer);
    const platform = this.#platform;
    const shot = await fire(platform, { url: this.#url, path: '/v1/requests', body: { message: QUESTION }, headers }, count, connections, services);
    say(`${prefer ?? 'with the verdict'}, ${connections} connections: ${Math.round(shot.perS)}/s`);
    return shot;
  }

  /** All that was sent till now, by a runtime that is started for it. @throws when one has not ended, or twice */
  async workOff(): Promise<number> {
    const [platform, sent, began] = [this.#platform, this.#sent, performance.now()];
    this.#sent = [];
    await platform.run('auditor', 'services/auditor/main.ts', 'auditor');
    await startRuntime(platform);
    await until('all to be answered', WORKED_OFF_MS, async () => (await platform.metric('gateway', 'evenkeel_finished')) >= sent.length + TENANTS);
    const perS = sent.length / ((performance.now() - began) / 1_000);
    const ends = await endsOf(platform);
    for (const { tenant, key } of sent) {
      const times = ends.get(requestId(tenantSecret(platform.masterKey, tenant), PERSON, key)) ?? 0;
      if (times !== 1) throw new Error(`a request of ${tenant} that was answered with 202 has ended ${times} times`);
    }
    return perS;
  }
}

const startRuntime = (platform: BenchPlatform) =>
  platform.run('runtime', 'test/bench/constant-runtime.ts', 'runtime', { EVENKEEL_IN_FLIGHT_PER_PARTITION: '2000' });

async function answersOnce(url: string, authorization: string): Promise<boolean> {
  const headers = { authorization, 'content-type': 'application/json', prefer: 'wait=10', 'idempotency-key': 'first' };
  return (await fetch(`${url}/v1/requests`, { method: 'POST', headers, body: JSON.stringify({ message: QUESTION }) })).status === 200;
}

/** How often each request has ended, by the results themselves. */
async function endsOf(platform: BenchPlatform): Promise<ReadonlyMap<string, number>> {
  const reader = new Reader(platform.client('admin'), () => undefined);
  const ends = new Map<string, number>();
  try {
    for (let partition = 0; partition < platform.partitions; partition++)
      for await (const { records } of reader.read('support.results', partition, 0))
        for (const { value } of records) {
          const decoded = value && platform.codec.decode(value);
          if (decoded?.name === 'support_result') ends.set(decoded.value.request, (ends.get(decoded.value.request) ?? 0) + 1);
        }
  } finally {
    await reader.close();
  }
  return ends;
}

/** So many requests, each answered. @throws when one was not taken */
async function fire(platform: BenchPlatform, target: Target, count: number, connections: number, services: readonly string[]): Promise<Shot> {
  const { url, path, body, headers } = target;
  const shot = async (amount: number) => {
    const answered = await autocannon({
      url,
      connections,
      amount,
      timeout: 30,
      sampleInt: SAMPLE_MS,
      requests: [
        {
          method: 'POST',
          path,
          body: JSON.stringify(body),
          setupRequest: (request) => ({ ...request, headers: { 'content-type': 'application/json', ...headers() } }),
        },
      ],
    });
    const { non2xx, errors, timeouts } = answered;
    if (non2xx + errors + timeouts > 0) throw new Error(`${url}${path}: ${non2xx} answers were no 2xx, ${errors} errors, ${timeouts} timeouts`);
    return answered;
  };
  await shot(Math.max(2 * connections, Math.ceil(count * WARM_SHARE)));
  const spent = () => [...services.map((name) => platform.cpu(name)), platform.kafkaCpu()];
  const before = spent();
  const { duration, latency } = await shot(count);
  const cpu = spent().map((seconds, at) => Math.round(((seconds - (before[at] as number)) * 1e6) / count));
  // What still runs is done with before the next.
  await pause(1_000);
  return { perS: count / duration, p99: latency.p99, cpu, connections };
}

type Pair = { readonly bare: Shot; readonly submitted: Shot };

/** The bare gateway and ours, one after the other and again: a machine's speed changes within minutes, and both are to have the same. */
async function inTurn(platform: BenchPlatform, door: Door): Promise<Pair> {
  await withAdmin(platform.client('admin'), async (admin) => {
    await admin.createTopics({ topics: [{ topic: BARE_TOPIC, numPartitions: platform.partitions, replicationFactor: 1 }], waitForLeaders: false });
  });
  const record = await requestWritten(platform);
  const shots: Pair[] = [];
  for (let pair = 0; pair < PROCESSES; pair++) {
    if (pair > 0) await door.renew();
    shots.push(...(await turnsOf(platform, door, record)));
  }
  return { bare: taken(shots.map(({ bare }) => bare)), submitted: taken(shots.map(({ submitted }) => submitted)) };
}

/** Of one process of each. The first turn is not looked at: their code is slow in it, and so is the client's. */
async function turnsOf(platform: BenchPlatform, door: Door, record: Sized): Promise<readonly Pair[]> {
  const { child, port } = await bareGateway(platform, record);
  return alone(child, async () => {
    await until('the bare gateway', 30_000, () => listens(port));
    // The same headers and the same work of the client's: the bare one reads them, and does nothing with them.
    const headers = door.headers([], 'respond-async');
    const target = { url: `http://127.0.0.1:${port}`, path: '/v1/requests', body: { message: QUESTION }, headers };
    const count = Math.ceil(SUBMITTED / (PROCESSES * TURNS));
    const loadBare = () => fire(platform, target, count, CONNECTIONS, []);
    const shots: Pair[] = [];
    for (let turn = 0; turn <= TURNS; turn++) {
      // Who comes first changes too.
      const before = turn % 2 === 0 ? await loadBare() : undefined;
      const submitted = await door.shoot(count, CONNECTIONS, 'respond-async', ['gateway']);
      const bare = before ?? (await loadBare());
      say(`a bare Fastify ${Math.round(bare.perS)}/s, submitted ${Math.round(submitted.perS)}/s`);
      if (turn > 0) shots.push({ bare, submitted });
    }
    return shots;
  });
}

/** All of them as one: each took as many requests. */
function taken(shots: readonly Shot[]): Shot {
  const mean = (of: (shot: Shot) => number) => shots.reduce((sum, shot) => sum + of(shot), 0) / shots.length;
  return {
    perS: 1 / mean(({ perS }) => 1 / perS),
    p99: Math.max(...shots.map(({ p99 }) => p99)),
    cpu: (shots[0]?.cpu ?? []).map((_, at) => Math.round(mean(({ cpu }) => cpu[at] as number))),
    connections: CONNECTIONS,
  };
}

async function bareGateway(platform: BenchPlatform, record: Sized): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const port = await freePort();
  const { brokers, admin } = platform.kafka;
  const settings = { brokers, ...admin, port, topic: BARE_TOPIC, partitions: platform.partitions, record };
  const child = spawn(process.execPath, ['test/bench/peers/fastify-loop.ts', JSON.stringify(settings)], { stdio: ['ignore', 'ignore', 'inherit'] });
  return { child, port };
}

async function liteLlm(platform: BenchPlatform): Promise<Shot> {
  const { url, key, child } = await startLiteLlm(platform.dir);
  const body = { model: 'mock', messages: [{ role: 'user', content: QUESTION }] };
  const target = { url, path: '/chat/completions', body, headers: () => ({ authorization: `Bearer ${key}` }) };
  return alone(child, () => fire(platform, target, PROXIED, LITELLM_CONNECTIONS, []));
}

async function alone<T>(child: ChildProcess, run: () => Promise<T>): Promise<T> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    return await run();
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}

type Seen = {
  readonly bare: Shot;
  readonly submitted: Shot;
  readonly workedOffPerS: number;
  readonly beside: Shot;
  readonly accepted: Shot;
  readonly answered: readonly Shot[];
  readonly litellm: Shot;
};

function report({ bare, submitted, workedOffPerS, beside, accepted, answered, litellm }: Seen): Report {
  const best = answered.reduce((a, b) => (b.perS > a.perS ? b : a));
  const [share, times] = [submitted.perS / bare.perS, best.perS / litellm.perS];
  const [gatewayUs, runtimeUs, auditorUs, kafkaUs] = best.cpu as readonly [number, number, number, number];
  return {
    name: 'gateway',
    figures: {
      submitted_without_a_runtime_per_s: Math.round(submitted.perS),
      submitted_p99_ms: submitted.p99,
      submitted_gateway_cpu_us: submitted.cpu[0] as number,
      bare_fastify_kafkajs_per_s: Math.round(bare.perS),
      bare_p99_ms: bare.p99,
      share_of_bare: round(share),
      then_worked_off_per_s: Math.round(workedOffPerS),
      submitted_beside_the_runtime_per_s: Math.round(beside.perS),
      accepted_with_verdict_per_s: Math.round(accepted.perS),
      accepted_with_verdict_p99_ms: accepted.p99,
      ...Object.fromEntries(answered.map(({ connections, perS }) => [`answered_at_${connections}_per_s`, Math.round(perS)])),
      answered_p99_ms: best.p99,
      answered_gateway_cpu_us: gatewayUs,
      answered_runtime_cpu_us: runtimeUs,
      answered_auditor_cpu_us: auditorUs,
      answered_kafka_cpu_us: kafkaUs,
      litellm_per_s: Math.round(litellm.perS),
      times_litellm: round(times),
    },
    ratio: round(share),
    target: `${BARE_SHARE} of a bare Fastify + kafkajs producer, and through to the answer ${LITELLM_TIMES} times LiteLLM's proxy, each at the connections at which it is best`,
    met: share >= BARE_SHARE && times >= LITELLM_TIMES,
    not_measured: ['several gateways', 'a broker on another machine', 'the bare peer behind a task that decides'],
  };
}
