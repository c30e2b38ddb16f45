/** Invariants 3 and 5: what another thread restores is, byte for byte, what this one would have made of the same log. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { localSchemas } from '#schemas/codec.ts';
import { Restorer } from '#services/runtime/restorer.ts';
import { restoreFrom } from '#streams/engine/recover.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { Desk, machine } from '../streams/engine/snapshot-desk.ts';
import { client, newTopic } from './kafka-under-test.ts';

const { brokers, admin } = inject('kafka');
const root = mkdtempSync(join(tmpdir(), 'evenkeel-restorer-'));
const reader = new Reader(client('reader'), () => undefined);
let topics: { readonly history: string; readonly words: string };
let snapshots: { readonly topic: string };
let made = 0;

const emptyStore = () => rocksStores(join(root, `${made++}`)).open(0);
const restorer = (partitions = 1, schemas = localSchemas()) =>
  new Restorer({ kafka: { brokers, ...admin, clientId: 'restorer' }, schemas, partitions, topics, snapshots }, 2, () => undefined);

/** By this thread, in memory. */
async function here(source: 'snapshot' | 'log') {
  const store = await memoryStores().open(0);
  const log = { read: (topic: string, from: number) => reader.read(topic, 0, from), end: (topic: string) => reader.end(topic, 0) };
  return { restored: await restoreFrom({ machine, partitions: 1, topics, snapshots }, log, store, source), store };
}

beforeAll(async () => {
  topics = { history: await newTopic(1), words: await newTopic(1) };
  snapshots = { topic: await newTopic(1) };
  const log = kafkaLog({ kafka: client('restorer'), reader, follower: reader, group: `restorer-${process.pid}`, topics, owned: async () => true });
  const desk = await Desk.open({ log, topics, stores: memoryStores(), ...snapshots, every: 300, chunkBytes: 10_000, pauseMs: 1 });
  await desk.tenants();
  for (let at = 0; desk.written.length < 1; at += 10) await desk.traffic(at, at + 10);
  await desk.traffic(50_000, 50_010);
  await desk.task.close();
});
afterAll(async () => {
  await reader.close();
  rmSync(root, { recursive: true, force: true });
});

test.each(['snapshot', 'log'] as const)('by its %s, into stores that go on to be used here; more of them than there are threads', async (source) => {
  const same = await here(source);
  const { restore } = restorer();
  const stores = await Promise.all(Array.from({ length: 4 }, emptyStore));
  const restored = await Promise.all(stores.map((store) => restore(0, store, source)));
  expect(same.restored?.events).toBeGreaterThan(10);
  for (const [at, store] of stores.entries()) {
    expect(restored[at]).toEqual(same.restored);
    expect(store.meta).toEqual(same.store.meta);
    expect(stateHash(store)).toEqual(stateHash(same.store));
    store.write([{ table: 'account', key: 'more', value: Buffer.from('x') }], { ...same.store.meta, batch: 9_999 } as NonNullable<typeof store.meta>);
    expect(Buffer.from(store.get('account', 'more') ?? '').toString()).toBe('x');
    await store.close();
  }
});

test('an error of the fold crosses with its code, and the store is its owner’s again', async () => {
  const store = await emptyStore();
  await expect(restorer(7).restore(0, store, 'log')).rejects.toMatchObject({ code: 'partitions_changed' });
  await store.close();
});

test('a thread that ends without a word is an error worth another try', async () => {
  const store = await emptyStore();
  const { restore } = restorer(1, [{ id: 1, name: 'batch', schema: 'nonsense' as never }]);
  await expect(restore(0, store, 'log')).rejects.toMatchObject({ code: 'unavailable' });
  await store.close();
});
