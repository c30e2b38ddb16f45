/** What the broker's cleaner leaves of a topic of snapshots: the newest whole one, at offsets with gaps (invariant 3). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createKafka, withAdmin } from '#streams/kafka/client.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { startKafka } from '../start-kafka.ts';
import { Desk, type DeskParts, seen } from '../streams/engine/snapshot-desk.ts';

const topics = { history: 'long.history', words: 'long.words' };
const SNAPSHOTS = 'long.snapshots';
/** Segments of a moment, cleaned whenever the cleaner comes by. */
const EAGER = { 'cleanup.policy': 'compact', 'segment.ms': '200', 'min.cleanable.dirty.ratio': '0.001', 'delete.retention.ms': '0' };
const CLEANED_MS = 90_000;

test('a partition is restored from a topic that the broker has compacted', async () => {
  const kafka = await startKafka();
  const dir = mkdtempSync(join(tmpdir(), 'evenkeel-compacted-'));
  const client = (name: string) => createKafka({ brokers: kafka.brokers, ...kafka.admin, clientId: name });
  const reader = new Reader(client('reader'), () => undefined);
  try {
    const time = { name: 'message.timestamp.type', value: 'LogAppendTime' };
    const eager = Object.entries(EAGER).map(([name, value]) => ({ name, value }));
    const topic = (name: string, configEntries = [time]) => ({ topic: name, numPartitions: 1, replicationFactor: 1, configEntries });
    const made = [topic(topics.history), topic(topics.words), topic(SNAPSHOTS, [time, ...eager])];
    await withAdmin(client('admin'), (admin) => admin.createTopics({ waitForLeaders: false, topics: made }));
    const log = kafkaLog({ kafka: client('log'), reader, follower: reader, group: 'long', topics, owned: async () => true });
    const open = (disk: string, every: number) => {
      const parts: DeskParts = { log, topics, stores: rocksStores(join(dir, disk)), topic: SNAPSHOTS, every, chunkBytes: 5_000, pauseMs: 20 };
      return Desk.open(parts);
    };
    const records = async () => {
      const found: number[] = [];
      for await (const batch of reader.read(SNAPSHOTS, 0, 0)) found.push(...batch.records.map(({ offset }) => offset));
      return found;
    };
    const first = await open('first', 300);
    await first.tenants();
    for (let at = 0; first.written.length < 4; at += 10) await first.traffic(at, at + 10);
    const before = await seen(first);
    await first.task.close();
    const written = await records();
    for (const end = Date.now() + CLEANED_MS; (await records()).length === written.length; await new Promise((resolve) => setTimeout(resolve, 500)))
      if (Date.now() > end) throw new Error(`the cleaner left all ${written.length} records`);
    const left = await records();
    expect(left.length).toBeLessThan(written.length);
    const second = await open('second', 1e9);
    expect(second.recovered).toEqual([expect.objectContaining({ source: 'snapshot' })]);
    expect(second.warnings).toEqual([]);
    expect(await seen(second)).toEqual(before);
    await second.task.close();
  } finally {
    await reader.close();
    await kafka.stop();
    rmSync(dir, { recursive: true, force: true });
  }
});
