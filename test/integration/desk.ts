/** A gateway and a runtime as processes on the tests' Kafka, in front of a provider that misbehaves: what a client sees of the ladder. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mintToken } from '#infra/local/issuer.ts';
import { freePort, until } from '#infra/local/wait.mjs';
import { createCodec } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import type { TenantId } from '#schemas/ids.ts';
import { DEFAULT_PARTITIONS, partitionOf } from '#schemas/topics.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { BadProvider } from '#test/services/bad-provider.ts';
import type { TestKafka } from '#test/start-kafka.ts';
import { ServiceProcess } from './service-process.ts';

const ISSUER = 'https://issuer.test';
const WITHIN_MS = 30_000;
/** Micro-dollars for a thousand tokens. */
export const PRICES = { big: { input: 150, output: 600 }, small: { input: 50, output: 200 } };
const CONTENT = '# Export limit\n\nThe export limit is ten thousand rows for each export. A larger export is split into parts.';

// biome-ignore lint/suspicious/noExplicitAny: a test looks at what the gateway really says.
type Body = any;

export class Desk {
  readonly provider = new BadProvider();
  readonly #kafka: TestKafka;
  readonly #dir = mkdtempSync(join(tmpdir(), 'evenkeel-desk-'));
  readonly #issuer = generateKeyPairSync('ed25519');
  #port = 0;
  #runtime!: ServiceProcess;
  #gateway!: ServiceProcess;

  constructor(kafka: TestKafka) {
    this.#kafka = kafka;
  }

  /** `tenants` have a model key of their own, which is their name: a breaker of one is no other's. */
  async start(tenants: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.provider.start();
    this.#port = await freePort();
    const keys = { main: 'platform-key', ...Object.fromEntries(tenants.map((tenant) => [`${tenant}/own`, `${tenant}-key`])) };
    const jwks = { keys: [{ ...this.#issuer.publicKey.export({ format: 'jwk' }), kid: 'local', alg: 'EdDSA', use: 'sig' }] };
    this.#runtime = new ServiceProcess('runtime', this.#kafka, {
      EVENKEEL_MODEL_URL: this.provider.url,
      EVENKEEL_MODEL: 'big',
      EVENKEEL_CHEAPER_MODEL: 'small',
      EVENKEEL_MODEL_KEY_NAME: 'main',
      EVENKEEL_SECRETS_FILE: this.#file('secrets.json', keys),
      EVENKEEL_PRICES_FILE: this.#file('prices.json', [{ version: 1, from: '2026-01-01T00:00:00Z', models: PRICES }]),
      ...env,
    });
    this.#gateway = new ServiceProcess('gateway', this.#kafka, {
      EVENKEEL_HTTP_PORT: String(this.#port),
      EVENKEEL_ISSUERS_FILE: this.#file('issuers.json', [{ issuer: ISSUER, jwks, tenants: '*', roles: ['end_user', 'tenant_admin', 'operator'] }]),
    });
    await Promise.all(
      [this.#runtime, this.#gateway].map(async (service) => {
        await service.start();
        await until('the service', WITHIN_MS, () => service.ready());
      }),
    );
    await Promise.all(tenants.map((tenant) => this.#create(tenant)));
  }

  async stop(): Promise<void> {
    await Promise.all([this.#runtime.remove(), this.#gateway.remove()]);
    await this.provider.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async call(
    method: string,
    path: string,
    token: string,
    body?: object,
    headers: Record<string, string> = {},
  ): Promise<{ readonly status: number; readonly json: Body }> {
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}), ...headers },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return { status: response.status, json: await response.json() };
  }
  token(tenant: string | undefined, role: 'end_user' | 'operator'): Promise<string> {
    const privateJwk = this.#issuer.privateKey.export({ format: 'jwk' });
    return mintToken({ issuer: { name: ISSUER, privateJwk } }, { tenant, role, subject: 'tester' });
  }

  async policy(tenant: string, changes: object): Promise<void> {
    const { status, json } = await this.call('PUT', `/v1/tenants/${tenant}/policy`, await this.token(undefined, 'operator'), { changes });
    if (status !== 200) throw new Error(JSON.stringify(json));
  }
  async publish(tenant: string, message: string, more: object = {}): Promise<string> {
    const { status, json } = await this.call('POST', '/v1/requests', await this.token(tenant, 'end_user'), { message, ...more });
    if (status !== 202) throw new Error(JSON.stringify(json));
    return json.request_id;
  }
  async finished(tenant: string, id: string): Promise<Body> {
    const token = await this.token(tenant, 'end_user');
    let last: Body;
    await until(`${id} to finish`, WITHIN_MS, async () => {
      last = (await this.call('GET', `/v1/requests/${id}`, token)).json;
      return last.stage === 'finished';
    });
    return last;
  }
  async ask(tenant: string, message: string, more: object = {}): Promise<Body> {
    return this.finished(tenant, await this.publish(tenant, message, more));
  }
  async account(tenant: string): Promise<Body> {
    return (await this.call('GET', `/v1/tenants/${tenant}`, await this.token(undefined, 'operator'))).json;
  }

  /** Sends a request and goes away before its answer. Resolves when the bytes are out. */
  async publishAndLeave(tenant: string, message: string, key: string): Promise<void> {
    const headers = { authorization: `Bearer ${await this.token(tenant, 'end_user')}`, 'content-type': 'application/json', 'idempotency-key': key };
    const sent = request({ host: '127.0.0.1', port: this.#port, path: '/v1/requests', method: 'POST', headers });
    sent.on('error', () => undefined);
    await new Promise<void>((resolve) => sent.end(JSON.stringify({ message }), resolve));
    await until('its call', WITHIN_MS, async () => this.provider.calls.some((call) => call.key === `${tenant}-key`));
    sent.destroy();
  }
  /** Follows a request's events and goes away once it runs. */
  async followAndLeave(tenant: string, id: string): Promise<void> {
    const gone = new AbortController();
    const headers = { authorization: `Bearer ${await this.token(tenant, 'end_user')}` };
    const response = await fetch(`http://127.0.0.1:${this.#port}/v1/requests/${id}/events`, { headers, signal: gone.signal });
    const reader = response.body?.getReader();
    await until('a first event', WITHIN_MS, async () => ((await reader?.read())?.value?.length ?? 0) > 0);
    gone.abort();
  }

  metrics(service: 'runtime' | 'gateway'): Promise<string> {
    return (service === 'runtime' ? this.#runtime : this.#gateway).get('/metrics').then(({ body }) => body);
  }

  /** The tenant's events, from the log alone. */
  async history(tenant: string): Promise<readonly Event[]> {
    const codec = createCodec(await loadSchemas(this.#kafka.registryUrl));
    const { brokers, admin } = this.#kafka;
    const reader = new Reader(createKafka({ brokers, ...admin, clientId: 'desk-test' }), () => undefined);
    try {
      const events: Event[] = [];
      for await (const { records } of reader.read('tenant.events', partitionOf(tenant as TenantId, DEFAULT_PARTITIONS), 0))
        for (const { value } of records) {
          const { name, value: fields } = codec.decode(value ?? new Uint8Array());
          if ('tenant' in fields && fields.tenant === tenant) events.push({ type: name, ...fields } as Event);
        }
      return events;
    } finally {
      await reader.close();
    }
  }

  async #create(tenant: string): Promise<void> {
    const operator = await this.token(undefined, 'operator');
    const policy = { modelKey: 'own', burst: 1_000, requestsPerSecond: 1_000 };
    const { status, json } = await this.call('POST', '/v1/tenants', operator, { tenant_id: tenant, policy });
    if (status !== 201) throw new Error(JSON.stringify(json));
    const document = { title: 'Limits', version: '1', content: CONTENT };
    await this.call('PUT', `/v1/tenants/${tenant}/documents/limits.md`, operator, document);
    // A runtime reads documents behind the gateway's back: it has them once a question finds them.
    await until('its documents', WITHIN_MS, async () => (await this.ask(tenant, 'What is the export limit at first?')).outcome === 'answered');
  }

  #file(name: string, json: unknown): string {
    const path = join(this.#dir, name);
    writeFileSync(path, JSON.stringify(json), { mode: 0o600 });
    return path;
  }
}
