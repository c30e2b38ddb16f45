/**
 * The owner of a partition: one event-sourced machine, one transaction in flight.
 * While a transaction commits, inputs (not decisions) gather; the next transaction is whatever arrived meanwhile.
 * Invariants 1, 2, 3, 6, 7 and 10 meet here: decide → one Kafka transaction → effects, the store between transactions, and one way back.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch } from '#schemas/events.ts';
import type { Instant, Offset, TenantId } from '#schemas/ids.ts';
import { BrokerTime } from './broker-time.ts';
import { DiskPatience } from './disk-patience.ts';
import { DueIndex } from './due-index.ts';
import { type FairQueue, keptSlots } from './fair-queue.ts';
import { emptyMeta, metaAfter } from './fold.ts';
import { type Consumed, type Entry, Inbox } from './inbox.ts';
import { wordsKey } from './keys.ts';
import type { Output, Row, State, Work } from './machine.ts';
import { Overlay } from './overlay.ts';
import type { Meta, Offsets, PartitionLog, Store } from './ports.ts';
import { countBefore } from './queue-pages.ts';
import { rebuild } from './rebuild.ts';
import { discard, type Recovery, recover } from './recover.ts';
import { Round } from './round.ts';
import { Running, type Wanted } from './running.ts';
import { Snapshots } from './snapshots.ts';
import type { Task, TaskOptions } from './task-types.ts';

const MAX_BATCH = 1_000;
const MOST_COUNTED = 1_000;
/** Two transactions' worth: what is paused longer waits on the broker's disk, not in this heap. */
const MAX_GATHERED = 2_000;
/** Under load the store is written this often: most rows of a request come and go in between. What a crash loses is read from the log again. */
const WRITE_EVERY_MS = 1_000;
/** A few milliseconds' worth, between which other partitions that open have their turn. */
const MAX_HEADS = 100;
/** Below the topics' bound of 1 MiB, with room for a record's frame. */
const MAX_OUTPUT_BYTES = 1_000_000;
/** So long the answer that a partition is ours is taken for true: shorter than any session, after which the group gives it to another. */
const OWNED_FOR_MS = 2_000;
const REOPEN_BACKOFF_MS = [50, 100, 250, 500, 1_000];

export async function openTask<A, R, K, I extends Row, E, X extends Work>(options: TaskOptions<A, R, K, I, E, X>): Promise<Task<A, R, K, I>> {
  const task = new PartitionTask(options);
  await task.open();
  return task;
}

/** Promises that an effect awaits before its first step, with room: each is one turn of the queue of microtasks, 32 take 5 µs. */
const EFFECT_HOPS = 32;
/** What was just started offers its first step to the next transaction, not to the one after it, and holds its slot for one commit less. */
async function effectsBegin(): Promise<void> {
  for (let hop = 0; hop < EFFECT_HOPS; hop++) await undefined;
}

class PartitionTask<A, R, K, I extends Row, E, X extends Work> implements Task<A, R, K, I> {
  readonly #options: TaskOptions<A, R, K, I, E, X>;
  readonly #recovery: Recovery<A, R, K, I, E, X>;
  readonly #inbox = new Inbox<A, R, K, I>();
  readonly #time: BrokerTime;
  readonly #running: Running<X>;
  readonly #snapshots: Snapshots;
  readonly #disk: DiskPatience;
  #log!: PartitionLog;
  #store: Store | undefined;
  #overlay!: Overlay<A, R, K, I, E, X>;
  #due!: DueIndex;
  #fair!: FairQueue;
  #meta: Meta;
  #runningCount = 0;
  /** When the store was last written, on the monotonic clock. */
  #wroteAt = 0;
  #closing = false;
  #ended: Error | undefined;
  #wakeUp: () => void = () => undefined;
  #cancelTimer: () => void = () => undefined;
  #loop: Promise<void> = Promise.resolve();
  #closed: Promise<void> = Promise.resolve();
  #lose!: (error: Error) => void;
  readonly lost = new Promise<Error>((resolve) => {
    this.#lose = resolve;
  });

  constructor(options: TaskOptions<A, R, K, I, E, X>) {
    this.#options = options;
    const warn = (message: string) => options.report.warn(`partition ${options.partition}: ${message}`);
    this.#recovery = { ...options, discarded: (why) => warn(`local store thrown away: ${why}`), ignored: (why) => warn(`snapshot ignored: ${why}`) };
    this.#snapshots = new Snapshots({ ...options, wake: () => this.#wakeUp() });
    this.#disk = new DiskPatience(options.clock);
    this.#time = new BrokerTime(options.clock);
    this.#running = new Running(options.effects(this), options.cap);
    this.#meta = emptyMeta(options.machine.version, options.partitions);
  }

  /** @throws EvenkeelError when the history cannot be folded, or the log cannot be opened */
  async open(): Promise<void> {
    try {
      await this.#reopen();
    } catch (error) {
      // A store that stays open could not be opened by whoever tries next in this process.
      this.#end(error as Error);
      await this.#log?.close();
      await this.#closed;
      throw error;
    }
    this.#loop = this.#run();
  }

  offer(input: I, consumed?: Consumed): Promise<State<A, R, K>> {
    return this.#enter(input, [], consumed) as Promise<State<A, R, K>>;
  }

  async pass(records: readonly Output[], consumed: Consumed): Promise<void> {
    await this.#enter(undefined, records, consumed);
  }

  get full(): boolean {
    return this.#inbox.size >= (this.#options.maxGathered ?? MAX_GATHERED);
  }
  get store(): Store {
    if (!this.#store) throw new EvenkeelError('unavailable', `partition ${this.#options.partition} is being opened`);
    return this.#store;
  }

  get now(): Instant {
    return this.#time.now();
  }
  appendedAt(at: Instant): Instant {
    return this.#time.appendedAt(at);
  }

  position(topic: string): Offset {
    return this.#meta.inputs[topic] ?? 0;
  }

  peek(row: Row): State<A, R, K> {
    return this.store && this.#overlay.committedState(row);
  }

  words(row: { readonly tenant: TenantId; readonly mark: string }, step: string): Uint8Array | undefined {
    return this.store && this.#overlay.committedWords(wordsKey(row.tenant, row.mark, step));
  }

  explain({ tenant, item }: { readonly tenant: TenantId; readonly item: string }): ReturnType<Task<A, R, K, I>['explain']> {
    const row = this.peek({ tenant, item }).item;
    const order = row && this.#options.machine.itemKeys(row).queue;
    const before = order === undefined ? 0 : countBefore(this.store, tenant, order, MOST_COUNTED);
    const { cap } = this.#options;
    const free = cap - this.#runningCount;
    return { before, ...this.#fair.explain(tenant, this.#time.now()), full: free <= 0 || (free <= keptSlots(cap) && this.#fair.isOver(tenant)) };
  }

  async close(): Promise<void> {
    this.#closing = true;
    // At once: the transaction in flight may take its time, and what runs meanwhile costs money for nobody.
    this.#running.abortAll();
    this.#wakeUp();
    await this.#loop;
    this.#end(new EvenkeelError('fenced', `partition ${this.#options.partition} was closed`));
    await this.#log?.close();
    await this.#closed;
  }

  #enter(input: I | undefined, records: readonly Output[], consumed: Consumed | undefined): Promise<State<A, R, K> | undefined> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      if (consumed?.at !== undefined) this.#time.observe(consumed.at);
      this.#inbox.push({ input, records, consumed, resolve, reject });
      this.#wakeUp();
    });
  }

  async #run(): Promise<void> {
    try {
      while (!this.#closing) {
        let entries = this.#take();
        try {
          const { more, wakeAt } = await this.#round(entries);
          entries = [];
          await effectsBegin();
          if (this.#fair.asking) await this.#othersTurn();
          const idle = !more && this.#inbox.size === 0 && !this.#snapshots.waiting;
          const late = this.#options.clock.monotonic() - this.#wroteAt >= WRITE_EVERY_MS;
          const now = this.#time.now();
          if (idle || late || this.#closing || this.#due.isPressing(now) || this.#overlay.isPressing(now)) this.#write();
          if (idle) await this.#sleep(wakeAt);
        } catch (error) {
          this.#inbox.putBack(entries);
          await this.#reopen(error as Error);
        }
      }
    } catch (error) {
      this.#end(error as Error);
    }
  }

  #take(): readonly Entry<A, R, K, I>[] {
    const { fresh, logged } = this.#inbox.takeFresh(this.#options.maxBatch ?? MAX_BATCH, (topic) => this.position(topic));
    for (const { input, resolve } of logged) resolve(input && this.peek(input));
    return fresh;
  }

  /** One transaction. `more`: there is more to do at once; `wakeAt`: else a blocked tenant may go on then. */
  async #round(entries: readonly Entry<A, R, K, I>[]): Promise<{ readonly more: boolean; readonly wakeAt: Instant | undefined }> {
    const { machine, cap, topics, partition, deadLetter, maxOutputBytes } = this.#options;
    const now = this.#time.now();
    const round = new Round({
      machine,
      overlay: this.#overlay,
      due: this.#due,
      fair: this.#fair,
      now,
      historyTopic: topics.history,
      partition,
      maxOutputBytes: maxOutputBytes ?? MAX_OUTPUT_BYTES,
      deadLetter: (input, error, entry) => deadLetter(input, error, entry.consumed),
    });
    round.outputs.push(...this.#snapshots.take());
    this.#overlay.prefetch(entries.flatMap(({ input }) => input ?? []));
    for (const entry of entries) round.take(entry);
    round.wake();
    round.dispatch(this.#runningCount, cap);
    if (round.empty) round.resolve(entries);
    else {
      const wordsFrom = this.#meta.positions.words;
      await this.#commit(round, now);
      this.#settle(round, entries, wordsFrom);
    }
    this.#fair.askMore(now);
    return { more: round.more || this.#fair.asking, wakeAt: round.wakeAt };
  }

  async #commit(round: Round<A, R, K, I, E, X>, now: Instant): Promise<void> {
    const started = this.#options.clock.monotonic();
    const batch = this.#batch(now, round.events.length, round.inputs);
    const committed = await this.#log.commit([this.#encode(batch), ...round.events, ...round.outputs], round.inputs);
    this.#snapshots.committed();
    const { history, words, time } = committed;
    this.#meta = { ...metaAfter(this.#meta, batch, { history, words }), snapshot: this.#snapshots.newest };
    this.#time.replied(time);
    this.#options.report.committed({ events: round.events.length, ms: this.#options.clock.monotonic() - started, batch: batch.number });
  }

  /** Tell those who wait for the transaction, and let run what should. */
  #settle(round: Round<A, R, K, I, E, X>, entries: readonly Entry<A, R, K, I>[], wordsFrom: Offset): void {
    const touched: readonly Wanted<X>[] = this.#overlay.touchedItems().map(({ row, item }) => ({
      row,
      work: item === undefined ? undefined : this.#options.machine.effect(item),
    }));
    this.#runningCount += this.#overlay.runningDelta;
    round.resolve(entries);
    this.#overlay.committed(wordsFrom);
    this.#running.reconcile(touched);
  }

  /** Between transactions: what has committed since the last write, and the position of its last batch (invariant 3). */
  #write(): void {
    if (this.store.meta?.batch === this.#meta.batch) return;
    const writes = this.#overlay.writes();
    this.store.write(writes, this.#meta);
    this.#wroteAt = this.#options.clock.monotonic();
    this.#overlay.written();
    this.#disk.wrote();
    this.#due.written(writes);
    this.#snapshots.consider();
  }

  #batch(now: Instant, events: number, inputs: Offsets): Batch {
    const { machine, partitions } = this.#options;
    return {
      type: 'batch',
      number: this.#meta.batch + 1,
      events,
      inputs: Object.entries(inputs).map(([topic, next]) => ({ topic, next })),
      time: now,
      version: machine.version,
      partitions,
    };
  }

  #encode(batch: Batch): Output {
    const { machine, topics, partition } = this.#options;
    return { topic: topics.history, partition, key: '', value: machine.history.encode(batch) };
  }

  /**
   * One way back, and the way in: fence, throw the producer and the overlay away, read the log from the store's positions, go on.
   * @throws EvenkeelError `fenced` when the partition is no longer ours, and whatever is fatal
   */
  async #reopen(cause?: Error): Promise<void> {
    if (cause) this.#options.report.warn(`partition ${this.#options.partition}: re-opening`, cause);
    this.#disk.failed(cause);
    if (cause instanceof EvenkeelError && cause.class === 'fatal') throw cause;
    for (let attempt = 0; ; attempt++) {
      if (this.#closing) return;
      const asked = this.#options.clock.monotonic();
      await this.#mustOwn(cause);
      try {
        await this.#openOnce(asked);
        return;
      } catch (error) {
        if (error instanceof EvenkeelError && error.class === 'fatal') throw error;
        this.#options.report.warn(`partition ${this.#options.partition}: not open yet`, error as Error);
        this.#disk.failed(error);
        const ms = REOPEN_BACKOFF_MS[Math.min(attempt, REOPEN_BACKOFF_MS.length - 1)] ?? 1_000;
        await new Promise<void>((resolve) => this.#options.clock.after(ms, resolve));
      }
    }
  }

  /** @throws EvenkeelError `fenced` */
  async #mustOwn(cause?: Error): Promise<void> {
    const { log, partition } = this.#options;
    if (!(await log.owned(partition))) throw new EvenkeelError('fenced', `partition ${partition} belongs to another`, { cause });
  }

  /** `asked`: when the partition was last known to be ours, on the monotonic clock. */
  async #openOnce(asked: number): Promise<void> {
    const { log, partition, machine, partitions, clock, report } = this.#options;
    this.#snapshots.stop();
    await this.#log?.close();
    const started = clock.monotonic();
    this.#log = await log.open(partition);
    const kept = this.#store;
    this.#store = undefined;
    const { store, ...from } = await recover(this.#recovery, this.#log, kept);
    this.#store = store;
    // Before anything is awaited: whoever peeks now must not see rows of before the recovery.
    this.#overlay = new Overlay(machine, this.#store);
    this.#due = new DueIndex(this.#store);
    this.#meta = this.#store.meta ?? emptyMeta(machine.version, partitions);
    report.recovered?.({ ...from, ms: clock.monotonic() - started });
    // A process that was stopped meanwhile may have lost the partition: nothing of it may follow the new owner's commits (invariant 6).
    if (clock.monotonic() - asked > OWNED_FOR_MS) await this.#mustOwn();
    this.#time.observe(this.#meta.time);
    await this.#openingBatch();
    this.#rebuild(this.#store);
    this.#snapshots.opened(this.#store, this.#log);
  }

  /** An empty transaction: it marks the takeover, and its reply carries the broker's time. */
  async #openingBatch(): Promise<void> {
    const before = this.#meta;
    const batch = this.#batch(this.#time.now(), 0, {});
    const committed = await this.#log.commit([this.#encode(batch)], {});
    if (committed.history <= before.positions.history) {
      this.#store = await discard(this.#recovery, this.#store, `it reflects offset ${before.positions.history}, the log ends at ${committed.history}`);
      throw new EvenkeelError('commit_failed', 'the log is shorter than the local store: reading it anew');
    }
    const words = Math.max(committed.words, before.positions.words);
    this.#meta = metaAfter(before, batch, { history: committed.history, words });
    this.store.write([], this.#meta);
    this.#disk.wrote();
    this.#time.replied(committed.time);
  }

  #rebuild(store: Store): void {
    const { machine, maxHeads } = this.#options;
    const { fair, wanted } = rebuild({ machine, overlay: this.#overlay, store, heads: maxHeads ?? MAX_HEADS });
    this.#fair = fair;
    this.#runningCount = wanted.length;
    this.#running.adopt(wanted);
  }

  async #othersTurn(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#options.clock.after(0, resolve);
    });
  }

  /** Until something comes, is due, or a blocked tenant may go on. */
  async #sleep(wakeAt: Instant | undefined): Promise<void> {
    if (this.#closing) return;
    const due = this.#due.next(this.#time.now());
    const at = due === undefined ? wakeAt : Math.min(due, wakeAt ?? due);
    await new Promise<void>((resolve) => {
      this.#wakeUp = resolve;
      if (at !== undefined) this.#cancelTimer = this.#options.clock.after(Math.max(0, at - this.#time.now()), resolve);
    });
    this.#wakeUp = () => undefined;
    this.#cancelTimer();
  }

  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#cancelTimer();
    this.#running.abortAll();
    this.#snapshots.stop();
    this.#inbox.rejectAll(error);
    this.#closed = this.#store?.close() ?? Promise.resolve();
    this.#store = undefined;
    this.#lose(error);
  }
}
