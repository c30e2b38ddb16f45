/**
 * Over HTTP: requests accepted, with authentication, limits and idempotency, each answered when the task has decided; beside a bare Fastify
 * with kafkajs's producer. And through to the answer, beside LiteLLM's proxy. Each is loaded alone, one after the other, by autocannon.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { freePort, listens, until } from '#infra/local/wait.mjs';
import type { TenantId } from '#schemas/ids.ts';
import { withAdmin } from '#streams/kafka/client.ts';
import { BenchIssuer } from './issuer.ts';
import { pause } from './pace.ts';
import { startLiteLlm } from './peers/litellm.ts';
import { OPEN_POLICY } from './pipeline.ts';
import { BenchPlatform } from './platform.ts';
import { type Report, round } from './report.ts';

const TENANTS = 8;
const CONNECTIONS = 256;
/** More connections make LiteLLM no faster. */
const LITELLM_CONNECTIONS = 32;
const WARM_S = 3;
const SECONDS = 10;
const BARE_SHARE = 0.8;
const LITELLM_TIMES = 20;
const BARE_TOPIC = 'bench.accepted';
const QUESTION = 'How do I trust the proxy in front of my server, so that the address of the client is the right one?';

/** `count`: with those of the warming up. */
type Shot = { readonly perS: number; readonly p99: number; readonly count: number };

export async function gateway(): Promise<Report> {
  const platform = await BenchPlatform.start();
  try {
    const { url, tokens } = await open(platform);
    const before = platform.cpu('gateway');
    const accepted = await shoot(url, tokens, {});
    const gatewayUs = ((platform.cpu('gateway') - before) * 1e6) / accepted.count;
    const answered = await shoot(url, tokens, { prefer: 'wait=30' });
    for (const name of ['gateway', 'runtime', 'auditor']) await platform.end(name);
    const bare = await bareGateway(platform);
    const litellm = await liteLlm(platform);
    return report(accepted, answered, bare, litellm, gatewayUs);
  } finally {
    await platform.stop();
  }
}

async function open(platform: BenchPlatform) {
  const tenants = await platform.tenants(TENANTS, OPEN_POLICY);
  const [issuer, issuers, port] = [new BenchIssuer(), join(platform.dir, 'issuers.json'), await freePort()];
  issuer.writeTo(issuers);
  await platform.run('auditor', 'services/auditor/main.ts', 'auditor');
  await platform.run('runtime', 'test/bench/constant-runtime.ts', 'runtime', { EVENKEEL_IN_FLIGHT_PER_PARTITION: '2000' });
  await platform.run('gateway', 'services/gateway/main.ts', 'gateway', { EVENKEEL_HTTP_PORT: String(port), EVENKEEL_ISSUERS_FILE: issuers });
  const tokens = await Promise.all(tenants.map((tenant: TenantId) => issuer.token({ tenant, role: 'end_user', subject: 'ann' })));
  return { url: `http://127.0.0.1:${port}`, tokens };
}

/** Every request has a key of its own; tenants take turns. @throws when one was not taken */
async function shoot(url: string, tokens: readonly string[], headers: Readonly<Record<string, string>>): Promise<Shot> {
  let at = 0;
  return fire(url, '/v1/requests', CONNECTIONS, { message: QUESTION }, () => ({
    ...headers,
    ...(tokens.length > 0 ? { authorization: `Bearer ${tokens[at++ % tokens.length]}` } : {}),
    'idempotency-key': randomUUID(),
  }));
}

async function fire(url: string, path: string, connections: number, body: object, headers: () => Record<string, string>): Promise<Shot> {
  const shot = (duration: number) =>
    autocannon({
      url,
      connections,
      duration,
      timeout: 30,
      requests: [
        {
          method: 'POST',
          path,
          body: JSON.stringify(body),
          setupRequest: (request) => ({ ...request, headers: { 'content-type': 'application/json', ...headers() } }),
        },
      ],
    });
  const warm = await shot(WARM_S);
  const { requests, latency, non2xx, errors, timeouts } = await shot(SECONDS);
  if (non2xx + errors + timeouts > 0) throw new Error(`${url}${path}: ${non2xx} answers were no 2xx, ${errors} errors, ${timeouts} timeouts`);
  // What was on its way at the end is done with before the next.
  await pause(1_000);
  return { perS: requests.average, p99: latency.p99, count: warm.requests.total + requests.total };
}

async function bareGateway(platform: BenchPlatform): Promise<Shot> {
  await withAdmin(platform.client('admin'), async (admin) => {
    await admin.createTopics({ topics: [{ topic: BARE_TOPIC, numPartitions: 1, replicationFactor: 1 }], waitForLeaders: false });
  });
  const port = await freePort();
  const { brokers, admin } = platform.kafka;
  const child = spawn(process.execPath, ['test/bench/peers/fastify-loop.ts', JSON.stringify({ brokers, ...admin, port, topic: BARE_TOPIC })], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return alone(child, async () => {
    await until('the bare gateway', 30_000, () => listens(port));
    return shoot(`http://127.0.0.1:${port}`, [], {});
  });
}

async function liteLlm(platform: BenchPlatform): Promise<Shot> {
  const { url, key, child } = await startLiteLlm(platform.dir);
  const body = { model: 'mock', messages: [{ role: 'user', content: QUESTION }] };
  return alone(child, () => fire(url, '/chat/completions', LITELLM_CONNECTIONS, body, () => ({ authorization: `Bearer ${key}` })));
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

function report(accepted: Shot, answered: Shot, bare: Shot, litellm: Shot, gatewayUs: number): Report {
  const [share, times] = [accepted.perS / bare.perS, answered.perS / litellm.perS];
  return {
    name: 'gateway',
    figures: {
      accepted_per_s: Math.round(accepted.perS),
      accepted_p99_ms: accepted.p99,
      gateway_cpu_us_per_request: Math.round(gatewayUs),
      bare_fastify_kafkajs_per_s: Math.round(bare.perS),
      share_of_bare: round(share),
      answered_per_s: Math.round(answered.perS),
      answered_p99_ms: answered.p99,
      litellm_per_s: Math.round(litellm.perS),
      times_litellm: round(times),
    },
    ratio: round(share),
    target: `${BARE_SHARE} of a bare Fastify + kafkajs producer, and through to the answer ${LITELLM_TIMES} times LiteLLM's proxy`,
    met: share >= BARE_SHARE && times >= LITELLM_TIMES,
    not_measured: ['several gateways', 'a broker on another machine', 'the bare peer behind a task that decides'],
  };
}
