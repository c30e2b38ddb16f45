/**
 * A runtime process: a member of the group, a task for each partition it is assigned. A partition that is kept through a rebalance goes on
 * without closing its store; one that is lost is closed, its effects aborted.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import { type Offset, tenantId } from '#schemas/ids.ts';
import type { Rec } from '#streams/engine/ports.ts';
import type { GroupSubscription, Member } from '#streams/kafka/consumer.ts';
import type { Ingress } from './ingress.ts';
import type { SupportTask } from './journal.ts';
import { FedPartition, type InTopic, type Opened } from './partition.ts';

export type RuntimeParts = {
  readonly member: Pick<Member, 'owned' | 'pause' | 'resume' | 'seek'>;
  /** Opens a partition's task once its knowledge has been read to the end. */
  readonly open: (partition: number) => Promise<Opened>;
  readonly ingress: Ingress;
  readonly warn: (message: string, error?: Error) => void;
  /** What cannot be mended here: the process exits and is restarted. */
  readonly fail: (error: Error) => void;
};

/** Between two questions whether a fenced partition is ours. */
const REGAIN_MS = 250;

type Owned = { readonly opening: Promise<Opened>; opened: Opened | undefined; fed: FedPartition | undefined; lost: boolean };

export class Runtime implements GroupSubscription {
  readonly #parts: RuntimeParts;
  readonly #owned = new Map<number, Owned>();
  /** A partition that comes back is opened after its last closing has ended: one store, one opener. */
  readonly #closing = new Map<number, Promise<void>>();
  /** Fenced here, and not taken from us by the group: opened again once a heartbeat says that they are ours. */
  readonly #fenced = new Set<number>();
  #joined = false;

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
  }

  /** Open, or being opened. */
  get partitions(): readonly number[] {
    return [...this.#owned.keys()];
  }
  get tasks(): ReadonlyMap<number, SupportTask> {
    return new Map([...this.#owned].flatMap(([partition, { opened }]) => (opened ? [[partition, opened.task] as const] : [])));
  }
  /** @throws EvenkeelError `unavailable` while the partition is not open here */
  task(partition: number): SupportTask {
    const task = this.#owned.get(partition)?.opened?.task;
    if (!task) throw new EvenkeelError('unavailable', `partition ${partition} is not open here`);
    return task;
  }

  /** A waiting request's place in the fair queue: `partition`, `tenant` and `conversation` in the query. */
  explain(query: URLSearchParams): unknown {
    const task = this.task(Number(query.get('partition')));
    return task.explain({ tenant: tenantId(query.get('tenant')), item: query.get('conversation') ?? '' });
  }

  /** Empty when every assigned partition is open. A standby with none is ready too. */
  get waitingFor(): readonly string[] {
    if (!this.#joined) return ['its partitions'];
    const opening = [...this.#owned].filter(([, { opened }]) => opened === undefined).map(([partition]) => partition);
    return [...opening, ...this.#fenced].map((partition) => `partition ${partition} to open`);
  }

  assigned(partitions: readonly number[]): void {
    this.#joined = true;
    this.#fenced.clear();
    for (const partition of partitions) {
      const kept = this.#owned.get(partition);
      if (kept) kept.fed?.start();
      else void this.#open(partition);
    }
  }

  revoked(partitions: readonly number[]): void {
    for (const partition of partitions) {
      this.#fenced.delete(partition);
      this.#close(partition);
    }
  }

  records(topic: string, partition: number, records: readonly Rec[], from: Offset, next: Offset): void {
    this.#owned.get(partition)?.fed?.records(topic as InTopic, records, from, next);
  }

  async close(): Promise<void> {
    this.#fenced.clear();
    for (const partition of [...this.#owned.keys()]) this.#close(partition);
    await Promise.all(this.#closing.values());
  }

  async #open(partition: number): Promise<void> {
    const opening = (this.#closing.get(partition) ?? Promise.resolve()).then(() => this.#parts.open(partition));
    const owned: Owned = { opening, opened: undefined, fed: undefined, lost: false };
    this.#owned.set(partition, owned);
    try {
      const opened = await opening;
      if (owned.lost) return;
      owned.opened = opened;
      void opened.task.lost.then((error) => this.#lost(partition, owned, error));
      owned.fed = new FedPartition(partition, opened, this.#parts.ingress, this.#parts.member, this.#parts.fail);
      owned.fed.start();
    } catch (error) {
      this.#lost(partition, owned, error as Error);
    }
  }

  #close(partition: number): void {
    const owned = this.#owned.get(partition);
    if (!owned) return;
    owned.lost = true;
    owned.fed?.close();
    this.#owned.delete(partition);
    const closed = owned.opening.then(({ task }) => task.close()).catch((error: Error) => this.#parts.warn(`partition ${partition} was closed`, error));
    this.#closing.set(partition, closed);
  }

  /** Fenced: another owns it now, and the group will say so. Anything else is not for this process to mend. */
  #lost(partition: number, owned: Owned, error: Error): void {
    if (owned.lost) return;
    this.#parts.warn(`partition ${partition} is lost`, error);
    const fenced = 'code' in error && error.code === 'fenced';
    if (!fenced) return this.#parts.fail(error);
    this.#close(partition);
    this.#fenced.add(partition);
    void this.#regain(partition);
  }

  /** When all brokers were away for a while, no heartbeat came through and yet the group has not changed: nobody else would ever open it. */
  async #regain(partition: number): Promise<void> {
    while (this.#fenced.has(partition)) {
      const ours = await this.#parts.member.owned(partition);
      if (!ours) await new Promise((resolve) => setTimeout(resolve, REGAIN_MS).unref());
      else if (this.#fenced.delete(partition)) void this.#open(partition);
    }
  }
}
