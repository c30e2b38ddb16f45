/** A process that writes batches until it is killed: each moves ten rows and one counter together. Prints each number after its write. */
import { writeSync } from 'node:fs';
import type { Write } from '#streams/engine/ports.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';

const store = await rocksStores(process.argv[2] as string).open(0);
for (let batch = (store.meta?.batch ?? 0) + 1; ; batch++) {
  const rows = Array.from({ length: 10 }, (_, at): Write => ({ table: 'mark', key: `t/${batch}/${at}`, value: new Uint8Array(200).fill(batch % 256) }));
  const counter: Write = { table: 'account', key: 't', value: Buffer.from(String(batch)) };
  const meta = { positions: { history: batch * 11, words: 0 }, batch, time: batch, inputs: {}, version: 1, partitions: 8 };
  store.write([...rows, counter], meta);
  writeSync(1, `${batch}\n`);
}
