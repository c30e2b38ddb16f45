/**
 * What a snapshot costs while it is written, and what it saves: one partition with many queued requests, its transactions with and without a
 * snapshot under way, in turn; then restored from a snapshot and from the log alone.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import type { Log } from '#streams/engine/ports.ts';
import type { Recovered } from '#streams/engine/recover.ts';
import { Semaphore } from '#streams/engine/semaphore.ts';
import type { SnapshotWritten } from '#streams/engine/snapshots.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { openTask } from '#streams/engine/task.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { support } from '#streams/support/support.ts';
import { startKafka } from '../start-kafka.ts';
import {
  conversationId,
  created,
  event,
  money,
  PARTITIONS,
  personId,
  provisionTopics,
  requestId,
  TOPICS,
  tenantsByPartition,
  type Written,
  writeHistory,
} from './history.ts';
import { SMALL } from './options.ts';
import { quantile, type Report, round, say } from './report.ts';

const REQUESTS = SMALL ? 30_000 : 200_000;
const TENANTS = 4_000;
const PACED_MS = 8_000;
const EVERY_MS = 10;
/** The first seconds warm up; so many offsets of small transactions pass before the snapshot. */
const WARM_MS = 2_000;
const QUIET_OFFSETS = 4_000;
/** While a snapshot is written, the median transaction. */
const MOST_SLOWER = 1.25;
const SNAPSHOTS = 'tenant.snapshots';
const machine = support(createCodec(localSchemas()));
const asking = (tenantsByPartition(TENANTS)[0] ?? [])[0]?.tenant as TenantId;

function* queued(): Iterable<Written> {
  const tenants = tenantsByPartition(TENANTS)[0] ?? [];
  for (const { tenant } of tenants) yield created(tenant);
  for (let at = 0; at < REQUESTS; at++) {
    const { n, tenant } = tenants[at % tenants.length] as (typeof tenants)[number];
    const of = { tenant, request: requestId(at), conversation: conversationId(at) };
    yield event({
      type: 'request_queued',
      ...of,
      person: personId(n),
      bodyDigest: `${at}`.padStart(22, '0'),
      source: 'http',
      arrival: Math.floor(at / tenants.length),
      deadline: 9e12,
      estimate: money(2_000),
    });
  }
}

type Opened = { readonly task: SupportTask; readonly written: Promise<SnapshotWritten>; readonly from: Omit<Recovered, 'store'> & { readonly ms: number } };

/** `every`: undefined writes none; `topic`: undefined knows of none. */
async function open(log: Log, dir: string, every: number | undefined, topic: string | undefined): Promise<Opened> {
  const [written, recovered] = [Promise.withResolvers<SnapshotWritten>(), Promise.withResolvers<Opened['from']>()];
  const task = await openTask({
    machine,
    partition: 0,
    partitions: PARTITIONS,
    topics: TOPICS,
    log,
    stores: rocksStores(dir),
    snapshots: topic === undefined ? undefined : { topic, every: every ?? 1e15, turns: new Semaphore(1) },
    cap: 1,
    clock: {
      monotonic: () => performance.now(),
      after(ms, run) {
        const timer = setTimeout(run, Math.min(ms, 2 ** 31 - 1));
        return () => clearTimeout(timer);
      },
    },
    effects: () => ({ start: ({ key }) => ({ key, abort: () => undefined }) }),
    deadLetter: () => [],
    report: { committed: () => undefined, recovered: recovered.resolve, snapshot: written.resolve, warn: (message, error) => say(`${message} ${error ?? ''}`) },
  });
  return { task, written: written.promise, from: await recovered.promise };
}

type Sample = { readonly at: number; readonly took: number; readonly stall: number };
let asked = 0;
/** A small input every few milliseconds until `done`: how long each took to be committed, and how long the event loop stood still meanwhile. */
async function paced({ task }: Opened, done: () => boolean): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const all: Promise<unknown>[] = [];
  while (!done()) {
    const [id, at] = [1e7 + asked++, performance.now()];
    const of = { tenant: asking, item: conversationId(id), mark: requestId(id), person: personId(0), bodyDigest: `${id}`, source: 'http' } as const;
    const input = { kind: 'request', ...of, appended: task.now, deadlineMs: 3_600_000, sealed: Buffer.alloc(300, 1) } as const;
    const committed = task.offer(input).then(() => performance.now() - at);
    await sleep(EVERY_MS);
    const stall = performance.now() - at - EVERY_MS;
    all.push(committed.then((took) => samples.push({ at, took, stall })));
  }
  await Promise.all(all);
  return samples;
}

const forMs = (ms: number) => {
  const end = performance.now() + ms;
  return () => performance.now() > end;
};

export async function snapshot(): Promise<Report> {
  const dir = mkdtempSync(join(tmpdir(), 'evenkeel-snapshot-'));
  const kafka = await startKafka();
  const client = (name: string) => createKafka({ brokers: kafka.brokers, ...kafka.admin, clientId: `bench.${name}` });
  const reader = new Reader(client('reader'), say);
  try {
    await provisionTopics(kafka);
    await writeHistory(kafka, createCodec(localSchemas()), 'bench', (partition) => (partition === 0 ? queued() : []));
    const log = kafkaLog({ kafka: client('log'), reader, follower: reader, group: 'bench', topics: TOPICS, owned: async () => true });
    say('the history is written');
    const end = await reader.end(TOPICS.history, 0);
    // Due after a while: what comes before it is without.
    const busy = await open(log, join(dir, 'kept'), end + QUIET_OFFSETS, SNAPSHOTS);
    const warm = performance.now() + WARM_MS;
    const done: { what?: SnapshotWritten; at: number } = { at: Number.POSITIVE_INFINITY };
    void busy.written.then((what) => Object.assign(done, { what, at: performance.now() }));
    const samples = [...(await paced(busy, () => done.what !== undefined)), ...(await paced(busy, forMs(PACED_MS)))];
    const written = done.what as SnapshotWritten;
    const during = samples.filter(({ at }) => at >= done.at - written.ms && at <= done.at);
    const quiet = samples.filter(({ at }) => at > warm && (at < done.at - written.ms || at > done.at));
    const live = stateHash(busy.task.store);
    await busy.task.close();
    const restored = await restores(log, dir, live.hash);
    return report({ quiet, during, written, ...restored, size: await reader.end(TOPICS.history, 0) });
  } finally {
    await reader.close();
    await kafka.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Without its disk. @throws when a state is not that of the live store */
async function restores(log: Log, dir: string, live: string) {
  const found: Opened['from'][] = [];
  for (const [at, topic] of [SNAPSHOTS, undefined, SNAPSHOTS, undefined].entries()) {
    const opened = await open(log, join(dir, `fresh-${at}`), undefined, topic);
    found.push(opened.from);
    if (stateHash(opened.task.store).hash !== live) throw new Error(`another state from ${opened.from.source}`);
    await opened.task.close();
  }
  const fastest = (source: string) => Math.min(...found.filter((each) => each.source === source).map(({ ms }) => ms));
  return { snapshotMs: fastest('snapshot'), logMs: fastest('log') };
}

type Found = {
  readonly quiet: readonly Sample[];
  readonly during: readonly Sample[];
  readonly written: SnapshotWritten;
  readonly snapshotMs: number;
  readonly logMs: number;
  readonly size: number;
};

function report({ quiet, during, written, snapshotMs, logMs, size }: Found): Report {
  const took = (samples: readonly Sample[], q: number) =>
    quantile(
      samples.map((each) => each.took),
      q,
    );
  const longest = (samples: readonly Sample[]) => round(Math.max(...samples.map(({ stall }) => stall)));
  const ratio = took(during, 0.5) / took(quiet, 0.5);
  return {
    name: 'snapshot',
    figures: {
      queued_requests: REQUESTS,
      rows: written.rows,
      snapshot_mb: round(written.bytes / 1_048_576),
      written_in_s: round(written.ms / 1_000),
      transaction_p50_ms: took(quiet, 0.5),
      transaction_p50_ms_while_written: took(during, 0.5),
      transaction_p95_ms: took(quiet, 0.95),
      transaction_p95_ms_while_written: took(during, 0.95),
      longest_stall_ms: longest(quiet),
      longest_stall_ms_while_written: longest(during),
      history_offsets: size,
      restored_from_snapshot_ms: Math.round(snapshotMs),
      restored_from_log_ms: Math.round(logMs),
    },
    ratio: round(ratio),
    target: `while a snapshot is written, the median transaction takes at most ${MOST_SLOWER} times as long`,
    met: ratio <= MOST_SLOWER,
    not_measured: ['several partitions at once', 'a broker on another machine', 'a history many times longer than its state'],
  };
}
