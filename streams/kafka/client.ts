/**
 * kafkajs as we use it, and what cures it. Its Cluster is reached through a private symbol: it has no groupless consumer, no static
 * membership and no way to leave a group in another's name, and its own brokers can do all three.
 */
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import kafkajs, { type Admin, type ISocketFactory, type Kafka, type KafkaConfig, logLevel } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';

export type KafkaSettings = {
  readonly brokers: readonly string[];
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly tls?: boolean | undefined;
  readonly clientId: string;
  /** Where kafkajs's warnings and errors go; without it, nowhere. */
  readonly warn?: ((message: string) => void) | undefined;
};

/** What is used of kafkajs's internals. */
export interface Cluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>;
  refreshMetadata(): Promise<void>;
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>;
  /** By the topics named, whatever others are wanted. @throws the error of one of them */
  metadata(of: { readonly topics: readonly string[] }): Promise<{
    readonly topicMetadata: readonly { readonly partitionMetadata: readonly { readonly partitionId: number; readonly leader: number }[] }[];
  }>;
  findBroker(by: { readonly nodeId: string }): Promise<FetchBroker & TransactionBroker>;
  findGroupCoordinator(by: { readonly groupId: string; readonly coordinatorType?: number }): Promise<TransactionBroker>;
}
/** A coordinator of groups, or of transactions. */
export interface TransactionBroker {
  readonly nodeId: number | string;
  leaveGroup(who: { groupId: string; memberId: string }): Promise<unknown>;
  initProducerId(of: { readonly transactionalId: string | null; readonly transactionTimeout: number }): Promise<Producing>;
  addPartitionsToTxn(of: InTransaction & { readonly topics: readonly { topic: string; partitions: readonly number[] }[] }): Promise<unknown>;
  addOffsetsToTxn(of: InTransaction & { readonly groupId: string }): Promise<unknown>;
  txnOffsetCommit(
    of: InTransaction & {
      readonly groupId: string;
      readonly topics: readonly { topic: string; partitions: readonly { partition: number; offset: string }[] }[];
    },
  ): Promise<unknown>;
  endTxn(of: InTransaction & { readonly transactionResult: boolean }): Promise<unknown>;
}
export type Producing = { readonly producerId: string; readonly producerEpoch: number };
type InTransaction = Producing & { readonly transactionalId: string };
export interface FetchBroker {
  listOffsets(request: {
    readonly isolationLevel: number;
    readonly topics: readonly { topic: string; partitions: readonly { partition: number; timestamp: string }[] }[];
  }): Promise<{ readonly responses: readonly { readonly partitions: readonly { readonly offset: string }[] }[] }>;
}
/** A request of our own over kafkajs's connection: encoded by its encoder, decoded by us. */
export type Protocol<D, T> = {
  readonly request: unknown;
  readonly response: { decode(bytes: Buffer): Promise<D>; parse(decoded: D): Promise<T> };
};

/** Principals of one process: few, and each has one salt until its password is set anew. */
const SALTED_PASSWORDS = 100;

cureIdleTimer();
connectOnce();
saltOnce();

export function createKafka({ brokers, username, password, tls, clientId, warn }: KafkaSettings): Kafka {
  const config: KafkaConfig = {
    brokers: [...brokers],
    clientId,
    socketFactory: (options) => writesTogether(newSocket(options)),
    connectionTimeout: 5_000,
    requestTimeout: 30_000,
    retry: { initialRetryTime: 50, factor: 0.2, multiplier: 1.5, maxRetryTime: 1_000, retries: 20 },
    logLevel: warn ? logLevel.WARN : logLevel.NOTHING,
    logCreator: () => (entry) => warn?.(`${entry.namespace}: ${entry.log.message} ${String(entry.log.error ?? '')}`),
    ...(tls ? { ssl: true } : {}),
    ...(username !== undefined && password !== undefined ? { sasl: { mechanism: 'scram-sha-512', username, password } } : {}),
  };
  return new kafkajs.Kafka(config);
}

const newSocket = (createRequire(import.meta.url)('kafkajs/src/network/socketFactory') as () => ISocketFactory)();

/** Requests of one turn of the event loop go in one write: each is a call to the kernel that costs more than encoding what is in it. */
function writesTogether(socket: Socket): Socket {
  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
  socket.write = (...args: unknown[]) => {
    if (socket.writableCorked === 0) {
      socket.cork();
      process.nextTick(() => socket.uncork());
    }
    return write(...args);
  };
  return socket;
}

/** Connects an administrator, and disconnects whatever comes of `use`. */
export async function withAdmin<T>(kafka: Kafka, use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

export function createCluster(kafka: Kafka): Cluster {
  const make = privateMethod<(options: object) => Cluster>(kafka, kafka, 'private:Kafka:createCluster');
  return make({ metadataMaxAge: 300_000, allowAutoTopicCreation: false, maxInFlightRequests: null });
}

export function sendTo<D, T>(broker: FetchBroker, protocol: Protocol<D, T>): Promise<T> {
  return privateMethod<(protocol: Protocol<D, T>) => Promise<T>>(broker, Object.getPrototypeOf(broker) as object, 'private:Broker:sendRequest')(protocol);
}

/** The node that leads, as the metadata has it. @throws EvenkeelError `unavailable` while none does */
export function leaderOf(cluster: Cluster, topic: string, partition: number): string {
  const node = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))[0];
  if (node === undefined || Number(node) < 0) throw new EvenkeelError('unavailable', `${topic}/${partition} has no leader`);
  return node;
}

/** @throws EvenkeelError `wedged` when kafkajs has changed inside: the contract tests meet it first */
function privateMethod<F>(of: object, holder: object, description: string): F {
  const symbol = Object.getOwnPropertySymbols(holder).find((each) => each.description === description);
  const method = symbol && (of as Record<symbol, unknown>)[symbol];
  if (typeof method !== 'function') throw new EvenkeelError('wedged', `this version of kafkajs has no ${description}`);
  return method.bind(of) as F;
}

/** kafkajs's error for a code, with its name and whether it may pass. */
export const errorOf = (createRequire(import.meta.url)('kafkajs/src/protocol/error') as { createErrorFromCode(code: number): Error & { retriable: boolean } })
  .createErrorFromCode;

/** INVALID_PRODUCER_EPOCH, and PRODUCER_FENCED, which kafkajs has no name for. */
const FENCED = new Set([47, 90]);
const MESSAGE_TOO_LARGE = 10;
type ClientError = { readonly code?: number | string; readonly type?: string; readonly cause?: unknown };

/**
 * One place says what an error of the client means: `fenced` (another producer of that transactional id; also met without a loss of the
 * partition), `forbidden` (no right), `record_too_large`, or `otherwise`, which is retryable. What says it may stand deep in the causes.
 */
export function classify(cause: unknown, what: string, otherwise: 'commit_failed' | 'unavailable' = 'commit_failed'): EvenkeelError {
  if (cause instanceof EvenkeelError) return cause;
  const chain = causes(cause);
  const has = (test: (error: ClientError) => boolean) => chain.some(test);
  const code = has(({ code }) => FENCED.has(Number(code)))
    ? 'fenced'
    : has(({ type }) => type?.endsWith('AUTHORIZATION_FAILED') === true)
      ? 'forbidden'
      : has(({ code }) => code === MESSAGE_TOO_LARGE)
        ? 'record_too_large'
        : otherwise;
  return new EvenkeelError(code, `${what}: ${(cause as Error | undefined)?.message ?? String(cause)}`, { cause });
}

function causes(error: unknown): readonly ClientError[] {
  const chain: ClientError[] = [];
  for (let each = error; typeof each === 'object' && each !== null && chain.length < 8; each = (each as ClientError).cause) chain.push(each as ClientError);
  return chain;
}

/** A connected client re-arms a 1 ms timer for ever, 4 to 6 % of a core. It is needed only while something waits to be sent. */
function cureIdleTimer(): void {
  type Queue = { pending: unknown[]; throttledUntil: number; scheduleCheckPendingRequests(): void };
  const require = createRequire(import.meta.url);
  const { prototype } = require('kafkajs/src/network/requestQueue') as { prototype: Queue & { cured?: boolean } };
  if (prototype.cured) return;
  const schedule = prototype.scheduleCheckPendingRequests;
  prototype.cured = true;
  prototype.scheduleCheckPendingRequests = function (this: Queue) {
    if (this.pending.length > 0 || this.throttledUntil > Date.now()) schedule.call(this);
  };
}

/**
 * Two requests that find a connection closed open a socket each; kafkajs keeps the last and forgets the others, which stay open, and mixes
 * what arrives on all of them. Eight partitions that are opened at once meet it each time: answers were waited for up to 20 s.
 */
function connectOnce(): void {
  type Connection = { connect(): Promise<boolean>; connectsOnce?: boolean };
  const { prototype } = createRequire(import.meta.url)('kafkajs/src/network/connection') as { prototype: Connection };
  if (prototype.connectsOnce) return;
  const connect = prototype.connect;
  const connecting = new WeakMap<Connection, Promise<boolean>>();
  prototype.connectsOnce = true;
  prototype.connect = function (this: Connection) {
    const pending = connecting.get(this) ?? connect.call(this).finally(() => connecting.delete(this));
    connecting.set(this, pending);
    return pending;
  };
}

/**
 * A connection is authenticated with the password salted thousands of times, which kafkajs does twice for each: with dozens of connections
 * at a start this is a good part of it. The broker sends one salt for each principal.
 */
function saltOnce(): void {
  type Digest = { readonly type: string };
  type Scram = { hi(password: string, salt: Buffer, iterations: number, digest: Digest): Promise<Buffer>; saltsOnce?: boolean };
  const { SCRAM } = createRequire(import.meta.url)('kafkajs/src/broker/saslAuthenticator/scram') as { SCRAM: Scram };
  if (SCRAM.saltsOnce) return;
  const hi = SCRAM.hi;
  const salted = new Map<string, Promise<Buffer>>();
  SCRAM.saltsOnce = true;
  SCRAM.hi = (password, salt, iterations, digest) => {
    const at = JSON.stringify([password, salt.toString('base64'), iterations, digest.type]);
    let pending = salted.get(at);
    if (!pending) {
      if (salted.size >= SALTED_PASSWORDS) salted.clear();
      pending = hi(password, salt, iterations, digest);
      salted.set(at, pending);
      pending.catch(() => salted.delete(at));
    }
    return pending;
  };
}
