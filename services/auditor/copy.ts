/**
 * Copies a partition's history into its tenants' audit topics. Entries are acknowledged first and the chain is stored after: what a crash
 * leaves unstored is sent again, byte for byte the same under the same key, and compaction collapses it (invariant 9).
 *
 * Two readings of one log. The leading one goes on whatever happens and copies for tenants whose topic takes entries. A tenant that is new
 * to this process, or whose topic failed, is *behind*: a second reading, begun at that tenant's own position and with a producer of its own,
 * catches it up and hands it to the leading one. So a missing topic delays nobody else. (In kafkajs one topic that is missing or forbidden
 * fails the metadata of all that its producer writes to: so unproven topics are tried one by one, and a producer that failed is replaced.)
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Codec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Offset, TenantId } from '#schemas/ids.ts';
import type { Log, Stores } from '#streams/engine/ports.ts';
import { Chains, newChain, type TenantChain } from './chains.ts';
import { type AuditSender, collect, extend, historicReader, type Round, sendEntries } from './round.ts';

export type CopyOptions = {
  readonly partition: number;
  readonly partitions: number;
  readonly topic: string;
  readonly codec: Codec;
  readonly log: Pick<Log, 'follow'>;
  /** For catching up: readings of the same partition do not share a connection. */
  readonly again: Pick<Log, 'follow'>;
  readonly stores: Stores;
  /** A new producer: the leading reading has one, each catching up its own, so that one topic's failure cannot spoil another's. */
  readonly connect: () => AuditSender;
  readonly copied?: (entries: number) => void;
  readonly warn?: (message: string) => void;
  /** ms to the first retry of a failed tenant; it doubles. */
  readonly retryMs?: number;
};

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 15_000;
/** Under load a round is taken up at most this often: its cost is by tenant, not by event. */
const PACE_MS = 100;
/** A healthy broker acknowledges in milliseconds. One that is slow for a tenant must not hold up the others for longer than this. */
const LEADING_LIMIT_MS = 1_000;
const CATCH_UP_LIMIT_MS = 30_000;
/** For the first entries to a topic that may be missing; it doubles with each failure, in case the broker is slow. */
const PROOF_LIMIT_MS = 1_000;
const LAST_PROOF_LIMIT_MS = 5_000;

/** Failures in a row, and when to try again. */
type Retry = { readonly failures: number; readonly timer: NodeJS.Timeout | undefined };
/** One catching up; `proven`: their topics took entries in it. */
type Pass = { readonly chains: Map<TenantId, TenantChain>; readonly proven: Set<TenantId>; sender: AuditSender };

export class PartitionCopier {
  readonly #options: CopyOptions;
  readonly #stop = new AbortController();
  #chains!: Chains;
  /** Tenants whose entries the leading reading sends. */
  readonly #live = new Map<TenantId, TenantChain>();
  /** Tenants that need a catching up; a timer says when, none says at once. */
  readonly #behind = new Map<TenantId, Retry>();
  /** The leading reading has taken up every transaction before this. */
  #taken: Offset = 0;
  #batch = 0;
  #catchingUp: Promise<void> | undefined;
  #leading: Promise<void> | undefined;
  #sender: AuditSender;
  #markReady!: () => void;
  /** The end that the history had at the start was reached once. */
  readonly ready = new Promise<void>((resolve) => {
    this.#markReady = resolve;
  });
  #fail!: (error: Error) => void;
  /** Resolves when the partition can no longer be copied. */
  readonly failed = new Promise<Error>((resolve) => {
    this.#fail = resolve;
  });

  constructor(options: CopyOptions) {
    this.#options = options;
    this.#sender = options.connect();
  }

  async start(): Promise<void> {
    const { stores, partition, partitions } = this.#options;
    this.#chains = await Chains.open(stores, partition, partitions);
    this.#leading = this.#lead().catch((error: Error) => this.#fail(error));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    for (const { timer } of this.#behind.values()) clearTimeout(timer);
    await this.#leading;
    await this.#catchingUp;
    await this.#sender.close();
    await this.#chains.close();
  }

  get position(): Offset {
    return this.#taken;
  }

  /** Tenants that are not copied at the moment, because their topic failed. */
  get failing(): number {
    return [...this.#behind.values()].filter(({ failures }) => failures > 0).length;
  }

  async #lead(): Promise<void> {
    try {
      await this.#follow();
    } catch (error) {
      if (!this.#mismatch(error)) throw error;
      this.#options.warn?.(`partition ${this.#options.partition}: ${error.message}; its chains are computed anew`);
      await this.#rebuild();
      await this.#follow();
    }
  }

  /** The chains are of another log than this one: its numbers differ, or no transaction begins where they stand. */
  #mismatch(error: unknown): error is EvenkeelError {
    if (!(error instanceof EvenkeelError)) return false;
    const from = this.#chains.meta.positions.history;
    return error.code === 'store_ahead' || (error.code === 'fold_failed' && from > 0 && this.#taken === from);
  }

  async #follow(): Promise<void> {
    const { log, topic, partition, codec } = this.#options;
    const reader = historicReader(codec);
    const from = this.#chains.meta.positions.history;
    [this.#taken, this.#batch] = [from, this.#chains.meta.batch];
    for (const [tenant] of this.#chains.behind()) this.#behind.set(tenant, { failures: 0, timer: undefined });
    let target: Offset | undefined;
    let began = performance.now();
    for await (const { records, next, end } of log.follow(topic, partition, from, this.#stop.signal)) {
      began = performance.now();
      if (end < from) throw new EvenkeelError('store_ahead', `the chains reflect offset ${from}, the history ends at ${end}`);
      const round = collect(reader, records, this.#taken);
      if (round) await this.#copy(round);
      this.#catchUpSoon();
      target ??= end;
      if (next >= target) this.#markReady();
      await this.#pause(began + PACE_MS - performance.now());
    }
  }

  async #pause(ms: number): Promise<void> {
    if (ms <= 0) return;
    try {
      await sleep(ms, undefined, { signal: this.#stop.signal });
    } catch {
      // It is being closed: there is nothing to wait for.
    }
  }

  /** Everything up to the first await happens at once: a tenant that catches up meanwhile joins before or after this round, never within. */
  async #copy(round: Round): Promise<void> {
    for (const number of round.numbers) {
      if (number !== this.#batch + 1) throw new EvenkeelError('store_ahead', `the chains reflect batch ${this.#batch}, the history goes on with ${number}`);
      this.#batch = number;
    }
    this.#taken = round.next;
    const live = [...round.tenants.keys()].filter((tenant) => this.#live.has(tenant));
    this.#fallBehind(
      [...round.tenants.keys()].filter((tenant) => !this.#live.has(tenant) && !this.#behind.has(tenant)),
      round.start,
    );
    const changed = new Map<TenantId, TenantChain>();
    const limits = [LEADING_LIMIT_MS];
    const sends = live.map((tenant) => this.#send(this.#sender, tenant, this.#live.get(tenant) as TenantChain, round, limits));
    for (const { tenant, before, after, error } of await Promise.all(sends)) {
      if (after) this.#live.set(tenant, after);
      changed.set(tenant, after ?? { ...before, behind: true });
      if (error) this.#failed(tenant, error);
    }
    if ([...changed.values()].some(({ behind }) => behind)) this.#sender = this.#replace(this.#sender);
    this.#chains.write(changed, { next: round.next, batch: this.#batch, time: round.last.time });
  }

  /** Stored at once, before a catching up can look: a tenant that is behind has a row. */
  #fallBehind(tenants: readonly TenantId[], start: Offset): void {
    if (tenants.length === 0) return;
    const chains = tenants.map((tenant): [TenantId, TenantChain] => {
      this.#behind.set(tenant, { failures: 0, timer: undefined });
      // Known from an earlier process, and not behind then: all its events before this round are on its topic.
      const known = this.#chains.get(tenant);
      return [tenant, known ? { ...known, next: Math.max(known.next, start), behind: true } : newChain(start)];
    });
    this.#chains.write(chains);
  }

  #failed(tenant: TenantId, error: Error): void {
    const { retryMs = FIRST_RETRY_MS, warn } = this.#options;
    const failures = (this.#behind.get(tenant)?.failures ?? 0) + 1;
    const wait = Math.min(LAST_RETRY_MS, retryMs * 2 ** (failures - 1));
    const timer = setTimeout(() => {
      this.#behind.set(tenant, { failures, timer: undefined });
      this.#catchUpSoon();
    }, wait);
    this.#live.delete(tenant);
    this.#behind.set(tenant, { failures, timer });
    warn?.(`the audit of ${tenant} waits, its topic takes no entries (${error.message}); trying again in ${wait} ms`);
  }

  async #send(sender: AuditSender, tenant: TenantId, before: TenantChain, round: Round, limits: readonly number[]) {
    const { entries, after } = extend(tenant, this.#options.partition, before, round);
    try {
      await sendEntries(sender, this.#options.codec, entries, limits);
      this.#options.copied?.(entries.length);
      return { tenant, before, after };
    } catch (error) {
      return { tenant, before, error: error as Error };
    }
  }

  #replace(sender: AuditSender): AuditSender {
    sender.close().catch((error: Error) => this.#options.warn?.(`a producer was not closed: ${error.message}`));
    return this.#options.connect();
  }

  #catchUpSoon(): void {
    if (this.#catchingUp || this.#stop.signal.aborted || !this.#due().length) return;
    this.#catchingUp = this.#catchUp()
      .catch((error: Error) => this.#fail(error))
      .finally(() => {
        this.#catchingUp = undefined;
        this.#catchUpSoon();
      });
  }

  #due(): TenantId[] {
    return [...this.#behind].filter(([, { timer }]) => timer === undefined).map(([tenant]) => tenant);
  }

  /** Reads from the oldest position of the tenants that are due, until it meets the leading reading. */
  async #catchUp(): Promise<void> {
    const { again, topic, partition, codec, connect } = this.#options;
    const chains = new Map(this.#due().map((tenant): [TenantId, TenantChain] => [tenant, this.#chains.get(tenant) ?? newChain(0)]));
    const pass: Pass = { chains, proven: new Set(), sender: connect() };
    const reader = historicReader(codec);
    let position = Math.min(...[...chains.values()].map(({ next }) => next));
    try {
      for await (const { records } of again.follow(topic, partition, position, this.#stop.signal)) {
        const round = collect(reader, records, position);
        if (round) {
          position = round.next;
          await this.#copyBehind(pass, round);
        }
        if (position >= this.#taken) this.#join(chains);
        if (chains.size === 0) return;
      }
    } finally {
      await pass.sender.close();
    }
  }

  async #copyBehind(pass: Pass, round: Round): Promise<void> {
    const { chains, proven } = pass;
    const failures = (tenant: TenantId) => this.#behind.get(tenant)?.failures ?? 0;
    const concerned = [...chains.keys()].filter((tenant) => round.tenants.has(tenant));
    const limits = [CATCH_UP_LIMIT_MS];
    const sends = concerned
      .filter((tenant) => proven.has(tenant))
      .map((tenant) => this.#send(pass.sender, tenant, chains.get(tenant) as TenantChain, round, limits));
    for (const sent of await Promise.all(sends)) this.#caughtUp(pass, sent);
    // One by one, those that have failed before at the end.
    for (const tenant of concerned.filter((each) => !proven.has(each)).sort((a, b) => failures(a) - failures(b))) {
      const proof = Math.min(LAST_PROOF_LIMIT_MS, PROOF_LIMIT_MS * 2 ** failures(tenant));
      this.#caughtUp(pass, await this.#send(pass.sender, tenant, chains.get(tenant) as TenantChain, round, [proof, CATCH_UP_LIMIT_MS]));
    }
  }

  #caughtUp(pass: Pass, { tenant, after, error }: { readonly tenant: TenantId; readonly after?: TenantChain; readonly error?: Error }): void {
    if (after) {
      pass.chains.set(tenant, after);
      pass.proven.add(tenant);
      this.#chains.write([[tenant, after]]);
      return;
    }
    pass.chains.delete(tenant);
    this.#failed(tenant, error ?? new Error('no entries were sent'));
    pass.sender = this.#replace(pass.sender);
  }

  /** At once: from here on the leading reading sends what it takes up. */
  #join(chains: Map<TenantId, TenantChain>): void {
    for (const [tenant, chain] of chains) {
      chains.set(tenant, { ...chain, behind: false });
      this.#live.set(tenant, { ...chain, behind: false });
      this.#behind.delete(tenant);
    }
    this.#chains.write(chains);
    chains.clear();
  }

  async #rebuild(): Promise<void> {
    const { stores, partition, partitions } = this.#options;
    await this.#catchingUp;
    await this.#chains.close();
    await stores.destroy(partition);
    this.#chains = await Chains.open(stores, partition, partitions);
    this.#live.clear();
    this.#behind.clear();
  }
}
