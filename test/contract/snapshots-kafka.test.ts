/** Invariants 3 and 5 on the real thing: after whatever was lost, the same state and the same words. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { Desk, type DeskParts, seen } from '../streams/engine/snapshot-desk.ts';
import { client, newTopic } from './kafka-under-test.ts';

const root = mkdtempSync(join(tmpdir(), 'evenkeel-snapshots-'));
const [reader, follower] = [new Reader(client('reader'), () => undefined), new Reader(client('follower'), () => undefined)];
afterAll(async () => {
  await Promise.all([reader.close(), follower.close()]);
  rmSync(root, { recursive: true, force: true });
});

test('a partition is restored from RocksDB, from a snapshot and from the log alone, to the same state and words', async () => {
  const [history, words, topic] = [await newTopic(1), await newTopic(1), await newTopic(1)];
  const topics = { history, words };
  const log = kafkaLog({ kafka: client('snapshots'), reader, follower, group: `snapshots-${process.pid}`, topics, owned: async () => true });
  const open = (disk: string, more: Partial<DeskParts>) => Desk.open({ log, topics, stores: rocksStores(join(root, disk)), ...more });
  const first = await open('a', { topic, every: 400, chunkBytes: 10_000, pauseMs: 1 });
  await first.tenants();
  for (let at = 0; first.written.length < 2; at += 10) await first.traffic(at, at + 10);
  await first.traffic(50_000, 50_010);
  const before = await seen(first);
  await first.task.close();
  expect(before.words.length).toBeGreaterThan(10);
  for (const [disk, more, source] of [
    ['a', { topic, every: 1e9 }, 'store'],
    ['b', { topic, every: 1e9 }, 'snapshot'],
    ['c', {}, 'log'],
    // Its store was filled from a snapshot before.
    ['b', { topic, every: 1e9 }, 'store'],
  ] as const) {
    const desk = await open(disk, more);
    const now = await seen(desk);
    expect(now.words.length).toBe(before.words.length);
    expect(desk.recovered).toEqual([expect.objectContaining({ source })]);
    expect(now).toEqual(before);
    expect(desk.warnings).toEqual([]);
    await desk.task.close();
  }
});
