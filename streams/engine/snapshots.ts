/**
 * When a partition's snapshots are written, and how they ride: each chunk in a transaction of the task's own, beside whatever it carries
 * (invariant 6: the fence that keeps an old owner's events out keeps its chunks out). Read in steps of a few milliseconds, with pauses.
 */
import type { SnapshotRecord } from '#schemas/records.ts';
import type { Output, RowCodec } from './machine.ts';
import type { Clock, Meta, PartitionLog, Store } from './ports.ts';
import type { Semaphore } from './semaphore.ts';
import { newest, type Slot, survey } from './snapshot-survey.ts';
import { SnapshotWriter } from './snapshot-writer.ts';

/** A quarter of what the topic takes in one record. */
const CHUNK_BYTES = 256 * 1_024;
/** Between two chunks: 2 MB/s, a few percent of the event loop and of the transactions. */
const PAUSE_MS = 100;
/** Between two steps that read rows for the same chunk. */
const STEP_MS = 5;
/** After an opening: first what has gathered is taken up. */
const SETTLE_MS = 5_000;
/** After a failed attempt. */
const AGAIN_MS = 30_000;

export type SnapshotOptions = {
  readonly topic: string;
  /** Offsets of the history since the last snapshot, above which a new one is due: as many are folded after a lost disk. */
  readonly every: number;
  /** One for all tasks of a process, with one permit: all partitions are due at once after a long outage. */
  readonly turns: Semaphore;
  readonly chunkBytes?: number;
  readonly pauseMs?: number;
  readonly settleMs?: number;
};
export type SnapshotWritten = { readonly rows: number; readonly bytes: number; readonly ms: number };
export type SnapshotParts = {
  readonly machine: { readonly version: number; readonly snapshots: RowCodec<SnapshotRecord> };
  readonly partition: number;
  readonly partitions: number;
  /** undefined: none are written. */
  readonly snapshots?: SnapshotOptions | undefined;
  readonly clock: Clock;
  readonly report: { snapshot?(what: SnapshotWritten): void; warn(message: string, error?: Error): void };
  /** There is something to commit. */
  readonly wake: () => void;
};

/** One attempt, from its place in the queue to its manifest. */
type Attempt = {
  writer: SnapshotWriter | undefined;
  /** Waits for the next transaction, or rides in the one under way. */
  ready: readonly Output[];
  riding: boolean;
  stopped: boolean;
  readonly ended: PromiseWithResolvers<void>;
  began: number;
  cancel: () => void;
};

export class Snapshots {
  readonly #parts: SnapshotParts;
  #store: Store | undefined;
  #log: PartitionLog | undefined;
  #attempt: Attempt | undefined;
  #notBefore = Number.NEGATIVE_INFINITY;
  #cancelWait: () => void = () => undefined;
  /** The newest one that is known here; it is kept with the store's meta. */
  newest: Meta['snapshot'];

  constructor(parts: SnapshotParts) {
    this.#parts = parts;
  }

  /** The partition is open: on this store, with this log. */
  opened(store: Store, log: PartitionLog): void {
    this.#store = store;
    this.#log = log;
    this.newest = store.meta?.snapshot;
    this.#wait(this.#parts.snapshots?.settleMs ?? SETTLE_MS);
  }

  /** Whatever was under way is dropped: its slot stays without a manifest. */
  stop(): void {
    this.#cancelWait();
    if (this.#attempt) this.#end(this.#attempt);
    this.#store = undefined;
    this.#log = undefined;
  }

  /** Something waits for a transaction. */
  get waiting(): boolean {
    return this.#attempt !== undefined && this.#attempt.ready.length > 0 && !this.#attempt.riding;
  }

  /** What the transaction to come carries of a snapshot. One that fails ends in `stop`. */
  take(): readonly Output[] {
    const attempt = this.#attempt;
    if (!attempt || attempt.ready.length === 0) return [];
    attempt.riding = true;
    return attempt.ready;
  }

  /** The transaction has committed. To be called before its batch is written to the store, whose meta then knows the newest snapshot. */
  committed(): void {
    const attempt = this.#attempt;
    if (!attempt?.riding) return;
    attempt.riding = false;
    attempt.ready = [];
    const { writer } = attempt;
    if (!writer?.done) return this.#later(attempt, this.#parts.snapshots?.pauseMs ?? PAUSE_MS);
    this.newest = { history: writer.history, rows: writer.rows };
    this.#parts.report.snapshot?.({ rows: writer.rows, bytes: writer.bytes, ms: this.#parts.clock.monotonic() - attempt.began });
    this.#end(attempt);
  }

  /** Begins a snapshot where one is due: the tail is longer than `every`, and than the last snapshot, so that no more is written than the history itself. */
  consider(): void {
    const { snapshots: options, clock } = this.#parts;
    if (!options || this.#attempt || !this.#due(options) || clock.monotonic() < this.#notBefore) return;
    const attempt: Attempt = {
      writer: undefined,
      ready: [],
      riding: false,
      stopped: false,
      ended: Promise.withResolvers(),
      began: clock.monotonic(),
      cancel: () => undefined,
    };
    this.#attempt = attempt;
    void options.turns.run(() => {
      if (!attempt.stopped) void this.#begin(attempt, options);
      return attempt.ended.promise;
    });
  }

  /** Not before, but then without a transaction to remind of it: the partition may be idle. */
  #wait(ms: number): void {
    this.#notBefore = this.#parts.clock.monotonic() + ms;
    this.#cancelWait();
    if (this.#parts.snapshots) this.#cancelWait = this.#parts.clock.after(ms + 1, () => this.consider());
  }

  #due({ every }: SnapshotOptions): boolean {
    const tail = (this.#store?.meta?.positions.history ?? 0) - (this.newest?.history ?? 0);
    return tail >= Math.max(every, this.newest?.rows ?? 0);
  }

  /** What stands on the topic is asked once an attempt: another owner may have written since, and a slot must be chosen. */
  async #begin(attempt: Attempt, options: SnapshotOptions): Promise<void> {
    const { machine, partition, partitions, clock, report } = this.#parts;
    try {
      const slots = await survey(machine.snapshots, this.#log as PartitionLog, options.topic);
      if (attempt.stopped) return;
      const expected = { version: machine.version, partitions };
      const whole = newest(slots, expected, (why) => report.warn(`partition ${partition}: ${why}`));
      if (whole) this.newest = { history: whole.manifest.history, rows: whole.manifest.rows };
      if (!this.#due(options)) return this.#end(attempt);
      const target = slots.find(({ name }) => name !== whole?.name) as Slot;
      attempt.began = clock.monotonic();
      const slot = { topic: options.topic, partition, slot: target.name, former: target.parts.keys() };
      attempt.writer = new SnapshotWriter(machine.snapshots, this.#store as Store, slot, options.chunkBytes ?? CHUNK_BYTES);
      this.#step(attempt);
    } catch (error) {
      this.#failed(attempt, error as Error);
    }
  }

  #later(attempt: Attempt, ms: number): void {
    attempt.cancel = this.#parts.clock.after(ms, () => {
      try {
        if (!attempt.stopped) this.#step(attempt);
      } catch (error) {
        this.#failed(attempt, error as Error);
      }
    });
  }

  #step(attempt: Attempt): void {
    const ready = attempt.writer?.step();
    if (!ready) return this.#later(attempt, STEP_MS);
    attempt.ready = ready;
    this.#parts.wake();
  }

  #failed(attempt: Attempt, error: Error): void {
    if (attempt.stopped) return;
    this.#parts.report.warn(`partition ${this.#parts.partition}: no snapshot was written`, error);
    this.#end(attempt);
    this.#wait(AGAIN_MS);
  }

  #end(attempt: Attempt): void {
    attempt.stopped = true;
    attempt.cancel();
    attempt.writer?.close();
    this.#attempt = undefined;
    attempt.ended.resolve();
  }
}
