/**
 * kafkajs as we use it, and what cures it. Its Cluster is reached through a private symbol: it has no groupless consumer, no static
 * membership and no way to leave a group in another's name, and its own brokers can do all three.
 */
import { createRequire } from 'node:module';
import kafkajs, { type Kafka, type KafkaConfig, logLevel } from 'kafkajs';
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
  findTopicPartitionMetadata(topic: string): readonly { readonly partitionId: number; readonly leader: number }[];
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>;
  findBroker(by: { readonly nodeId: string }): Promise<FetchBroker>;
  findGroupCoordinator(by: { readonly groupId: string }): Promise<{ leaveGroup(who: { groupId: string; memberId: string }): Promise<unknown> }>;
}
export interface FetchBroker {
  fetch(request: {
    readonly isolationLevel: number;
    readonly maxWaitTime: number;
    readonly minBytes: number;
    readonly maxBytes: number;
    readonly topics: readonly { topic: string; partitions: readonly { partition: number; fetchOffset: string; maxBytes: number }[] }[];
  }): Promise<{ readonly responses: readonly { readonly topicName: string; readonly partitions: readonly FetchedPartition[] }[] }>;
  listOffsets(request: {
    readonly isolationLevel: number;
    readonly topics: readonly { topic: string; partitions: readonly { partition: number; timestamp: string }[] }[];
  }): Promise<{ readonly responses: readonly { readonly partitions: readonly { readonly offset: string }[] }[] }>;
}
export type FetchedPartition = {
  readonly partition: number;
  readonly lastStableOffset?: string;
  readonly highWatermark: string;
  readonly messages: readonly { readonly offset: string }[];
};

cureIdleTimer();

export function createKafka({ brokers, username, password, tls, clientId, warn }: KafkaSettings): Kafka {
  const config: KafkaConfig = {
    brokers: [...brokers],
    clientId,
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

export function createCluster(kafka: Kafka): Cluster {
  const symbol = Object.getOwnPropertySymbols(kafka).find((each) => each.description === 'private:Kafka:createCluster');
  const make = symbol && (kafka as unknown as Record<symbol, (options: object) => Cluster>)[symbol];
  if (!make) throw new EvenkeelError('unavailable', 'this version of kafkajs has no createCluster');
  return make({ metadataMaxAge: 300_000, allowAutoTopicCreation: false, maxInFlightRequests: null });
}

/** One place says what an error of the client means. Code 47 is INVALID_PRODUCER_EPOCH, 90 PRODUCER_FENCED. */
export function classify(cause: unknown, what: string): EvenkeelError {
  if (cause instanceof EvenkeelError) return cause;
  const { code, type, message } = cause as { code?: number; type?: string; message?: string };
  const fenced = code === 47 || code === 90 || type === 'INVALID_PRODUCER_EPOCH';
  const denied = typeof type === 'string' && type.endsWith('AUTHORIZATION_FAILED');
  return new EvenkeelError(fenced ? 'fenced' : denied ? 'forbidden' : 'commit_failed', `${what}: ${message}`, { cause });
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
