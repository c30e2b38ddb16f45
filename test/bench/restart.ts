/** kill -9 of a runtime that owns a million queued requests of ten thousand tenants: how soon its next life dispatches, with and without its disk. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '#infra/local/wait.mjs';
import type { Codec } from '#schemas/codec.ts';
import { RUNTIME_GROUP, type Topic } from '#schemas/topics.ts';
import { openVault, type Vault } from '#services/vault.ts';
import type { Rec } from '#streams/engine/ports.ts';
import { SnapshotWriter } from '#streams/engine/snapshot-writer.ts';
import { withAdmin } from '#streams/kafka/client.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { support } from '#streams/support/support.ts';
import { conversationId, created, event, money, PARTITIONS, personId, requestId, TOPICS, tenantsByPartition, type Written, writeHistory } from './history.ts';
import { SMALL } from './options.ts';
import { BenchPlatform } from './platform.ts';
import type { Report } from './report.ts';

const TENANTS = 10_000;
const EACH = SMALL ? 10 : 100;
const REQUESTS = TENANTS * EACH;
const DISPATCH_MS = 1_000;
const START_MS = 2_000;
const EVENTS_PER_SECOND = 300_000;
const WITHIN_MS = 240_000;
const MAIN = 'services/runtime/main.ts';
/** The first lives let one request start in each partition, and its effect does not end: the others stay queued. They write no snapshots. */
const HOLDER = 'test/bench/constant-runtime.ts';
const HOLDING = { EVENKEEL_IN_FLIGHT_PER_PARTITION: '1', EVENKEEL_MODEL_DELAY_MS: '600000', EVENKEEL_SNAPSHOT_EVERY: '1000000000' };
const CHUNK_BYTES = 256 * 1_024;
/** A broker is at rest when it takes less than this of a processor. */
const AT_REST = 0.1;
const LOOK_MS = 500;

type Tenants = ReturnType<typeof tenantsByPartition>[number];
type Opening = { readonly partition: number; readonly began: number; readonly ended: number };

/** Requests of all tenants in turn, each in a conversation of its own. Each tenant's oldest one has its words. */
function* queued(codec: Codec, tenants: Tenants, words: ReadonlyMap<string, Uint8Array>): Iterable<Written> {
  for (const { tenant } of tenants) yield created(tenant);
  for (let arrival = 0; arrival < EACH; arrival++)
    for (const { n, tenant } of tenants) {
      const at = n * EACH + arrival;
      const of = { tenant, request: requestId(at), conversation: conversationId(at) };
      const rest = { person: personId(n), bodyDigest: `${at}`.padStart(22, '0'), source: 'http', arrival, deadline: 9e12, estimate: money(2_000) } as const;
      const sealed = arrival === 0 ? words.get(tenant) : undefined;
      const value = sealed && codec.encode('support_step', { ...of, step: 'message', attempt: 0, sealed: Buffer.from(sealed) });
      yield { ...event({ type: 'request_queued', ...of, ...rest }), ...(value ? { words: { topic: 'support.steps', key: tenant, value } } : {}) };
    }
}

async function sealedWords(vault: Vault): Promise<ReadonlyMap<string, Uint8Array>> {
  const message = Buffer.from(JSON.stringify({ message: 'How do I set a hook?', metadata: null }));
  const all = tenantsByPartition(TENANTS).flat();
  return new Map(
    await Promise.all(all.map(async ({ n, tenant }) => [tenant, await vault.seal(tenant, personId(n), `${requestId(n * EACH)}/message`, message)] as const)),
  );
}

/** The bench's own eyes and hands at the broker, as the administrator. */
class Desk {
  readonly platform: BenchPlatform;
  readonly vault: Vault;
  readonly #reader: Reader;
  readonly #sender: ReturnType<typeof createSender>;
  readonly #stop = new AbortController();

  constructor(platform: BenchPlatform) {
    this.platform = platform;
    this.#reader = new Reader(platform.client('admin'), console.error);
    this.#sender = createSender(platform.client('admin'));
    const { codec, masterKey, partitions } = platform;
    const log = { follow: this.#reader.follow.bind(this.#reader) };
    this.vault = openVault({ log, send: (records) => this.#sender.send(records), codec, masterKey, partitions });
  }

  /** Every record of a topic from now on. */
  async watch(topic: Topic, seen: (record: Rec, partition: number) => void): Promise<void> {
    const ends = await withAdmin(this.platform.client('admin'), (admin) => admin.fetchTopicOffsets(topic));
    for (const { partition, high } of ends) void this.#follow(topic, partition, Number(high), seen);
  }

  /** As gateway and auditor do all day: a broker whose code for it is not yet compiled takes a processor for seconds at the first reading. */
  async readAll(topic: Topic): Promise<void> {
    await Promise.all(
      Array.from({ length: PARTITIONS }, async (_, partition) => {
        for await (const { next, end } of this.#reader.read(topic, partition, 0)) if (next >= end) break;
      }),
    );
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.vault.close(), this.#reader.close(), this.#sender.close()]);
  }

  async #follow(topic: Topic, partition: number, from: number, seen: (record: Rec, partition: number) => void): Promise<void> {
    for await (const { records } of this.#reader.follow(topic, partition, from, this.#stop.signal)) for (const record of records) seen(record, partition);
  }
}

/** When a runtime's partitions were opened, by its own log. */
function openings(platform: BenchPlatform, since: number): readonly Opening[] {
  return platform
    .log('one')
    .split('\n')
    .filter((line) => line.includes('"partition opened"'))
    .map((line) => JSON.parse(line) as { readonly time: number; readonly partition: number; readonly ms: number })
    .filter(({ time }) => time >= since)
    .map(({ time, partition, ms }) => ({ partition, began: time - ms, ended: time }));
}

async function opened(platform: BenchPlatform, since: number): Promise<readonly Opening[]> {
  await until('all partitions', WITHIN_MS, async () => openings(platform, since).length >= PARTITIONS);
  return openings(platform, since);
}

const first = (times: Iterable<number>) => Math.min(...times);
const last = (times: Iterable<number>) => Math.max(...times);

export async function restart(): Promise<Report> {
  const platform = await BenchPlatform.start();
  const desk = new Desk(platform);
  try {
    await desk.vault.ready;
    const tenants = tenantsByPartition(TENANTS);
    const words = await sealedWords(desk.vault);
    await writeHistory(platform.kafka, platform.codec, RUNTIME_GROUP, (partition) => queued(platform.codec, tenants[partition] ?? [], words));
    await desk.readAll('tenant.events');
    await atRest(platform);
    const folded = await withoutDisk(platform);
    await writeSnapshots(platform);
    await atRest(platform);
    rmSync(join(platform.dir, 'one'), { recursive: true });
    const restored = await withoutDisk(platform);
    const kept = await withDisk(desk);
    return report(folded, restored, kept);
  } finally {
    await desk.close();
    await platform.stop();
  }
}

/** What it was asked before the measurement is over with, its compilers' work included. */
async function atRest(platform: BenchPlatform): Promise<void> {
  let before = platform.kafkaCpu();
  await until('the broker to be at rest', WITHIN_MS, async () => {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const used = platform.kafkaCpu() - before;
    before += used;
    return used < (AT_REST * LOOK_MS) / 1_000;
  });
}

type Fresh = { readonly ms: number; readonly memory: number };
async function withoutDisk(platform: BenchPlatform): Promise<Fresh> {
  const since = Date.now();
  await platform.run('one', HOLDER, 'runtime', HOLDING);
  const all = await opened(platform, since);
  const memory = platform.peak('one');
  await platform.end('one', 'SIGKILL');
  return { ms: last(all.map(({ ended }) => ended)) - first(all.map(({ began }) => began)), memory };
}

/** What the tasks do beside their work, here at once: each partition's store as it was left, in chunks on tenant.snapshots. */
async function writeSnapshots(platform: BenchPlatform): Promise<void> {
  const reader = new Reader(platform.client('admin'), console.error);
  const log = kafkaLog({ kafka: platform.client('admin'), reader, follower: reader, group: RUNTIME_GROUP, topics: TOPICS, owned: async () => true });
  const stores = rocksStores(join(platform.dir, 'one', 'stores'));
  const { snapshots } = support(platform.codec);
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const [store, opened] = [await stores.open(partition), await log.open(partition)];
    const writer = new SnapshotWriter(snapshots, store, { topic: 'tenant.snapshots', partition, slot: 0, former: [] }, CHUNK_BYTES);
    while (!writer.done) {
      const records = writer.step();
      if (records) await opened.commit(records, {});
    }
    writer.close();
    await Promise.all([store.close(), opened.close()]);
  }
  await reader.close();
}

type Kept = { readonly openMs: number; readonly dispatchMs: number; readonly startMs: number; readonly servedMs: number };
async function withDisk(desk: Desk): Promise<Kept> {
  const { platform, vault } = desk;
  const dispatched = new Map<number, number>();
  let served = 0;
  await desk.watch('tenant.events', (record, partition) => {
    if (record.value && platform.codec.decode(record.value).name === 'hold_placed' && !dispatched.has(partition)) dispatched.set(partition, Date.now());
  });
  await desk.watch('support.results', (record) => {
    const result = record.value && platform.codec.decode(record.value);
    if (result?.name !== 'support_result' || !result.value.sealed || result.value.reason === 'tool_failure') return;
    const { tenant, person, request, sealed } = result.value;
    void vault.open(tenant, person, `${request}/result`, sealed).then(() => {
      served ||= Date.now();
    });
  });
  const since = Date.now();
  await platform.run('one', MAIN, 'runtime');
  const all = await opened(platform, since);
  await until('the first dispatch of each partition', WITHIN_MS, async () => dispatched.size >= PARTITIONS);
  await until('the words of an old request', WITHIN_MS, async () => served > 0);
  const toDispatch = all.map(({ partition, began }) => (dispatched.get(partition) ?? 0) - began);
  return {
    openMs: last(all.map(({ began, ended }) => ended - began)),
    dispatchMs: last(toDispatch),
    startMs: last(dispatched.values()) - since,
    servedMs: served - since,
  };
}

function report(folded: Fresh, restored: Fresh, kept: Kept): Report {
  const rate = REQUESTS / (folded.ms / 1_000);
  const met = kept.dispatchMs < DISPATCH_MS && kept.startMs < START_MS && rate >= EVENTS_PER_SECOND;
  return {
    name: 'restart',
    figures: {
      queued_requests: REQUESTS,
      tenants: TENANTS,
      opening_to_dispatch_ms: kept.dispatchMs,
      opening_ms: kept.openMs,
      start_to_dispatch_ms: kept.startMs,
      start_to_words_served_ms: kept.servedMs,
      without_disk_ms: folded.ms,
      without_disk_events_per_second: Math.round(rate),
      without_disk_memory_mb: Math.round(folded.memory / 1_048_576),
      from_snapshot_ms: restored.ms,
      from_snapshot_events_per_second: Math.round(REQUESTS / (restored.ms / 1_000)),
    },
    ratio: Math.round(Math.max(kept.dispatchMs / DISPATCH_MS, kept.startMs / START_MS, EVENTS_PER_SECOND / rate) * 100) / 100,
    target: `with its disk below ${DISPATCH_MS} ms from a task's opening to its first dispatch and ${START_MS} ms from the process's start; without it ${EVENTS_PER_SECOND} events/s`,
    met,
    not_measured: [
      'a broker that was just started',
      'the words of more than one request a tenant',
      'a disk that is slower than memory',
      'more than one runtime',
    ],
  };
}
