/** A partition's owner on any log and store, with traffic that leaves conversations waiting, running and done; its snapshots are small and often. */
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { ConversationId, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import type { Log, Stores } from '#streams/engine/ports.ts';
import type { Recovered } from '#streams/engine/recover.ts';
import { Semaphore } from '#streams/engine/semaphore.ts';
import type { SnapshotWritten } from '#streams/engine/snapshots.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { openTask } from '#streams/engine/task.ts';
import { wordsRecord } from '#streams/engine/words.ts';
import type { Finish } from '#streams/support/input.ts';
import { support } from '#streams/support/support.ts';

export const codec = createCodec(localSchemas());
export const machine = support(codec);
const TENANTS = ['acme', 'globex', 'initech'] as TenantId[];
export const SNAPSHOTS = 'tenant.snapshots';
const CAP = 4;

export type DeskParts = {
  readonly log: Log;
  readonly stores: Stores;
  readonly topics: { readonly history: string; readonly words: string };
  readonly partition?: number;
  readonly every?: number;
  readonly chunkBytes?: number;
  readonly pauseMs?: number;
  readonly settleMs?: number;
  /** Undefined: no snapshots are read or written. */
  readonly topic?: string | undefined;
};

export class Desk {
  task!: SupportTask;
  recovered: Omit<Recovered, 'store'>[] = [];
  written: SnapshotWritten[] = [];
  warnings: string[] = [];
  #asked = 0;
  #committed = 0;
  readonly running = new Map<string, Pick<Finish, 'tenant' | 'item' | 'mark' | 'arrival'>>();

  static async open(parts: DeskParts): Promise<Desk> {
    const desk = new Desk();
    const { log, stores, topics, partition = 0, topic } = parts;
    const snapshots = topic && {
      topic,
      every: parts.every ?? 300,
      turns: new Semaphore(1),
      settleMs: parts.settleMs ?? 0,
      chunkBytes: parts.chunkBytes ?? 1_000,
      pauseMs: parts.pauseMs ?? 0,
    };
    desk.task = await openTask({
      machine: {
        ...machine,
        // Only the words, on the topic that the log was made for.
        outputs: (...of) => machine.outputs(...of).flatMap((output) => (output.words ? [{ ...output, topic: topics.words }] : [])),
      },
      partition,
      partitions: 1,
      topics,
      log,
      stores,
      snapshots: snapshots || undefined,
      cap: CAP,
      maxBatch: 20,
      clock: {
        monotonic: () => performance.now(),
        after(ms, run) {
          const timer = setTimeout(run, Math.min(ms, 2 ** 31 - 1));
          return () => clearTimeout(timer);
        },
      },
      effects: () => ({
        start(work) {
          desk.running.set(work.key, { tenant: work.tenant, item: work.conversation, mark: work.request, arrival: work.turn.arrival });
          return { key: work.key, abort: () => desk.running.delete(work.key) };
        },
      }),
      deadLetter: () => [],
      report: {
        committed: ({ batch }) => {
          desk.#committed = batch;
        },
        recovered: (what) => desk.recovered.push(what),
        snapshot: (what) => desk.written.push(what),
        warn: (message, error) => desk.warnings.push(error ? `${message}: ${error.message}` : message),
      },
    });
    return desk;
  }

  async tenants(): Promise<void> {
    const changes = JSON.stringify({ maxQueued: 100_000, maxInFlight: 100, requestsPerSecond: 10_000, burst: 10_000 });
    for (const tenant of TENANTS) {
      const command = { type: 'create_tenant' as const, tenantId: tenant, commandId: `create-${tenant}`, by: 'test', role: 'operator' as const, changes };
      await this.task.offer({ kind: 'command', tenant, mark: `k_create-${tenant}`, command });
    }
  }

  /** Requests `from` to `to`; every third of those that run is finished. */
  async traffic(from: number, to: number): Promise<void> {
    for (let at = from; at < to; at++) {
      const tenant = TENANTS[at % TENANTS.length] as TenantId;
      await this.task.offer({
        kind: 'request',
        tenant,
        item: `c_${tenant}-${at % 40}` as ConversationId,
        mark: requestOf(at),
        person: 'p_someone' as PersonId,
        bodyDigest: `digest of ${at}`,
        source: 'http',
        appended: await this.#now(),
        deadlineMs: 3_600_000,
        sealed: Buffer.from(`sealed words of ${at}`),
      });
      if (at % 3 === 0) await this.finishOne();
    }
  }

  /** The broker's time, as far as the task knows it. Timers get their turn. */
  async #now(): Promise<number> {
    if (this.#asked++ % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    return this.task.store.meta?.time ?? 0;
  }

  /** What has nothing more to do writes its store: until it has. */
  async idle(): Promise<void> {
    await until(() => (this.task.store.meta?.batch ?? 0) >= this.#committed);
  }

  async finishOne(): Promise<void> {
    const [found] = this.running;
    if (!found) return;
    const [key, next] = found;
    this.running.delete(key);
    await this.task.offer({
      kind: 'finish',
      ...next,
      outcome: 'answered',
      reason: 'answered',
      degraded: null,
      retryAfterMs: null,
      citations: 0,
      sealed: Buffer.from('answer'),
    });
  }
}

/** The state, and the words beside it, once the store has what was committed. */
export async function seen(desk: Desk) {
  await desk.idle();
  const { store } = desk.task;
  const words = store.scan('words', '', 10_000).map(([key, value]) => [key, Buffer.from(wordsRecord(value)).toString('hex')]);
  return { ...stateHash(store), words };
}

export const requestOf = (at: number): RequestId => `r_${String(at).padStart(22, '0')}` as RequestId;

export async function until(done: () => boolean, ms = 10_000): Promise<void> {
  for (const end = performance.now() + ms; !done(); ) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
