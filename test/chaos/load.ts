/**
 * A steady load of four tenants, over HTTP and straight over Kafka, with an idempotency key each. Whatever failed is sent again under the same
 * key, and some of what did not fail too. Every acknowledgement is written down, with what it said.
 */
import type { Kafka, Producer } from 'kafkajs';
import { type Codec, createCodec } from '#schemas/codec.ts';
import { requestId, tenantSecret } from '#schemas/digest.ts';
import type { TenantId } from '#schemas/ids.ts';
import { DEFAULT_PARTITIONS } from '#schemas/topics.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { SigningProducer } from '../signed-request.ts';
import type { Acknowledged } from './evidence.ts';
import type { Platform } from './platform.ts';
import { DOCUMENTS, QUESTIONS, TENANTS } from './tenants.ts';

const PEOPLE = 7;
const HTTP_TIMEOUT_MS = 5_000;
/** Of each tenant and way, one request after the other with so much between them at most. */
const PAUSE_MS = 200;
const TRIES = 40;
const RETRY_MS = 250;
const REPEATS = 0.1;
const MISROUTED = 0.05;
const UNSIGNED = 0.04;
const CONVERSATIONS = 0.3;

type Way = (tenant: string, key: string, person: string) => Promise<Acknowledged | 'later' | 'no'>;

export class Load {
  readonly acknowledged: Acknowledged[] = [];
  /** Answers that were no acknowledgement, by status or error. */
  readonly refused = new Map<string, number>();
  readonly #platform: Platform;
  readonly #random: () => number;
  readonly #signers = new Map<string, SigningProducer>();
  readonly #tokens = new Map<string, string>();
  #kafka!: Kafka;
  #producer!: Producer;
  #codec!: Codec;
  #running: Promise<unknown> = Promise.resolve();
  #stopping = false;

  constructor(platform: Platform, random: () => number) {
    this.#platform = platform;
    this.#random = random;
  }

  /** The tenants, their documents and their producers' keys. */
  async prepare(): Promise<void> {
    this.#codec = createCodec(await loadSchemas(this.#platform.cluster.registryUrl));
    this.#kafka = createKafka({ ...this.#platform.cluster, clientId: 'chaos-load' });
    this.#producer = this.#kafka.producer({
      idempotent: true,
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition ?? 0,
    });
    await this.#producer.connect();
    const operator = await this.#platform.token({ role: 'operator' });
    await Promise.all(TENANTS.map((tenant) => this.#create(operator, tenant)));
  }

  /** In each round a little more money for those who have little. */
  async grant(round: number): Promise<void> {
    const operator = await this.#platform.token({ role: 'operator' });
    for (const { name, grant } of TENANTS)
      if (grant) await this.#command(operator, 'POST', `/v1/tenants/${name}/grants`, { window: 'day', amount_micro_usd: grant }, `grant-${round}`);
  }

  start(round: number): void {
    this.#stopping = false;
    const http = TENANTS.map(({ name }) => this.#steadily(round, name, 'http', (...request) => this.#post(...request)));
    const direct = TENANTS.map(({ name }) => this.#steadily(round, name, 'kafka', (...request) => this.#produce(...request)));
    this.#running = Promise.all([...http, ...direct]);
  }
  /** What is on its way is brought to an end, or given up when it has waited too long. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }
  async close(): Promise<void> {
    await this.stop();
    await this.#producer.disconnect();
  }

  async #create(operator: string, { name, policy }: (typeof TENANTS)[number]): Promise<void> {
    const signer = new SigningProducer();
    this.#signers.set(name, signer);
    for (let person = 0; person < PEOPLE; person++)
      this.#tokens.set(`${name}/${person}`, await this.#platform.token({ tenant: name, role: 'end_user', subject: `person-${person}`, ttlSeconds: 86_400 }));
    await this.#command(operator, 'POST', '/v1/tenants', { tenant_id: name, policy: { ...policy, ...signer.policy } }, `create-${name}`);
    for (const { id, title, content } of DOCUMENTS)
      await this.#command(operator, 'PUT', `/v1/tenants/${name}/documents/${id}`, { title, version: '1', content }, `document-${id}`);
  }

  /** Until the gateway has taken it: the same key each time. */
  async #command(token: string, method: string, path: string, body: object, key: string): Promise<void> {
    for (let tries = 1; ; tries++) {
      const status = await this.#call(method, path, token, body, key).then(
        (answer) => answer.status,
        () => 0,
      );
      if (status >= 200 && status < 300) return;
      if (tries === TRIES) throw new Error(`${method} ${path} was not taken: ${status}`);
      await pause(RETRY_MS);
    }
  }

  async #steadily(round: number, tenant: string, name: string, way: Way): Promise<void> {
    for (let at = 0; !this.#stopping; at++) {
      const [key, person] = [`${name}-${round}-${at}`, String(Math.floor(this.#random() * PEOPLE))];
      const times = this.#random() < REPEATS ? 2 : 1;
      for (let time = 0; time < times; time++) await this.#insist(tenant, key, person, way);
      await pause(this.#random() * PAUSE_MS);
    }
  }

  async #insist(tenant: string, key: string, person: string, way: Way): Promise<void> {
    for (let tries = 1; tries <= TRIES; tries++) {
      const answer = await way(tenant, key, person).catch((error: Error) => this.#later(error.name));
      if (answer === 'no') return;
      if (answer !== 'later') return void this.acknowledged.push(answer);
      if (this.#stopping && tries > 1) return;
      await pause(RETRY_MS);
    }
  }

  #later(why: string): 'later' {
    this.refused.set(why, (this.refused.get(why) ?? 0) + 1);
    return 'later';
  }

  async #post(tenant: string, key: string, person: string): Promise<Acknowledged | 'later' | 'no'> {
    const body = { ...this.#question(key, person), deadline_ms: 300_000 };
    const { status, json } = await this.#call('POST', '/v1/requests', this.#tokens.get(`${tenant}/${person}`) as string, body, key);
    if (status === 202) return { tenant, request: json.request_id as string, said: json.stage === 'submitted' ? 'submitted' : 'queued' };
    this.#later(String(status));
    // Over a limit: others come first, and the same request may be sent again or not.
    return status === 429 ? 'no' : 'later';
  }

  /** The body follows from the key, so that a repeat is a repeat. */
  #question(key: string, person: string): { readonly message: string; readonly conversation_id?: string } {
    const number = [...key].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 9_973, 7);
    const message = `${QUESTIONS[number % QUESTIONS.length]} (${key})`;
    return (number % 100) / 100 < CONVERSATIONS ? { message, conversation_id: `talk-${person}` } : { message };
  }

  async #produce(tenant: string, key: string, person: string): Promise<Acknowledged | 'later' | 'no'> {
    const { message, conversation_id: conversationId = null } = this.#question(key, person);
    const asked = { requestId: key, person: `person-${person}`, conversationId, deadlineMs: 300_000, message };
    const signer = this.#signers.get(tenant) as SigningProducer;
    const { topic, partition: own, value, headers: signed } = signer.record(this.#codec, DEFAULT_PARTITIONS, tenant as TenantId, asked);
    const unsigned = this.#random() < UNSIGNED;
    const partition = this.#random() < MISROUTED ? (own + 1) % DEFAULT_PARTITIONS : own;
    const headers = unsigned ? {} : signed;
    const [written] = await this.#producer.send({ topic, acks: -1, messages: [{ partition, key: tenant, value, headers }] });
    // A forger: nobody answers for it. Its key is not used again.
    if (unsigned) return 'no';
    const secret = tenantSecret(Buffer.from(this.#platform.masterKey, 'hex'), tenant as TenantId);
    const at = { partition, offset: Number(written?.baseOffset) };
    return { tenant, request: requestId(secret, `person-${person}`, key), said: 'produced', at };
  }

  async #call(method: string, path: string, token: string, body: object, key: string) {
    const response = await fetch(`${this.#platform.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(HTTP_TIMEOUT_MS),
    });
    const text = await response.text();
    return { status: response.status, json: (text.startsWith('{') ? JSON.parse(text) : {}) as Record<string, unknown> };
  }
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
