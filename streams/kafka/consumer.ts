/**
 * A runtime's membership in the group. Records are handed over at once and offsets never committed here: they ride in the fenced
 * transaction of the task. Every partition is paused at each join, synchronously, until its task says where it stands.
 */
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { Consumer, ConsumerStartBatchProcessEvent, Kafka } from 'kafkajs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset } from '#schemas/ids.ts';
import type { Rec } from '#streams/engine/ports.ts';
import { coPartitioned } from './assigner.ts';
import { createCluster } from './client.ts';
import { toRecord } from './reader.ts';

export type GroupSubscription = {
  /** All that is assigned now, kept partitions too: each is paused, and must be sought and resumed. */
  assigned(partitions: readonly number[]): void;
  revoked(partitions: readonly number[]): void;
  /** `from`: where the fetch began; `next`: the position after it. No records: what was there is aborted, or markers. */
  records(topic: string, partition: number, records: readonly Rec[], from: Offset, next: Offset): void;
};
export interface Member {
  /** Until then it is connected and known to nobody: whoever joins takes partitions from others, and should be able to open them. */
  join(subscription: GroupSubscription): Promise<void>;
  /** A heartbeat in the current generation succeeded just now, and the partition is ours; or the join that gave it to us, when it is asked first. */
  owned(partition: number): Promise<boolean>;
  pause(partition: number): void;
  resume(partition: number): void;
  seek(topic: string, partition: number, offset: Offset): void;
  /** Heartbeats and joins that have succeeded: while it grows, records are fetched too. */
  readonly heartbeats: number;
  /** The last of them is younger than the session. */
  readonly alive: boolean;
  readonly failed: Promise<Error>;
  /** Leaves the group at once. */
  close(): Promise<void>;
}
export type MemberOptions = {
  readonly kafka: Kafka;
  readonly group: string;
  readonly topics: readonly string[];
  /** Where the member id is kept: a restarted process leaves in the name of its dead predecessor. */
  readonly memberFile: string;
  readonly sessionTimeoutMs?: number;
  /** host:port at which others of the house may ask this member; it stands in the group's membership. */
  readonly address?: string;
};

/** A rebalance is met at the next heartbeat: a joining member waits for it. */
const HEARTBEAT_MS = 250;
const SESSION_MS = 6_000;
/** So long a join stands for the heartbeat that follows it: with what the task adds, half of a session. */
const JOIN_PROVES_MS = 1_000;
const MAX_WAIT_MS = 250;
/** By member id: who is told that a position lies outside its log. */
const outOfRange = new Map<string, (partition: number) => void>();

disableReset();

/** A member that has not joined yet. Its dead predecessor has left. */
export async function connectMember(options: MemberOptions): Promise<Member> {
  const member = new GroupMember(options);
  await Promise.all([leaveAsPredecessor(options), member.connect()]);
  return member;
}

/** Without static membership a dead member holds its partitions until its session ends, 5 to 10 s. */
async function leaveAsPredecessor({ kafka, group, memberFile }: MemberOptions): Promise<void> {
  const memberId = await readFile(memberFile, 'utf8').catch(() => undefined);
  if (!memberId) return;
  const cluster = createCluster(kafka);
  try {
    await cluster.connect();
    const coordinator = await cluster.findGroupCoordinator({ groupId: group });
    await coordinator.leaveGroup({ groupId: group, memberId });
  } catch (error) {
    // The id is no longer known to the group, which is what was wanted; anything else the join itself will meet.
    if (!(error instanceof Error)) throw error;
  } finally {
    await cluster.disconnect();
  }
}

class GroupMember implements Member {
  readonly #options: MemberOptions;
  #subscription!: GroupSubscription;
  readonly #consumer: Consumer;
  #owned: readonly number[] = [];
  readonly #sessionMs: number;
  #memberId: string | undefined;
  /** Partitions that the last join gave to us, until they are asked for: when that was. */
  readonly #given = new Map<number, number>();
  heartbeats = 0;
  #lastBeat = 0;
  #beats: ((alive: boolean) => void)[] = [];
  #fail!: (error: Error) => void;
  readonly failed = new Promise<Error>((resolve) => {
    this.#fail = resolve;
  });

  constructor(options: MemberOptions) {
    this.#options = options;
    this.#sessionMs = options.sessionTimeoutMs ?? SESSION_MS;
    this.#consumer = options.kafka.consumer({
      groupId: options.group,
      partitionAssigners: [coPartitioned(() => this.#owned, options.address)],
      sessionTimeout: this.#sessionMs,
      rebalanceTimeout: 10_000,
      heartbeatInterval: HEARTBEAT_MS,
      maxWaitTimeInMs: MAX_WAIT_MS,
      maxBytesPerPartition: 1_048_576,
      allowAutoTopicCreation: false,
      retry: { initialRetryTime: 50, multiplier: 1.5, maxRetryTime: 1_000, retries: 1_000 },
    });
  }

  async connect(): Promise<void> {
    await this.#consumer.connect();
    await this.#consumer.subscribe({ topics: [...this.#options.topics], fromBeginning: true });
  }

  async join(subscription: GroupSubscription): Promise<void> {
    this.#subscription = subscription;
    const { GROUP_JOIN, HEARTBEAT, CRASH, REBALANCING, START_BATCH_PROCESS } = this.#consumer.events;
    this.#consumer.on(GROUP_JOIN, ({ payload }) => this.#joined(payload.memberId, payload.memberAssignment));
    this.#consumer.on(HEARTBEAT, () => this.#beat(true));
    this.#consumer.on(REBALANCING, () => this.#beat(false));
    this.#consumer.on(START_BATCH_PROCESS, ({ payload }) => this.#stepped(payload));
    this.#consumer.on(CRASH, ({ payload }) => {
      this.#beat(false);
      if (!payload.restart) this.#fail(payload.error);
    });
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: true,
      partitionsConsumedConcurrently: 8,
      eachBatch: async ({ batch }) => {
        const from = Number((batch as unknown as { fetchedOffset: string }).fetchedOffset);
        const records = batch.messages.map((message) => toRecord(message as Parameters<typeof toRecord>[0]));
        this.#subscription.records(batch.topic, batch.partition, records, from, Number(batch.lastOffset()) + 1);
      },
    });
  }

  async owned(partition: number): Promise<boolean> {
    const given = this.#given.get(partition);
    this.#given.delete(partition);
    if (given !== undefined && performance.now() - given < JOIN_PROVES_MS) return true;
    const alive = await new Promise<boolean>((resolve) => {
      this.#beats.push(resolve);
      setTimeout(() => resolve(false), this.#sessionMs).unref();
    });
    return alive && this.#owned.includes(partition);
  }

  get alive(): boolean {
    return this.heartbeats > 0 && performance.now() - this.#lastBeat < this.#sessionMs;
  }

  pause(partition: number): void {
    this.#consumer.pause(this.#options.topics.map((topic) => ({ topic, partitions: [partition] })));
  }
  resume(partition: number): void {
    this.#consumer.resume(this.#options.topics.map((topic) => ({ topic, partitions: [partition] })));
  }
  seek(topic: string, partition: number, offset: Offset): void {
    this.#consumer.seek({ topic, partition, offset: String(offset) });
  }

  async close(): Promise<void> {
    if (this.#memberId !== undefined) outOfRange.delete(this.#memberId);
    this.#beat(false);
    await this.#consumer.disconnect();
  }

  #joined(memberId: string, assignment: Readonly<Record<string, readonly number[]>>): void {
    this.#succeeded();
    const partitions = [...(assignment[this.#options.topics[0] as string] ?? [])];
    const lost = this.#owned.filter((partition) => !partitions.includes(partition));
    // What the join before it gave may be lost by now: kafkajs does not always say that it rejoins.
    this.#given.clear();
    for (const partition of partitions) if (!this.#owned.includes(partition)) this.#given.set(partition, performance.now());
    this.#owned = partitions;
    for (const partition of partitions) this.pause(partition);
    if (this.#memberId !== undefined) outOfRange.delete(this.#memberId);
    this.#memberId = memberId;
    outOfRange.set(memberId, (partition) => this.#reopen(partition));
    this.#keep(memberId);
    if (lost.length > 0) this.#subscription.revoked(lost);
    this.#subscription.assigned(partitions);
  }

  /** Markers and aborted records alone never reach `eachBatch`, but the position has moved: the task must hear of it, or drop all that follows. */
  #stepped({ topic, partition, batchSize, firstOffset, lastOffset }: ConsumerStartBatchProcessEvent['payload']): void {
    if (batchSize > 0) return;
    this.#subscription.records(topic, partition, [], Number(firstOffset ?? lastOffset), Number(lastOffset) + 1);
  }

  #keep(memberId: string): void {
    try {
      writeFileSync(this.#options.memberFile, memberId);
    } catch (cause) {
      this.#fail(new EvenkeelError('unavailable', `the member id cannot be written to ${this.#options.memberFile}`, { cause }));
    }
  }

  /** Retention has overtaken where the task stands: it is closed and opened anew, and then asks where its logs begin. */
  #reopen(partition: number): void {
    this.pause(partition);
    this.#subscription.revoked([partition]);
    this.#subscription.assigned(this.#owned);
  }

  #succeeded(): void {
    this.heartbeats++;
    this.#lastBeat = performance.now();
  }

  #beat(alive: boolean): void {
    if (alive) this.#succeeded();
    else this.#given.clear();
    const waiting = this.#beats;
    this.#beats = [];
    for (const resolve of waiting) resolve(alive);
  }
}

/**
 * When a position lies outside its log, kafkajs commits -1 or -2 as the group's offset, outside any transaction and even with autoCommit
 * off. Where to go on is the task's to say.
 */
function disableReset(): void {
  type Offsets = { memberId: string; setDefaultOffset(where: { partition: number }): Promise<void> };
  const { prototype } = createRequire(import.meta.url)('kafkajs/src/consumer/offsetManager') as { prototype: Offsets };
  prototype.setDefaultOffset = async function (this: Offsets, { partition }) {
    outOfRange.get(this.memberId)?.(partition);
  };
}
