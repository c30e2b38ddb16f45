/** Stores that are opened before it is known whose they are: found again by their owner, let go of for others. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '#infra/local/wait.mjs';
import { emptyMeta } from '#streams/engine/fold.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { StoresAhead } from '#streams/rocksdb/stores-ahead.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'evenkeel-ahead-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function left(...partitions: readonly number[]): Promise<void> {
  for (const partition of partitions) {
    const store = await rocksStores(directory).open(partition);
    store.write([], { ...emptyMeta(1, 8), batch: 10 + partition });
    await store.close();
  }
}

test('a store that was left is open before its owner asks, and is the one the owner gets; a new one is made when it is asked for', async () => {
  await left(3);
  const files = () => readdirSync(join(directory, 'partition-3')).sort().join(' ');
  const closed = files();
  const ahead = new StoresAhead(directory);
  // Each opening begins files of its own.
  await until('its opening', 10_000, async () => files() !== closed);
  const [old, fresh] = [await ahead.open(3), await ahead.open(5)];
  expect([old.meta?.batch, fresh.meta]).toEqual([13, undefined]);
  await Promise.all([old.close(), fresh.close()]);
  const again = await ahead.open(3);
  expect(again.meta?.batch).toBe(13);
  await again.close();
});

test('what belongs to others is closed, and opened again when it comes to us after all', async () => {
  await left(1, 2);
  const ahead = new StoresAhead(directory);
  const kept = await ahead.open(1);
  ahead.keepOnly([1]);
  const come = await ahead.open(2);
  expect([kept.meta?.batch, come.meta?.batch]).toEqual([11, 12]);
  await Promise.all([kept.close(), come.close()]);
});

test('a store that does not open says so to its owner, who throws it away; nobody else hears of it', async () => {
  await left(1, 2);
  for (const partition of [1, 2]) writeFileSync(join(directory, `partition-${partition}`, 'CURRENT'), 'nonsense');
  const ahead = new StoresAhead(directory);
  ahead.keepOnly([1]);
  await expect(ahead.open(1)).rejects.toMatchObject({ code: 'store_ahead' });
  await ahead.destroy(1);
  const store = await ahead.open(1);
  expect(store.meta).toBeUndefined();
  await store.close();
});
