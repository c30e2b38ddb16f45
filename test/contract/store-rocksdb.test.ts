import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { storeContract } from './store.contract.ts';

const root = mkdtempSync(join(tmpdir(), 'evenkeel-store-'));
let made = 0;
const directory = () => join(root, String(made++));
afterAll(() => rmSync(root, { recursive: true, force: true }));

storeContract(() => rocksStores(directory()));

const META = { positions: { history: 10, words: 1 }, batch: 1, time: 5, inputs: {}, version: 1, partitions: 8 };

/** The newest write-ahead log. */
function logFile(at: string): string {
  const folder = join(at, 'partition-0');
  const logs = readdirSync(folder).filter((name) => /^\d+\.log$/.test(name));
  return join(folder, logs.sort().at(-1) as string);
}

/** Writes in a process of its own until it has said `atLeast` batches and `meanwhile` is done, then kills it; the last number it said. */
async function writeAndKill(at: string, atLeast: number, meanwhile: () => Promise<unknown> = () => Promise.resolve()): Promise<number> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./store-writer.ts', import.meta.url)), at], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const last = () => Number(said.slice(0, said.lastIndexOf('\n')).split('\n').at(-1) || 0);
  while (last() < atLeast && child.exitCode === null) await sleep(5);
  await meanwhile();
  child.kill('SIGKILL');
  await exited;
  return last();
}

describe('a store on RocksDB', () => {
  test.each(['CURRENT', 'MANIFEST'])('whose %s is damaged says so, so that it is thrown away and built from its log', async (file) => {
    const at = directory();
    const stores = rocksStores(at);
    const store = await stores.open(0);
    store.write([{ table: 'account', key: 'acme', value: Buffer.from('x') }], META);
    await store.close();
    const folder = join(at, 'partition-0');
    for (const name of readdirSync(folder).filter((each) => each.startsWith(file))) writeFileSync(join(folder, name), 'nonsense');
    await expect(stores.open(0)).rejects.toMatchObject({ code: 'store_ahead', cause: expect.any(Error) });
    await stores.destroy(0);
    const again = await stores.open(0);
    expect(again.meta).toBeUndefined();
    await again.close();
  });

  test('whose meta is not readable says so and lets go of its lock', async () => {
    const at = directory();
    const stores = rocksStores(at);
    const store = await stores.open(0);
    store.write([], { ...META, batch: Number.NaN });
    await store.close();
    await expect(stores.open(0)).rejects.toMatchObject({ code: 'store_ahead' });
    await expect(stores.open(0)).rejects.toThrow(/positions are not readable/);
  });

  test('killed while it writes holds exactly the first batches, none in part, and loses none that was written', async () => {
    const at = directory();
    for (const atLeast of [50, 400, 3_000]) {
      const said = await writeAndKill(at, atLeast);
      const store = await rocksStores(at).open(0);
      const batch = store.meta?.batch ?? 0;
      expect(batch).toBeGreaterThanOrEqual(said);
      expect(Buffer.from(store.get('account', 't') ?? []).toString()).toBe(String(batch));
      expect(store.meta?.positions.history).toBe(batch * 11);
      expect(store.scan('mark', '', batch * 10 + 100).length).toBe(batch * 10);
      await store.close();
    }
  }, 30_000);

  test('whose disk takes no more reflects what was written, is closed all the same, and opened again with that', () => {
    const script = fileURLToPath(new URL('./store-limited.ts', import.meta.url));
    // 256 KiB a file.
    const said = execFileSync('bash', ['-c', `ulimit -S -f 256; exec "$0" "$@"`, process.execPath, script, directory()], { encoding: 'utf8' });
    const { written, refused, held, found } = JSON.parse(said) as { written: number; refused: string; held: number; found: number };
    expect(refused).toMatch(/File too large/);
    expect(written).toBeGreaterThan(10);
    expect([held, found]).toEqual([written, written]);
  }, 30_000);

  test('that was closed says so to whoever still asks it, and the process lives on', async () => {
    const store = await rocksStores(directory()).open(0);
    await store.close();
    const asked = [() => store.get('queue', ''), () => store.scan('queue', '', 1), () => store.heads('queue', '', 1), () => store.entries()];
    for (const ask of asked) expect(ask).toThrow('the store is closed');
  });

  test('that is open already in this process says so, and nobody throws it away', async () => {
    const at = directory();
    const [stores, others] = [rocksStores(at), rocksStores(at)];
    const store = await stores.open(0);
    await expect(others.open(0)).rejects.toMatchObject({ code: 'unavailable', message: expect.stringMatching(/lock hold/) });
    await store.close();
    await (await others.open(0)).close();
  });

  test('that another process has open says so, and nobody throws it away', async () => {
    const at = directory();
    await writeAndKill(at, 10, () => expect(rocksStores(at).open(0)).rejects.toMatchObject({ code: 'unavailable', message: expect.stringMatching(/lock/) }));
    const store = await rocksStores(at).open(0);
    expect(store.meta?.batch).toBeGreaterThanOrEqual(10);
    await store.close();
  });

  test('whose write-ahead log lost its end holds exactly the batches before it', async () => {
    const at = directory();
    await writeAndKill(at, 300);
    const log = logFile(at);
    truncateSync(log, Math.floor(statSync(log).size / 2));
    const store = await rocksStores(at).open(0);
    const batch = store.meta?.batch ?? 0;
    expect(store.scan('mark', '', batch * 10 + 100).length).toBe(batch * 10);
    expect(Buffer.from(store.get('account', 't') ?? Buffer.from('0')).toString()).toBe(String(batch));
    await store.close();
  }, 30_000);
});
