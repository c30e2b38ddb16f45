/**
 * One tenure of one process: the real task on a disk, fed with records, with everything that may happen to a process. A dead one never
 * comes back from what it waits for; one that lost the partition may not know it for a while, and goes on.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import { RESTORING } from '#streams/engine/fold.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Batch, Clock, Log, PartitionLog, Rec, Store, Stores } from '#streams/engine/ports.ts';
import { Semaphore } from '#streams/engine/semaphore.ts';
import { openTask } from '#streams/engine/task.ts';
import type { TaskOptions } from '#streams/engine/task-types.ts';
import { memoryLog } from '#streams/memory/partition-log.ts';
import type { Input, RequestInput } from '#streams/support/input.ts';
import type { Account, Conversation, Mark } from '#streams/support/state.ts';
import type { RunTurn, Support } from '#streams/support/support.ts';
import { INPUTS, SNAPSHOTS, TOPICS } from './broker.ts';
import { effectsOf } from './outside.ts';
import { DRIFT } from './time.ts';
import { appendedAt } from './traffic.ts';
import type { Disk, World } from './world.ts';

export type Options = TaskOptions<Account, Conversation, Mark, Input, Parameters<Support['evolve']>[1], RunTurn>;
/** Above it a record cannot be written, and its input becomes a dead letter. */
export const MAX_OUTPUT_BYTES = 4_000;
/** A process that asked so long ago whether the partition is its own, and was told so, may open it: the group may take it away meanwhile. */
const ASKED_MS = 2_100;
/** What a crash while it was filled leaves: the one store that may be thrown away. */
const HALF_FILLED = 'it was filled in part';
const LATENCY_MS = 20;
const HANGS_MS = 8_000;
const FETCHED = 7;

const never = (): Promise<never> => new Promise(() => undefined);

export class Process {
  readonly world: World;
  readonly disk: Disk;
  readonly tenure: number;
  readonly cap: number;
  alive = true;
  /** When the group gave the partition to another. */
  lostAt: number | undefined;
  task: SupportTask | undefined;
  #stoppedUntil = 0;
  /** The commit under way does. */
  #carriesSnapshot = false;
  /** When it was last told that it owns the partition. */
  #toldAt = Number.NEGATIVE_INFINITY;
  #opened: Promise<void> = Promise.resolve();
  readonly #drift: number;
  readonly #booted: number;

  constructor(world: World, disk: Disk, tenure: number) {
    this.world = world;
    this.disk = disk;
    this.tenure = tenure;
    this.cap = world.chance.between(world.caps.from, world.caps.to);
    this.#booted = world.chance.next() * 1e6;
    this.#drift = 1 + (2 * world.chance.next() - 1) * DRIFT;
    disk.user = this;
  }

  die(): void {
    if (!this.alive) return;
    this.alive = false;
    this.#leaveDisk();
    this.disk.open = undefined;
    this.world.died(this);
  }
  /** SIGSTOP, a pause of the machine: nothing of it moves, and then it goes on as if no time had passed. */
  stop(ms: number): void {
    this.#stoppedUntil = this.world.time.now + ms;
  }
  /** For ever, where the process is dead. */
  async running(): Promise<void> {
    const { time } = this.world;
    while (this.#stoppedUntil > time.now) await time.sleep(this.#stoppedUntil - time.now);
    if (!this.alive) await never();
  }

  async leave(): Promise<void> {
    await this.running();
    await this.#opened;
    await this.task?.close();
    this.alive = false;
    this.#leaveDisk();
  }

  #leaveDisk(): void {
    if (this.disk.user === this) this.disk.user = undefined;
  }

  start(): Promise<void> {
    this.#opened = this.#open();
    return this.#opened;
  }

  async #open(): Promise<void> {
    try {
      this.task = await openTask(this.world.mutate(this.#options()));
      void this.task.lost.then((error) => this.#lost(error));
      for (const topic of INPUTS) void this.#feed(this.task, topic);
    } catch (error) {
      this.#lost(error as Error);
    }
  }

  #options(): Options {
    const { world } = this;
    return {
      machine: world.machine,
      partition: 0,
      partitions: 1,
      topics: TOPICS,
      log: this.#log(),
      stores: this.#stores(this.disk),
      effects: (task) => effectsOf(this, task, world.codec),
      clock: this.#clock(),
      cap: this.cap,
      maxBatch: world.maxBatch,
      maxHeads: world.maxHeads,
      snapshots: world.snapshots && { ...world.snapshots, topic: SNAPSHOTS, turns: new Semaphore(1), settleMs: 0 },
      maxGathered: 40,
      maxOutputBytes: MAX_OUTPUT_BYTES,
      deadLetter: (input, error, consumed) => this.#deadLetter(input, error, consumed),
      report: {
        committed: () => undefined,
        recovered: ({ source }) => {
          if (source !== 'store') world.faults.struck(source === 'log' ? 'opened from the log alone' : 'opened from a snapshot and the tail');
        },
        warn: (message, error) => this.#warned(message, error),
      },
    };
  }

  #deadLetter(input: Input, error: Error, consumed: Parameters<Options['deadLetter']>[2]): readonly Output[] {
    if (!consumed || !this.world.recordAt(consumed.topic, consumed.from).poison)
      this.world.problem(`decision: ${input.kind} of ${'mark' in input ? input.mark : input.tenant}: ${error.message}`);
    return [{ topic: 'support.dead-letters', partition: 0, key: input.tenant, value: Buffer.from(input.kind) }];
  }

  #lost(error: Error): void {
    const fenced = error instanceof EvenkeelError && error.code === 'fenced';
    if (!this.alive) return;
    if (!fenced) this.world.problem(`process ${this.tenure} was lost: ${error.message}`);
    // The process lives on, and may be given the partition again.
    this.alive = false;
    void Promise.resolve(this.task?.close()).then(() => this.#leaveDisk());
  }

  /** A request is handed to a person for what its provider did, and not because its partition was just being opened. */
  gaveUp(message: string, error: Error): void {
    if (this.alive && error instanceof EvenkeelError && error.code === 'unavailable') this.world.problem(`effects: ${message}: ${error.message}`);
  }

  /** A re-opening has an error of the network or a fence as its cause, never one of the code; and no store is thrown away. */
  #warned(message: string, error: Error | undefined): void {
    if (!this.alive) return;
    if (message.endsWith(HALF_FILLED)) this.world.faults.struck('half a snapshot on the disk');
    else if (!error) this.world.problem(`invariant 3: ${message}`);
    else if (!(error instanceof EvenkeelError)) this.world.problem(`invariant 3: ${message}: ${error.stack}`);
  }

  #clock(): Clock {
    const { time } = this.world;
    return {
      monotonic: () => this.#booted + time.now * this.#drift,
      after: (ms, run) => time.after(ms, () => void this.running().then(run)),
    };
  }

  #log(): Log {
    const { world } = this;
    const network = { pass: (operation: Operation) => this.#pass(operation) };
    const log = memoryLog({ broker: world.broker, topics: TOPICS, owned: () => this.#isOwner(), network });
    return { ...log, open: async (partition) => this.#partition(await log.open(partition)) };
  }

  #isOwner(): boolean {
    const { owner, time } = this.world;
    if (owner === this) this.#toldAt = time.now;
    return owner === this;
  }

  /** The first commit after an opening makes the log its own. */
  #committingFirst(): void {
    const since = this.world.time.now - this.#toldAt;
    if (this.lostAt !== undefined && since > ASKED_MS)
      this.world.problem(
        `invariant 6: tenure ${this.tenure} lost the partition and takes it, ${Math.round(since)} ms after it was last told that it is its own`,
      );
  }

  /** Reads come in pieces of any size, and for a while there may be nothing to see. */
  #partition(log: PartitionLog): PartitionLog {
    const { world } = this;
    let first = true;
    return {
      commit: (records, inputs) => {
        if (first) this.#committingFirst();
        first = false;
        this.#carriesSnapshot = records.some(({ topic }) => topic === SNAPSHOTS);
        return log.commit(records, inputs);
      },
      end: (topic) => log.end(topic),
      close: () => log.close(),
      async *read(topic, from): AsyncIterable<Batch> {
        let next = from;
        for await (const batch of log.read(topic, from)) {
          if (world.faults.strikes('reads see nothing for a while')) yield { records: [], next, end: batch.end };
          const cut = world.chance.below(batch.records.length + 1);
          const [first, second] = [batch.records.slice(0, cut), batch.records.slice(cut)];
          if (first.length > 0 && second.length > 0) yield { records: first, next: (first.at(-1)?.offset ?? next) + 1, end: batch.end };
          yield { ...batch, records: first.length > 0 && second.length > 0 ? second : batch.records };
          next = batch.next;
        }
      },
    };
  }

  /** Delays, loses a request or its reply, hangs, or kills the process here: its promise never resolves. */
  async #pass(operation: Operation): Promise<void> {
    const { world } = this;
    const { faults, time, chance } = world;
    await time.sleep(operation === 'owned' ? 50 : chance.next() * LATENCY_MS);
    if (operation === 'commit' && faults.strikes('commit request hangs')) await time.sleep(chance.next() * HANGS_MS);
    if (operation === 'committed' && faults.strikes('commit reply hangs')) await time.sleep(chance.next() * HANGS_MS);
    await this.running();
    if (operation === 'commit' || operation === 'committed') await this.#committing(operation);
    else if (faults.strikes('crash while opening')) {
      this.die();
      await never();
    }
    if (world.leaderless > time.now) {
      if (operation === 'commit') throw new EvenkeelError('commit_failed', 'the leader has moved');
      await time.sleep(world.leaderless - time.now);
      await this.running();
    }
    if (operation === 'open') {
      if (faults.strikes('opening fails')) throw new EvenkeelError('unavailable', 'the coordinator does not answer');
      if (faults.strikes('partition moved while it is opened')) time.after(chance.next() * 5 * LATENCY_MS, () => world.moveFrom(this));
      world.broker.opening = this;
    }
  }

  async #committing(operation: 'commit' | 'committed'): Promise<void> {
    const { faults } = this.world;
    const [crash, loss] =
      operation === 'commit'
        ? (['crash before commit', 'commit request lost'] as const)
        : (['crash after commit, before the store’s write', 'commit reply lost'] as const);
    if (faults.strikes(loss)) throw new EvenkeelError('commit_failed', loss);
    const writing = this.#carriesSnapshot && faults.strikes('crash while a snapshot is written');
    if (!writing && !faults.strikes(crash)) return;
    this.die();
    await never();
  }

  /** A process may die right after a write, and a dead one writes nothing. A store is opened by one at a time, as RocksDB's lock has it. */
  #stores({ stores }: Disk): Stores {
    const { disk } = this;
    const { faults, time, chance } = this.world;
    const wrap = (store: Store): Store => {
      const write = (...args: Parameters<Store['write']>) => {
        if (!this.alive) throw new Error('this process is dead');
        if (faults.strikes('disk full for a while')) disk.fullUntil = time.now + chance.next() * HANGS_MS;
        this.#room();
        store.write(...args);
        const loads = args[1].version === RESTORING && faults.strikes('crash while a snapshot is loaded');
        if (loads || faults.strikes('crash after the store’s write')) this.die();
      };
      const close = () => {
        if (disk.open === wrapped) disk.open = undefined;
        return store.close();
      };
      const wrapped = Object.create(store, { write: { value: write }, close: { value: close } }) as Store;
      return wrapped;
    };
    return {
      ...stores,
      open: async (partition) => {
        this.#room();
        if (disk.open) throw new Error('the store is open, and has its lock');
        disk.open = wrap(await stores.open(partition));
        return disk.open;
      },
    };
  }

  /** What a reader sees while a transaction is under way has committed. */
  #look(task: SupportTask, records: readonly Rec[]): void {
    const { world } = this;
    for (const { offset } of records) {
      const { input } = world.recordAt('support.requests', offset) ?? {};
      if (input?.kind === 'request' && world.chance.next() < 0.5)
        world.time.after(world.chance.next() * 4 * LATENCY_MS, () => {
          if (this.alive) world.model.seen(peeked(task, input));
        });
    }
  }

  #room(): void {
    if (this.disk.fullUntil > this.world.time.now) throw new EvenkeelError('unavailable', 'No space left on device');
  }

  /** The consumer's side of one topic: records in order, from where the task stands; now and then some again. */
  async #feed(task: SupportTask, topic: (typeof INPUTS)[number]): Promise<void> {
    const { world } = this;
    let next = task.position(topic);
    while (this.alive) {
      if (world.faults.strikes('records fed again')) next = task.position(topic);
      if (this.disk.refeed) next = task.position(topic);
      this.disk.refeed = false;
      const records = world.broker.records(topic).slice(next, next + FETCHED);
      if (task.full || records.length === 0) {
        await (records.length === 0 ? world.produced : world.time.sleep(LATENCY_MS));
        await world.time.sleep(world.chance.next() * 2 * LATENCY_MS);
        await this.running();
        continue;
      }
      for (const { offset, timestamp } of records) {
        const record = world.recordAt(topic, offset);
        const input = appendedAt(record, task.appendedAt(timestamp));
        const consumed = { topic, from: offset, next: offset + 1, at: timestamp };
        const told = ({ mark }: { mark: Mark | undefined }) => {
          if (this.alive && input.kind === 'request' && !record.poison) world.model.told(input.mark, record.digest, mark);
        };
        // A dead letter, or the end of the task.
        task.offer(input, consumed).then(told, () => undefined);
        next = offset + 1;
      }
      this.#look(task, records);
      await world.time.sleep(10 + world.chance.next() * 2 * LATENCY_MS);
      await this.running();
    }
  }
}

function peeked(task: SupportTask, row: RequestInput): string | undefined {
  try {
    return task.peek(row).item?.turn?.request;
  } catch (error) {
    // The partition is being opened, and its readers are told so.
    if (error instanceof EvenkeelError && error.code === 'unavailable') return undefined;
    throw error;
  }
}

type Operation = 'open' | 'read' | 'commit' | 'committed' | 'owned';
