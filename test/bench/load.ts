/** Signed and sealed requests as the gateway writes them, made beforehand, and their results as they come. */
import { randomUUID } from 'node:crypto';
import { personId, requestId, tenantSecret } from '#schemas/digest.ts';
import type { HmacKey } from '#schemas/hmac.ts';
import type { Instant, RequestId, TenantId } from '#schemas/ids.ts';
import { KID_HEADER, PLATFORM_KID, platformSignatureKey, SIGNATURE_HEADER, signPlatform } from '#schemas/signature.ts';
import { partitionOf } from '#schemas/topics.ts';
import { openVault, type Vault } from '#services/vault.ts';
import type { Output } from '#streams/engine/machine.ts';
import { createSender, type RecordSender, type Sent } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import type { BenchPlatform } from './platform.ts';

const PERSONS = 20;
export const QUESTION = 'How do I trust the proxy in front of my server, so that the address of the client is the right one?';
export type Ask = { readonly tenant: TenantId; readonly person?: string; readonly conversation?: string; readonly deadlineMs?: number };
export type Made = { readonly record: Output; readonly tenant: TenantId; readonly request: RequestId };
/** When a request was accepted and when its result was written, both by the broker's clock, ms. */
export type Life = { readonly tenant: TenantId; queued: Instant; finished: Instant };

export class Load {
  readonly #platform: BenchPlatform;
  readonly #signatureKey: HmacKey;
  readonly #sender: RecordSender;
  readonly #reader: Reader;
  readonly #keysReader: Reader;
  readonly #vault: Vault;
  readonly #stop = new AbortController();
  sent = 0;
  finished = 0;
  /** Append times of the results, in the order in which they were seen. */
  readonly resultTimes: Instant[] = [];
  /** The same by request. */
  readonly results = new Map<string, Instant>();

  constructor(platform: BenchPlatform) {
    const { codec, masterKey, partitions } = platform;
    this.#platform = platform;
    this.#signatureKey = platformSignatureKey(masterKey);
    this.#sender = createSender(platform.client('gateway'));
    [this.#reader, this.#keysReader] = [new Reader(platform.client('gateway'), () => undefined), new Reader(platform.client('gateway'), () => undefined)];
    this.#vault = openVault({ log: this.#keysReader, send: (records) => this.#sender.send(records), codec, masterKey, partitions });
  }

  async open(): Promise<void> {
    await this.#vault.ready;
    for (let partition = 0; partition < this.#platform.partitions; partition++) void this.#follow(partition);
  }

  async make(asks: readonly Ask[]): Promise<readonly Made[]> {
    const made: Made[] = [];
    for (const [at, ask] of asks.entries()) made.push(await this.#one(ask, ask.person ?? `person-${at % PERSONS}`));
    return made;
  }

  /** Resolves when all are acknowledged. */
  async send(made: readonly Made[]): Promise<readonly Sent[]> {
    this.sent += made.length;
    return this.#sender.send(made.map(({ record }) => record));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#vault.close();
    await Promise.all([this.#sender.close(), this.#reader.close(), this.#keysReader.close()]);
  }

  async #one({ tenant, conversation, deadlineMs }: Ask, person: string): Promise<Made> {
    const { codec, masterKey, partitions } = this.#platform;
    const [secret, sent] = [tenantSecret(masterKey, tenant), randomUUID()];
    const request = requestId(secret, person, sent);
    const words = Buffer.from(JSON.stringify({ message: QUESTION, metadata: null }));
    const sealed = await this.#vault.seal(tenant, personId(secret, person), `${request}/message`, words);
    const value = codec.encode('support_request', {
      tenantId: tenant,
      requestId: sent,
      person,
      role: 'end_user',
      conversationId: conversation ?? null,
      deadlineMs: deadlineMs ?? null,
      message: null,
      metadata: null,
      sealed: Buffer.from(sealed),
    });
    const topic = 'support.requests';
    const signature = signPlatform(this.#signatureKey, topic, tenant, value);
    const headers = { [KID_HEADER]: PLATFORM_KID, [SIGNATURE_HEADER]: signature };
    return { record: { topic, partition: partitionOf(tenant, partitions), key: tenant, value, headers }, tenant, request };
  }

  async #follow(partition: number): Promise<void> {
    for await (const { records } of this.#reader.follow('support.results', partition, 0, this.#stop.signal)) {
      this.finished += records.length;
      for (const { value, timestamp } of records) {
        this.resultTimes.push(timestamp);
        const decoded = value && this.#platform.codec.decode(value);
        if (decoded?.name === 'support_result') this.results.set(decoded.value.request, timestamp);
      }
    }
  }
}

/** Every accepted request's life, read from the topics themselves. */
export async function livesOf(platform: BenchPlatform): Promise<ReadonlyMap<string, Life>> {
  const reader = new Reader(platform.client('admin'), () => undefined);
  const lives = new Map<string, Life>();
  try {
    for (let partition = 0; partition < platform.partitions; partition++) {
      for await (const { records } of reader.read('tenant.events', partition, 0))
        for (const { value, timestamp } of records) {
          const decoded = value && platform.codec.decode(value);
          if (decoded?.name === 'request_queued') lives.set(decoded.value.request, { tenant: decoded.value.tenant, queued: timestamp, finished: 0 });
        }
      for await (const { records } of reader.read('support.results', partition, 0))
        for (const { value, timestamp } of records) {
          const decoded = value && platform.codec.decode(value);
          const life = decoded?.name === 'support_result' ? lives.get(decoded.value.request) : undefined;
          if (life) life.finished = timestamp;
        }
    }
  } finally {
    await reader.close();
  }
  return lives;
}
