/**
 * The whole platform in memory, for the gateway's tests and its page: the real server over the real projection, ingress and task, on the
 * memory log. Only Kafka, disk and model are missing.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { performance } from 'node:perf_hooks';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { MicroUsd, TenantId } from '#schemas/ids.ts';
import { platformSignatureKey } from '#schemas/signature.ts';
import { partitionOf } from '#schemas/topics.ts';
import { Authenticator, type Issuer } from '#services/gateway/auth.ts';
import { Lifecycle } from '#services/gateway/lifecycle.ts';
import type { GatewayParts } from '#services/gateway/parts.ts';
import { RateCounter } from '#services/gateway/rate.ts';
import { recall } from '#services/gateway/recall.ts';
import { Results } from '#services/gateway/results.ts';
import { createServer } from '#services/gateway/server.ts';
import { StreamBound } from '#services/gateway/sse.ts';
import { Submissions } from '#services/gateway/submissions.ts';
import { View } from '#services/gateway/view.ts';
import { deadLetterOf, Ingress } from '#services/runtime/ingress.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import { type Agent, turns } from '#services/runtime/turns.ts';
import { openVault } from '#services/vault.ts';
import type { Output } from '#streams/engine/machine.ts';
import { openProjection } from '#streams/engine/projection.ts';
import { openTask } from '#streams/engine/task.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { support } from '#streams/support/support.ts';

// The memory broker listens to its followers' signals anew with each wait.
setMaxListeners(0);

const PARTITIONS = 2;
const TOPICS = { history: 'tenant.events', words: 'support.steps' };
const codec = createCodec(localSchemas());
const machine = support(codec);
const masterKey = randomBytes(32);
const keys = await generateKeyPair('EdDSA', { extractable: true });
const ISSUER = 'https://issuer.test';

export type Claims = { readonly tenant?: string; readonly role?: string; readonly person?: string; readonly audience?: string; readonly seconds?: number };
export async function issuer(): Promise<Issuer> {
  const jwk = { ...(await exportJWK(keys.publicKey)), kid: 'k', alg: 'EdDSA' };
  return { issuer: ISSUER, jwks: { keys: [jwk] }, tenants: '*', roles: ['end_user', 'tenant_admin', 'auditor', 'operator'] };
}
export async function token({ tenant, role = 'end_user', person = 'ann', audience = 'evenkeel', seconds = 600 }: Claims): Promise<string> {
  const expires = Math.floor(Date.now() / 1_000) + seconds;
  return new SignJWT({ role, ...(tenant === undefined ? {} : { tenant }) })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'k' })
    .setIssuer(ISSUER)
    .setAudience(audience)
    .setSubject(person)
    .setExpirationTime(expires)
    .sign(keys.privateKey);
}
export const bearer = async (claims: Claims) => ({ authorization: `Bearer ${await token(claims)}` });

/** Answers from one step of the given cost. */
const answering =
  (ms = 5, cost = 420): Agent =>
  async (ask, journal) => {
    const step = { worstCase: 5_000 as MicroUsd, worstTokens: 100, kind: 'read' } as const;
    await journal.step('model', step, async () => {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return { value: ask.message, cost: cost as MicroUsd, inputTokens: 10, outputTokens: 10, model: 'fake' };
    });
    return {
      outcome: 'answered',
      reason: 'answered',
      answer: `An answer to: ${ask.message}`,
      citations: [{ document: 'a.md', heading: 'A', version: '1' }],
      degraded: ask.degraded,
    };
  };

export type DeskOptions = { readonly agent?: Agent; readonly verdictMs?: number; readonly logger?: boolean };
export type Desk = Awaited<ReturnType<typeof openDesk>>;

export async function openDesk({ agent = answering(), verdictMs = 1_000 }: DeskOptions = {}) {
  const stop = new AbortController();
  const broker = new MemoryBroker(() => Date.now());
  const log = memoryLog({ broker, topics: TOPICS, owned: () => true });
  const sent: Output[] = [];
  const send = async (records: readonly Output[]) => {
    sent.push(...records);
    for (const record of records) broker.append(record, record.partition ?? 0);
  };
  const vault = openVault({ log, send, codec, masterKey, partitions: PARTITIONS });
  await vault.ready;
  const runtime = new FakeRuntime({ broker, log, vault, agent, signal: stop.signal });
  await runtime.start();
  const stores = memoryStores();
  const gateway = await openGateway({ runtime, log, send, vault, verdictMs, stores });
  return {
    ...gateway,
    broker,
    runtime,
    sent,
    /** A second gateway that starts on the same disk. */
    again: async () => {
      await gateway.close();
      return openGateway({ runtime, log, send, vault, verdictMs, stores });
    },
    async close() {
      stop.abort();
      await gateway.close();
      await runtime.close();
      await vault.close();
    },
  };
}

type Shared = {
  readonly runtime: FakeRuntime;
  readonly log: ReturnType<typeof memoryLog>;
  readonly send: (records: readonly Output[]) => Promise<unknown>;
  readonly vault: ReturnType<typeof openVault>;
  readonly verdictMs: number;
  readonly stores: ReturnType<typeof memoryStores>;
};

async function openGateway({ runtime, log, send, vault, verdictMs, stores }: Shared) {
  const [view, lifecycle, submissions] = [new View(), new Lifecycle(), new Submissions()];
  const results = await Results.open({ log, codec, stores: memoryStores(), partitions: PARTITIONS });
  const failed: Error[] = [];
  await results.start((error) => failed.push(error));
  const projection = await openProjection({
    machine,
    log,
    stores,
    partitions: PARTITIONS,
    topic: TOPICS.history,
    partitionOf: ({ tenant }) => partitionOf(tenant, PARTITIONS),
    onBatch(partition, batch, events) {
      for (const { event, offset, after } of events) {
        view.take({ event, offset, at: batch.time }, after);
        submissions.happened({ event, offset, at: batch.time });
        lifecycle.happened({ event, offset, at: batch.time });
        if (event.type === 'request_forgotten') results.forget(partition, event.tenant, event.request);
      }
    },
  });
  for (let partition = 0; partition < PARTITIONS; partition++) recall(view, projection.store(partition));
  await projection.ready;
  const parts: GatewayParts = {
    auth: new Authenticator([await issuer()]),
    codec,
    vault,
    masterKey,
    platformKey: platformSignatureKey(masterKey),
    partitions: PARTITIONS,
    send,
    peek: (row) => projection.peek(row),
    result: (partition, tenant, request, ms) => results.arrival(partition, tenant, request, ms),
    placeOf: async (partition, tenant, item) => {
      const { before, ahead, full } = (runtime.tasks[partition] as SupportTask).explain({ tenant, item });
      return { conversations: before, tenants: ahead, full };
    },
    lifecycle,
    rate: new RateCounter(),
    streams: new StreamBound(50),
    submissions,
    view,
    refused: () => undefined,
    random: randomUUID,
    verdictMs,
    commandMs: 5_000,
  };
  const app = await createServer(parts);
  return {
    app,
    parts,
    view,
    failed,
    projection,
    async close() {
      await app.close();
      await projection.close();
      await results.close();
    },
  };
}

type RuntimeParts = {
  readonly broker: MemoryBroker;
  readonly log: ReturnType<typeof memoryLog>;
  readonly vault: ReturnType<typeof openVault>;
  readonly agent: Agent;
  readonly signal: AbortSignal;
};

/** Ingress and task as in production, fed from the memory log. `paused` holds records back, as a slow or absent runtime does. */
class FakeRuntime {
  readonly #parts: RuntimeParts;
  readonly tasks: SupportTask[] = [];
  #released: Promise<void> = Promise.resolve();
  #release: () => void = () => undefined;

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
  }

  pause(): void {
    this.#released = new Promise((resolve) => {
      this.#release = resolve;
    });
  }
  resume(): void {
    this.#release();
  }

  async start(): Promise<void> {
    const { log, vault, agent } = this.#parts;
    for (let partition = 0; partition < PARTITIONS; partition++)
      this.tasks.push(
        await openTask({
          machine,
          partition,
          partitions: PARTITIONS,
          topics: TOPICS,
          log,
          stores: memoryStores(),
          clock: { monotonic: () => performance.now(), after: (ms, run) => clearing(setTimeout(run, Math.min(ms, 2_147_483_647))) },
          cap: 64,
          effects: (task) => turns({ agent, vault, codec, warn: () => undefined }, task),
          deadLetter: (input, error, consumed) => [deadLetterOf(codec, partition, input, error, consumed)],
          report: { committed: () => undefined, warn: () => undefined },
        }),
      );
    const ingress = new Ingress({
      codec,
      masterKey,
      platformKey: platformSignatureKey(masterKey),
      partitions: PARTITIONS,
      vault,
      policyOf: (tenant: TenantId, partition) => {
        const account = this.tasks[partition]?.peek({ tenant }).account;
        return account?.created ? account.policy : undefined;
      },
    });
    for (let partition = 0; partition < PARTITIONS; partition++) {
      void this.#feed('tenant.commands', partition, ingress);
      void this.#feed('support.requests', partition, ingress);
    }
  }

  async #feed(topic: 'tenant.commands' | 'support.requests', partition: number, ingress: Ingress): Promise<void> {
    const task = this.tasks[partition] as SupportTask;
    for await (const { records } of this.#parts.log.follow(topic, partition, 0, this.#parts.signal))
      for (const record of records) {
        await this.#released;
        const arrival = topic === 'support.requests' ? await ingress.request(partition, record) : ingress.command(partition, record);
        const consumed = { topic, from: record.offset, next: record.offset + 1, at: record.timestamp };
        await ('input' in arrival ? task.offer(arrival.input, consumed) : task.pass(arrival.pass, consumed)).catch(() => undefined);
      }
  }

  async close(): Promise<void> {
    this.#release();
    for (const task of this.tasks) await task.close();
  }
}

const clearing = (timer: NodeJS.Timeout) => () => clearTimeout(timer);
