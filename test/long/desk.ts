/** Several gateways and a signed Kafka producer of one tenant, and what each said to whom. */
import { randomUUID } from 'node:crypto';
import { requestId, tenantSecret } from '#schemas/digest.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import { auditPrincipal } from '#schemas/topics.ts';
import { provisionTenant } from '#streams/kafka/admin.ts';
import { createSender, type RecordSender } from '#streams/kafka/producer.ts';
import { BenchIssuer } from '../bench/issuer.ts';
import type { BenchPlatform } from '../bench/platform.ts';
import type { Acknowledged } from '../chaos/evidence.ts';
import { SigningProducer } from '../signed-request.ts';

const QUESTION = 'How do I trust the proxy in front of my server?';

export class Desk {
  readonly acknowledged: Acknowledged[] = [];
  /** Answers that were no acknowledgement, by status. */
  readonly refused = new Map<number, number>();
  readonly #platform: BenchPlatform;
  readonly #issuer = new BenchIssuer();
  readonly #producer = new SigningProducer();
  readonly #sender: RecordSender;
  readonly #urls: string[] = [];

  constructor(platform: BenchPlatform) {
    this.#platform = platform;
    this.#sender = createSender(platform.client('gateway'));
  }

  async startGateways(count: number): Promise<void> {
    for (let at = 1; at <= count; at++) this.#urls.push(await this.#issuer.startGateway(this.#platform, `gateway-${at}`));
  }

  async createTenant(tenant: TenantId, policy: Partial<Policy>): Promise<void> {
    const { kafka } = this.#platform;
    const settings = { brokers: kafka.brokers, ...kafka.admin, clientId: 'desk.provision' };
    await provisionTenant({ kafka: this.#platform.client('admin'), settings, tenant, passwords: { [auditPrincipal(tenant)]: 'desk-secret' } });
    await this.#platform.createTenants([tenant], { ...policy, ...this.#producer.policy });
  }

  token(tenant: TenantId | undefined, role: 'end_user' | 'operator' = 'end_user'): Promise<string> {
    return this.#issuer.token({ tenant, role, subject: 'ann' });
  }

  // biome-ignore lint/suspicious/noExplicitAny: a test looks at what the gateway really says.
  async get(path: string, token: string): Promise<any> {
    return (await fetch(`${this.#urls[0]}${path}`, { headers: { authorization: `Bearer ${token}` } })).json();
  }

  /** Over HTTP, by the gateways in turn. @returns the status */
  async post(tenant: TenantId, token: string, at: number): Promise<number> {
    const response = await this.#request(token, at, { 'idempotency-key': randomUUID() });
    const json = (await response.json()) as { request_id?: string; stage?: string };
    if (response.status === 202)
      this.acknowledged.push({ tenant, request: json.request_id as string, said: json.stage === 'submitted' ? 'submitted' : 'queued' });
    else this.refused.set(response.status, (this.refused.get(response.status) ?? 0) + 1);
    return response.status;
  }

  /** Over HTTP, by the first gateway, through to the answer. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at what the gateway really says.
  async ask(tenant: TenantId, token: string): Promise<any> {
    const response = await this.#request(token, 0, { prefer: 'wait=30' });
    const json = (await response.json()) as { request_id: string };
    if (response.status < 300) this.acknowledged.push({ tenant, request: json.request_id, said: 'queued' });
    return json;
  }

  #request(token: string, at: number, headers: Readonly<Record<string, string>>): Promise<Response> {
    return fetch(`${this.#urls[at % this.#urls.length]}/v1/requests`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ message: QUESTION }),
    });
  }

  /** Straight over Kafka, under the tenant's own signature. */
  async publish(tenant: TenantId, deadlineMs: number | null = null): Promise<void> {
    const { codec, partitions, masterKey } = this.#platform;
    const { requestId: sent, person, ...record } = this.#producer.record(codec, partitions, tenant, { message: QUESTION, deadlineMs });
    const [written] = await this.#sender.send([record]);
    const request = requestId(tenantSecret(masterKey, tenant), person, sent);
    this.acknowledged.push({ tenant, request, said: 'produced', at: { partition: record.partition, offset: written?.offset ?? -1 } });
  }

  async close(): Promise<void> {
    await this.#sender.close();
  }
}
