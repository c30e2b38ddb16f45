/**
 * A seeded world around the real task, queue, ledger and journal: one partition, several processes, a broker that loses replies, crashes,
 * zombies and slow effects. Time is virtual; every choice comes from the seed, so that a failing seed can be repeated.
 */
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import { turns } from '#services/runtime/turns.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Clock, Offsets } from '#streams/engine/ports.ts';
import { openTask } from '#streams/engine/task.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import type { Input } from '#streams/support/input.ts';
import { support } from '#streams/support/support.ts';

export const CAP = 4;
/** What one tenant may have in flight. */
export const TENANT_CAP = 3;
export const HISTORY = 'tenant.events';
export const REQUESTS = 'support.requests';
export const codec = createCodec(localSchemas());
export const machine = support(codec);
export const TENANTS = ['acme', 'globex', 'initech'] as TenantId[];

/** A small fast generator (Mulberry32), enough for choices. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type Timer = { readonly at: number; readonly order: number; readonly run: () => void; cancelled: boolean };

/** Virtual time: the next event is the earliest; ties fall in the order of their making. */
export class VirtualTime {
  now = 0;
  #order = 0;
  #timers: Timer[] = [];

  after(ms: number, run: () => void): () => void {
    const timer: Timer = { at: this.now + Math.max(0, ms), order: this.#order++, run, cancelled: false };
    this.#timers.push(timer);
    return () => {
      timer.cancelled = true;
    };
  }
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Runs until `done`, or until virtual time reaches `end`. */
  async run(done: () => boolean, end: number): Promise<void> {
    while (!done()) {
      await new Promise((resolve) => setImmediate(resolve));
      const next = this.#timers.filter((timer) => !timer.cancelled).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (!next || next.at > end) return;
      this.#timers = this.#timers.filter((timer) => timer !== next && !timer.cancelled);
      this.now = next.at;
      next.run();
    }
  }
}

export type Faults = {
  readonly lostRequest: number;
  readonly lostReply: number;
  readonly crash: number;
  readonly stepFails: number;
};

/** Mutants of the parts under test: each must be caught. */
export type Mutation = 'none' | 'no_owner_check' | 'no_fence' | 'result_counts_twice' | 'hold_without_limit' | 'no_tenant_cap';

/** A broker that takes commits of any epoch. */
class Unfenced extends MemoryBroker {
  #epoch = 0;
  override fence(partition: number): number {
    this.#epoch = super.fence(partition);
    return this.#epoch;
  }
  override commit(partition: number, _epoch: number, ...rest: [readonly Output[], Offsets]): number {
    return super.commit(partition, this.#epoch, ...rest);
  }
}

/** The domain with one rule taken out. */
function mutant(mutation: Mutation): typeof machine {
  if (mutation === 'result_counts_twice')
    return {
      ...machine,
      decide(rows, input, now) {
        const events = machine.decide(rows, input, now);
        const turn = rows.item?.turn;
        if (input.kind !== 'step_finish' || events.length > 0 || !turn || turn.request !== input.mark) return events;
        const { tenant, item: conversation, mark: request, step, attempt, cost: amount, inputTokens, outputTokens, model } = input;
        return [
          {
            type: 'cost_recorded',
            tenant,
            conversation,
            request,
            day: turn.day,
            month: turn.month,
            step,
            attempt,
            amount,
            inputTokens,
            outputTokens,
            model,
            presumed: false,
            priceVersion: 0,
          },
        ];
      },
    };
  if (mutation === 'hold_without_limit')
    return {
      ...machine,
      ready: (account, item, now) => machine.ready({ ...account, balances: [] }, item, now),
      decide: (rows, input, now) => machine.decide(input.kind === 'dispatch' ? { ...rows, account: { ...rows.account, balances: [] } } : rows, input, now),
    };
  if (mutation === 'no_tenant_cap') {
    const uncapped = (account: ReturnType<typeof machine.initial>) => ({ ...account, running: 0 });
    return {
      ...machine,
      ready: (account, item, now) => machine.ready(uncapped(account), item, now),
      decide: (rows, input, now) => machine.decide(input.kind === 'dispatch' ? { ...rows, account: uncapped(rows.account) } : rows, input, now),
    };
  }
  return machine;
}

export class World {
  readonly time = new VirtualTime();
  readonly random: () => number;
  readonly faults: Faults;
  /** 20 000 days and 23:59:50: midnight falls into every run. */
  readonly #epoch = 20_000 * 86_400_000 + 86_390_000;
  readonly broker: MemoryBroker;
  readonly processes: Process[] = [];
  owner: Process | undefined;
  healed = false;
  running = new Map<string, number>();
  peak = 0;
  problems: string[] = [];
  readonly mutation: Mutation;

  constructor(seed: number, faults: Faults, mutation: Mutation = 'none') {
    this.random = random(seed);
    this.faults = faults;
    this.mutation = mutation;
    const now = () => Math.floor(this.#epoch + this.time.now);
    this.broker = mutation === 'no_fence' ? new Unfenced(now) : new MemoryBroker(now);
  }

  chance(p: number): boolean {
    return !this.healed && this.random() < p;
  }
  pick<T>(of: readonly T[]): T {
    return of[Math.floor(this.random() * of.length)] as T;
  }

  /** Gives the partition to a new or restarted process; the old one may not notice for a while. */
  async rebalance(kill: boolean): Promise<void> {
    const old = this.owner;
    if (old) old.lostAt = this.time.now;
    if (old && kill) old.die();
    const reuse = old && kill && this.random() < 0.5 ? old.stores : undefined;
    const next = new Process(this, this.processes.length, reuse);
    this.processes.push(next);
    this.owner = next;
    if (old && !kill) this.time.after(this.random() * 3_000, () => void old.leave());
    void next.start();
  }
}

export class Process {
  readonly world: World;
  readonly id: number;
  readonly stores: ReturnType<typeof memoryStores>;
  alive = true;
  /** When the group gave the partition to another. */
  lostAt: number | undefined;
  task: SupportTask | undefined;
  #fed = 0;

  constructor(world: World, id: number, stores = memoryStores()) {
    this.world = world;
    this.id = id;
    this.stores = stores;
  }

  die(): void {
    this.alive = false;
    for (const key of this.world.running.keys()) if (key.startsWith(`${this.id}:`)) this.world.running.delete(key);
  }
  async leave(): Promise<void> {
    if (!this.alive) return;
    await this.task?.close();
    this.die();
  }

  async start(): Promise<void> {
    const { world } = this;
    try {
      this.task = await openTask({
        machine: mutant(world.mutation),
        partition: 0,
        partitions: 1,
        topics: { history: HISTORY, words: 'support.steps' },
        log: memoryLog({
          broker: world.broker,
          topics: { history: HISTORY, words: 'support.steps' },
          owned: () => world.mutation === 'no_owner_check' || world.owner === this,
          network: { pass: (operation) => this.#pass(operation) },
        }),
        stores: this.stores,
        effects: (task) => this.#effects(task),
        clock: this.#clock(),
        cap: CAP,
        maxBatch: 5,
        deadLetter: (_input, error) => {
          world.problems.push(`dead letter: ${error.message}`);
          return [];
        },
        report: { committed: () => undefined, warn: (message, error) => this.#warned(message, error) },
      });
      void this.task.lost.then((error) => this.#lost(error));
      void this.#feed(this.task);
    } catch (error) {
      this.#lost(error as Error);
    }
  }

  #lost(error: Error): void {
    const fenced = error instanceof EvenkeelError && error.code === 'fenced';
    if (this.alive && !fenced) this.world.problems.push(`process ${this.id} was lost: ${error.message}`);
  }

  /** A re-opening has an error of the network or a fence as its cause, never one of the code. */
  #warned(message: string, error: Error | undefined): void {
    if (error && !(error instanceof EvenkeelError) && error.message !== 'this process is dead') this.world.problems.push(`${message}: ${error.message}`);
  }

  #clock(): Clock {
    const offset = this.world.random() * 1e6;
    return {
      monotonic: () => offset + this.world.time.now,
      after: (ms, run) => this.world.time.after(ms, () => this.alive && run()),
    };
  }

  /** Delays, loses a request or its reply, or kills the process here: its promise never resolves. */
  async #pass(operation: string): Promise<void> {
    const { world } = this;
    // Between the owner's check and the opening the partition may be lost: a moment is no fault.
    if (operation === 'open' && this.lostAt !== undefined && world.time.now - this.lostAt > 200)
      world.problems.push(`invariant 6: process ${this.id} opens a partition that it lost ${Math.round(world.time.now - this.lostAt)} ms ago`);
    await world.time.sleep(operation === 'owned' ? 50 : world.random() * 20);
    if (!this.alive) await new Promise(() => undefined);
    if (operation === 'commit' || operation === 'committed') {
      if (world.chance(operation === 'commit' ? world.faults.lostRequest : world.faults.lostReply))
        throw new EvenkeelError('commit_failed', `${operation} lost`);
      if (world.chance(world.faults.crash)) {
        if (world.owner === this) void world.rebalance(true);
        await new Promise(() => undefined);
      }
    }
  }

  #effects(task: SupportTask): ReturnType<typeof turns> {
    const { world } = this;
    const vault = {
      seal: async (_t: TenantId, _p: PersonId, _place: string, words: Uint8Array) => words,
      open: async (_t: TenantId, _p: PersonId, _place: string, words: Uint8Array) => words,
    };
    const effects = turns(
      {
        codec,
        vault,
        warn: () => undefined,
        agent: async (ask, journal, signal) => {
          if (!ask.message.includes(`of ${ask.tenant}`)) world.problems.push(`${ask.tenant} was given: ${ask.message}`);
          for (let step = 1; step <= 2; step++) {
            await journal.step(`model-${step}`, { worstCase: 900 as MicroUsd, worstTokens: 100, kind: world.random() < 0.2 ? 'unsafe' : 'read' }, async () => {
              await world.time.sleep(world.random() * 400);
              if (signal.aborted) throw signal.reason;
              if (world.chance(world.faults.stepFails)) throw new Error('the provider failed');
              return { value: `${ask.message} ${step}`, cost: Math.floor(world.random() * 900) as MicroUsd, inputTokens: 1, outputTokens: 1, model: 'sim' };
            });
          }
          return { outcome: 'answered', reason: 'answered', answer: ask.message, citations: [], degraded: ask.degraded };
        },
      },
      task,
    );
    return {
      start: (work, row) => {
        const key = `${this.id}:${work.key}`;
        if (this.alive) world.running.set(key, 1);
        const mine = [...world.running.keys()].filter((each) => each.startsWith(`${this.id}:`)).length;
        world.peak = Math.max(world.peak, mine);
        const handle = effects.start(work, row);
        return {
          key: handle.key,
          abort: () => {
            world.running.delete(key);
            handle.abort();
          },
        };
      },
    };
  }

  /** The consumer's side: records in order, from where the task stands; now and then some again. */
  async #feed(task: SupportTask): Promise<void> {
    this.#fed = task.position(REQUESTS);
    while (this.alive) {
      const records = this.world.broker
        .partition(REQUESTS, 0)
        .records.filter((record) => record.offset >= this.#fed)
        .slice(0, 7);
      for (const record of records) {
        const input = JSON.parse(Buffer.from(record.value ?? []).toString(), (key, value) => (key === 'sealed' ? Buffer.from(value, 'utf8') : value)) as Input;
        const withTime = input.kind === 'request' ? { ...input, appended: record.timestamp } : input;
        task.offer(withTime, { topic: REQUESTS, from: record.offset, next: record.offset + 1, at: record.timestamp }).catch(() => undefined);
        this.#fed = record.offset + 1;
      }
      if (this.world.chance(0.05)) this.#fed = task.position(REQUESTS);
      await this.world.time.sleep(10 + this.world.random() * 40);
    }
  }
}

/** What producers wrote: a tenant's requests, some twice, some with another body, some late. */
export function produce(world: World, input: Input): void {
  const value = JSON.stringify(input, (key, field) => (key === 'sealed' ? Buffer.from(field.data ?? field).toString() : field));
  world.broker.append({ topic: REQUESTS, key: input.tenant, value: Buffer.from(value) }, 0);
}

export function requestInput(world: World, at: number): Input {
  const tenant = world.pick(TENANTS);
  const mark = `r_${String(at).padStart(22, '0')}` as RequestId;
  const conversation = world.random() < 0.6 ? Math.floor(world.random() * 6) : 1_000 + at;
  return {
    kind: 'request',
    tenant,
    item: `c_${tenant}-${conversation}` as ConversationId,
    mark,
    person: `p_${tenant}` as PersonId,
    bodyDigest: `digest of ${at}`,
    source: 'http',
    appended: 0,
    deadlineMs: world.random() < 0.2 ? Math.floor(world.random() * 1_500) : 600_000,
    sealed: Buffer.from(JSON.stringify({ message: `question ${at} of ${tenant}`, metadata: null })),
  };
}

export function createTenant(tenant: TenantId, changes: Record<string, number>): Input {
  return {
    kind: 'command',
    tenant,
    mark: `k_create-${tenant}`,
    command: { type: 'create_tenant', tenantId: tenant, commandId: `create-${tenant}`, by: 'sim', role: 'operator', changes: JSON.stringify(changes) },
  };
}
