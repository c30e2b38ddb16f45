/**
 * A seeded world around the real task, queue, ledger and journal: one partition, several processes, a broker, a provider, producers and
 * operators. Time is virtual and every choice comes from the seed, so that a failing seed can be repeated.
 */
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Store, Stores } from '#streams/engine/ports.ts';
import { memoryStores } from '#streams/memory/store.ts';
import type { StepFinish } from '#streams/support/input.ts';
import { support } from '#streams/support/support.ts';
import type { Amount } from './books.ts';
import { SimulatedBroker, SNAPSHOTS } from './broker.ts';
import { checkDisk } from './check.ts';
import { type Fault, Faults } from './faults.ts';
import { Model } from './model.ts';
import type { Mutation } from './mutants.ts';
import { Bills } from './outside.ts';
import { type Options, Process } from './process.ts';
import { Chance, DRIFT, VirtualTime } from './time.ts';
import { isReport, type Produced } from './traffic.ts';

const DAY_MS = 86_400_000;
/** Seconds before something happens to windows: the end of a day, of a month, of a year; and a plain noon. */
const BEGINNINGS = ['2026-11-24T23:59:50Z', '2026-11-30T23:59:52Z', '2027-12-31T23:59:48Z', '2028-02-28T23:59:55Z', '2026-11-24T12:00:00Z'];
const SESSION_MS = 5_000;
/** Of disks, so many are opened again with a look at what a process left on them. */
const DISKS_CHECKED = 0.25;

export type Disk = { readonly stores: Stores; user: Process | undefined; open: Store | undefined; refeed: boolean; fullUntil: number };

const codec = createCodec(localSchemas());
const machine = support(codec);

export class World {
  readonly codec = codec;
  readonly machine = machine;
  readonly time = new VirtualTime();
  readonly chance: Chance;
  readonly faults: Faults;
  readonly bills = new Bills();
  readonly model: Model;
  readonly broker: SimulatedBroker;
  /** Of a process, what it may run at once. */
  readonly caps: { readonly from: number; readonly to: number };
  maxBatch: number;
  readonly maxHeads: number;
  /** Results that were ever reported, to be reported again. */
  readonly results: StepFinish[] = [];
  readonly mutation: Mutation;
  owner: Process | undefined;
  readonly snapshots: { readonly every: number; readonly chunkBytes: number; readonly pauseMs: number } | undefined;
  /** Of a request. */
  steps = 2;
  /** What a step turns out to cost. */
  price = (_tenant: TenantId, { worstCase, worstTokens }: { readonly worstCase: number; readonly worstTokens: number }): Amount => ({
    money: this.chance.below(worstCase),
    tokens: this.chance.below(worstTokens),
  });
  /** No provider answers any more. */
  hangs = false;
  /** Until then the partition has no leader. */
  leaderless = 0;
  /** Resolves at the next record that a producer writes. */
  produced: Promise<void> = Promise.resolve();
  readonly #records = new Map<string, Produced[]>();
  readonly #disks: Disk[] = [];
  readonly #problems: string[] = [];
  readonly #epoch: number;
  #clockOffset = 0;
  #mostAhead = 0;
  #tenures = 0;
  #tellProduced: () => void = () => undefined;

  constructor(seed: number, mutation: Mutation, tally: Map<Fault, number>, caps?: World['caps']) {
    this.chance = new Chance(seed);
    this.mutation = mutation;
    this.faults = new Faults(this.chance, tally);
    this.#epoch = Date.parse(this.chance.pick(BEGINNINGS));
    this.caps = caps ?? { from: 1, to: this.chance.between(1, 5) };
    this.maxBatch = this.chance.pick([1, 3, 5, 50]);
    this.maxHeads = this.chance.pick([1, 2, 100]);
    this.snapshots =
      this.chance.next() < 0.7
        ? { every: this.chance.between(10, 150), chunkBytes: this.chance.between(100, 4_000), pauseMs: this.chance.below(100) }
        : undefined;
    this.model = new Model({
      bill: (request, step, attempt) => this.bills.of(request, step, attempt),
      billed: (request) => this.bills.total(request),
      forget: (request) => this.bills.forget(request),
      produced: (topic, offset) => this.#produced(topic, offset),
      latest: () => Math.ceil(this.#epoch + this.time.now * (1 + DRIFT) + this.#mostAhead),
    });
    this.broker = new SimulatedBroker({
      codec,
      model: this.model,
      now: () => Math.floor(this.#epoch + this.time.now + this.#clockOffset),
      fenced: mutation.broker !== 'unfenced',
    });
    this.#waitForProducers();
  }

  get problems(): readonly string[] {
    return [...this.#problems, ...this.model.problems];
  }
  problem(what: string): void {
    this.#problems.push(what);
  }
  mutate(options: Options): Options {
    return this.mutation.options?.(options) ?? options;
  }

  produce(record: Produced): void {
    const topic = record.input.kind === 'command' ? 'tenant.commands' : 'support.requests';
    const records = this.#records.get(topic) ?? [];
    records.push(record);
    this.#records.set(topic, records);
    this.broker.append({ topic, key: record.input.tenant, value: Buffer.from(record.input.mark) }, 0);
    this.#tellProduced();
    this.#waitForProducers();
  }
  recordAt(topic: string, offset: number): Produced {
    return this.#records.get(topic)?.[offset] as Produced;
  }
  producedCounts(): ReadonlyMap<string, number> {
    return new Map([...this.#records].map(([topic, records]) => [topic, records.length]));
  }

  /** The broker's clock as its keepers see it: hours wrong at once, and later right again. */
  stepClock(): void {
    const hours = this.chance.between(-25, 25);
    this.faults.struck(hours < 0 ? 'the broker’s clock steps back' : 'the broker’s clock steps forward');
    this.#clockOffset = (hours * DAY_MS) / 24;
    this.#mostAhead = Math.max(this.#mostAhead, this.#clockOffset);
    this.time.after(this.chance.next() * 5_000, () => this.setClockRight());
  }
  setClockRight(): void {
    this.#clockOffset = 0;
  }

  compactSnapshots(): void {
    if (this.snapshots) this.faults.struck('snapshots compacted');
    this.broker.compact(SNAPSHOTS, 0);
  }

  moveLeader(): void {
    this.faults.struck('the leader moves');
    this.leaderless = this.time.now + this.chance.next() * 1_500;
  }

  /** What a group may do with the partition at any time. */
  rebalance(): void {
    const old = this.owner;
    const kind = this.chance.below(5);
    if (!old || kind === 0) {
      if (old?.alive) this.faults.struck('crash at any time');
      old?.die();
      return this.#assign();
    }
    if (kind === 1) {
      this.faults.struck('partition kept, fed again from where it stands');
      old.disk.refeed = true;
      this.#tellProduced();
      return this.#waitForProducers();
    }
    if (kind === 2) {
      this.faults.struck('partition moved in order');
      void old.leave().then(() => this.owner === old && this.#assign());
      return;
    }
    if (kind === 3) {
      this.faults.struck('process stopped for a while, and goes on');
      old.stop(this.chance.next() * 2 * SESSION_MS);
      // Its session ends.
      this.time.after(SESSION_MS, () => this.owner === old && this.#assign());
      return;
    }
    this.faults.struck('partition moved, the old owner goes on');
    this.moveFrom(old);
  }

  /** The group gives the partition to another, and its owner hears of it later. */
  moveFrom(old: Process): void {
    if (this.owner !== old) return;
    this.#assign();
    // Some never hear of it: the fence has to hold by itself.
    if (this.chance.next() < 0.7) this.time.after(this.chance.next() * 3_000, () => void old.leave());
  }

  /** The group notices after the dead member's session, and gives the partition to another. */
  died(process: Process): void {
    if (this.owner === process) this.time.after(50 + this.chance.next() * 1_000, () => this.owner === process && this.#assign());
  }

  #assign(): void {
    const old = this.owner;
    if (old) old.lostAt ??= this.time.now;
    const next = new Process(this, this.#disk(old), ++this.#tenures);
    this.owner = next;
    void this.#start(next);
  }

  async #start(process: Process): Promise<void> {
    if (this.chance.next() < DISKS_CHECKED) for (const problem of await checkDisk(this, process.disk.stores)) this.problem(problem);
    await process.start();
  }

  #disk(old: Process | undefined): Disk {
    const free = this.#disks.filter(({ user }) => user === undefined);
    const choice = this.chance.next();
    if (old && !old.disk.user && choice < 0.5) {
      this.faults.struck('own disk after a restart');
      return old.disk;
    }
    if (free.length > 0 && choice < 0.8) {
      this.faults.struck('another disk, of an earlier state');
      return this.chance.pick(free);
    }
    if (old) this.faults.struck('disk lost');
    const disk: Disk = { stores: memoryStores(), user: undefined, open: undefined, refeed: false, fullUntil: 0 };
    this.#disks.push(disk);
    return disk;
  }

  #waitForProducers(): void {
    this.produced = new Promise((resolve) => {
      this.#tellProduced = resolve;
    });
  }

  #produced(topic: string, offset: number) {
    const record = this.recordAt(topic, offset);
    const { input, digest, poison } = record;
    return { id: input.kind === 'command' ? input.command.commandId : input.mark, digest, poison, report: isReport(record) };
  }
}
