import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { storeContract } from './store.contract.ts';

const root = mkdtempSync(join(tmpdir(), 'evenkeel-store-'));
let made = 0;
const directory = () => join(root, String(made++));
afterAll(() => rmSync(root, { recursive: true, force: true }));

storeContract(() => rocksStores(directory()));

test('a store that cannot be opened says so, so that it is thrown away and built from its log', async () => {
  const at = directory();
  const stores = rocksStores(at);
  await (await stores.open(0)).close();
  writeFileSync(join(at, 'partition-0', 'CURRENT'), 'nonsense');
  await expect(stores.open(0)).rejects.toMatchObject({ code: 'store_ahead' });
  await stores.destroy(0);
  const store = await stores.open(0);
  expect(store.meta).toBeUndefined();
  await store.close();
});
