/** A process whose files may not grow: writes batches until RocksDB refuses one, closes the store and opens it again. Prints what it found, as JSON. */
import { rocksStores } from '#streams/rocksdb/store.ts';

const stores = rocksStores(process.argv[2] as string);
const store = await stores.open(0);
let [batch, refused] = [0, ''];
while (refused === '') {
  const meta = { positions: { history: batch + 1, words: 0 }, batch: batch + 1, time: 1, inputs: {}, version: 1, partitions: 8 };
  try {
    store.write([{ table: 'account', key: `t${batch % 7}`, value: new Uint8Array(5_000).fill(batch % 256) }], meta);
    batch++;
  } catch (error) {
    refused = (error as Error).message;
  }
}
const held = store.meta?.batch;
await store.close();
const again = await stores.open(0);
console.log(JSON.stringify({ written: batch, refused, held, found: again.meta?.batch }));
await again.close();
