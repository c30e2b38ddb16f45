/** What the engine relies on of any store, run on memory and on RocksDB. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Meta, Store, Stores, Write } from '#streams/engine/ports.ts';

const meta = (batch: number): Meta => ({
  positions: { history: batch * 10, words: batch },
  batch,
  time: 1_000 + batch,
  inputs: { 'support.requests': batch },
  version: 1,
  partitions: 8,
});
const put = (table: Write['table'], key: string, value = key): Write => ({ table, key, value: Buffer.from(value) });
const keys = (found: ReturnType<Store['scan']>) => found.map(([key]) => key);

export function storeContract(make: () => Stores): void {
  let stores: Stores;
  let store: Store;
  beforeEach(async () => {
    stores = make();
    store = await stores.open(3);
  });
  afterEach(() => store.close());

  describe('store contract', () => {
    test('a new store has no meta and no rows', () => {
      expect(store.meta).toBeUndefined();
      expect(store.get('account', 'acme')).toBeUndefined();
      expect(store.scan('queue', '', 10)).toEqual([]);
    });

    test('a batch puts, deletes and moves the meta together', () => {
      store.write([put('account', 'acme', 'one'), put('mark', 'acme/r_1')], meta(1));
      store.write([put('account', 'acme', 'two'), { table: 'mark', key: 'acme/r_1', value: undefined }], meta(2));
      expect(Buffer.from(store.get('account', 'acme') ?? []).toString()).toBe('two');
      expect(store.get('mark', 'acme/r_1')).toBeUndefined();
      expect(store.meta).toEqual(meta(2));
    });

    test('many are read at once, in the order asked for, absent ones too', () => {
      store.write([put('mark', 'acme/r_1', 'one'), put('mark', 'acme/r_2', 'two'), put('item', 'acme/r_3', 'another table')], meta(1));
      const found = store.getMany('mark', ['acme/r_2', 'acme/r_3', 'acme/r_1']).map((bytes) => bytes && Buffer.from(bytes).toString());
      expect(found).toEqual(['two', undefined, 'one']);
      expect(store.getMany('mark', [])).toEqual([]);
    });

    test('a scan has byte order, its bounds, its limit, and stays in its table', () => {
      const queue = ['a/2', 'a/1', 'b/1', 'a-b/1', 'a/é', 'a/\u{1f600}', 'a/\uffee'];
      store.write([...queue.map((key) => put('queue', key)), put('running', 'a/1'), put('mark', 'z')], meta(1));
      const byBytes = [...queue].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
      expect(keys(store.scan('queue', '', 100))).toEqual(byBytes);
      expect(keys(store.scan('queue', 'a/', 2, 'a0'))).toEqual(['a/1', 'a/2']);
      expect(keys(store.scan('queue', 'a/1\0', 1))).toEqual(['a/2']);
      expect(keys(store.scan('queue', 'b/1', 9))).toEqual(['b/1']);
    });

    test('heads are each tenant’s first entries, whatever stands between the tenants', () => {
      const queue = ['a/2', 'a/1', 'a-b/7', 'a-b/9', 'b/3', 'b0/1'];
      store.write([...queue.map((key) => put('queue', key)), put('running', 'c/1')], meta(1));
      const value = Buffer.from('its value');
      store.write([{ table: 'queue', key: 'b/3', value }], meta(2));
      expect(keys(store.heads('queue', '', 100))).toEqual(['a-b/7', 'a/1', 'b/3', 'b0/1']);
      expect(keys(store.heads('queue', '', 2))).toEqual(['a-b/7', 'a/1']);
      expect(keys(store.heads('queue', 'a0', 2))).toEqual(['b/3', 'b0/1']);
      expect(keys(store.heads('queue', 'a/2', 1))).toEqual(['a/2']);
      expect(store.heads('queue', 'b/', 1).map(([, found]) => Buffer.from(found))).toEqual([value]);
      expect(store.heads('words', '', 5)).toEqual([]);
    });

    test('values are any bytes, empty ones too', () => {
      const value = Buffer.from([0, 255, 10, 0]);
      store.write(
        [
          { table: 'words', key: 'k', value },
          { table: 'due', key: 'k', value: new Uint8Array(0) },
        ],
        meta(1),
      );
      expect(Buffer.compare(store.get('words', 'k') ?? new Uint8Array(1), value)).toBe(0);
      expect(store.get('due', 'k')?.byteLength).toBe(0);
    });

    test('rows that stand in a larger buffer are put as they are, whatever their length, and the buffer is free again', async () => {
      const rows = [
        ['item', 'acme/é', 'one'],
        ['item', `acme/${'long'.repeat(600)}`, ''],
        ['mark', 'acme/1', 'x'.repeat(5_000)],
      ] as const;
      const filling = meta(1);
      for (let twice = 0; twice < 2; twice++) {
        store.fill((take) => {
          const bytes = Buffer.alloc(10_000);
          for (const [table, key, value] of rows) {
            const length = bytes.write(key, 7);
            take(table, bytes, 7, 7 + length, 7 + length + bytes.write(value, 7 + length));
            bytes.fill(0);
          }
        }, filling);
        // The meta goes with the rows once; the same again is nothing new.
        store.write([{ table: 'mark', key: 'acme/2', value: undefined }], filling);
      }
      await store.close();
      store = await stores.open(3);
      const found = [...store.entries()].map(([table, key, value]) => [table, key, Buffer.from(value).toString()]);
      expect(found.sort()).toEqual(rows.map((row) => [...row]).sort());
      expect(store.meta).toEqual(filling);
    });

    test('of a filling that throws nothing is written', () => {
      const broken = () =>
        store.fill((take) => {
          take('mark', Buffer.from('acme/1 value'), 0, 6, 12);
          throw new Error('the row after it is not readable');
        }, meta(1));
      expect(broken).toThrow('not readable');
      expect([store.meta, store.get('mark', 'acme/1')]).toEqual([undefined, undefined]);
    });

    test('the meta keeps what is known of snapshots, and is without where nothing is', () => {
      store.write([], { ...meta(1), snapshot: { history: 7, rows: 3 } });
      expect(store.meta?.snapshot).toEqual({ history: 7, rows: 3 });
      store.write([], { ...meta(2), snapshot: undefined });
      expect(store.meta?.snapshot).toBeUndefined();
    });

    test('what was written is there after closing and opening again', async () => {
      store.write([put('item', 'acme/c_1')], meta(7));
      await store.close();
      store = await stores.open(3);
      expect(store.meta).toEqual(meta(7));
      expect(store.get('item', 'acme/c_1')).toBeDefined();
    });

    test('partitions do not share rows, and a destroyed one is empty', async () => {
      const other = await stores.open(4);
      other.write([put('account', 'acme')], meta(1));
      expect(store.get('account', 'acme')).toBeUndefined();
      await other.close();
      await stores.destroy(4);
      const again = await stores.open(4);
      expect(again.meta).toBeUndefined();
      expect(again.get('account', 'acme')).toBeUndefined();
      await again.close();
    });

    test('scans agree with a sorted list through thousands of puts and deletes', () => {
      const model = new Set<string>();
      let seed = 42;
      const random = (below: number) => {
        seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
        return seed % below;
      };
      for (let batch = 1; batch <= 60; batch++) {
        const writes = Array.from({ length: 1 + random(batch % 7 === 0 ? 400 : 12) }, (): Write => {
          const key = `k/${String(random(3_000)).padStart(4, '0')}`;
          const gone = random(3) === 0;
          if (gone) model.delete(key);
          else model.add(key);
          return gone ? { table: 'due', key, value: undefined } : put('due', key);
        });
        store.write(writes, meta(batch));
        const from = `k/${String(random(3_000)).padStart(4, '0')}`;
        const expected = [...model].sort().filter((key) => key >= from);
        expect(keys(store.scan('due', from, 25))).toEqual(expected.slice(0, 25));
        expect(keys(store.scan('due', from, 10_000))).toEqual(expected);
      }
    });

    test('a scan of many and large rows gives all of them at once', () => {
      const value = new Uint8Array(2_048).fill(7);
      store.write(
        Array.from({ length: 5_000 }, (_, at) => ({ table: 'item', key: `t/${at + 10_000}`, value })),
        meta(1),
      );
      const found = store.scan('item', '', 5_000);
      expect(found.length).toBe(5_000);
      expect(found.every(([, bytes]) => bytes.byteLength === 2_048)).toBe(true);
    });

    test('a key past the prefix of another table is not seen, nor is a bound of nothing', () => {
      store.write([put('due', 'x'), put('item', 'x'), put('mark', 'x')], meta(1));
      expect(keys(store.scan('item', '', 10))).toEqual(['x']);
      expect(store.scan('item', 'x', 10, 'x')).toEqual([]);
      expect(store.scan('item', '', 0)).toEqual([]);
    });

    test('entries are one consistent view, all tables in order', () => {
      const many = Array.from({ length: 2_500 }, (_, at) => put('mark', `acme/${String(at).padStart(5, '0')}`));
      store.write([...many, put('account', 'acme'), put('queue', 'acme/1')], meta(1));
      const entries = store.entries();
      store.write([put('mark', 'acme/aaa')], meta(2));
      const first = entries.next().value;
      store.write([put('mark', 'acme/zzz'), { table: 'mark', key: 'acme/00001', value: undefined }], meta(3));
      const rest = [...entries];
      expect(first?.slice(0, 2)).toEqual(['account', 'acme']);
      expect(rest.length).toBe(2_501);
      expect(rest.at(-1)?.slice(0, 2)).toEqual(['queue', 'acme/1']);
    });

    test.each([0, 1, 1_200, 3_000])('a view that was let go of after %i rows gives no more, and the store closes and opens again', async (taken) => {
      store.write(
        Array.from({ length: 2_500 }, (_, at) => put('mark', `acme/${at}`)),
        meta(1),
      );
      const entries = store.entries();
      for (let at = 0; at < taken; at++) entries.next();
      entries.return?.();
      expect(entries.next().done).toBe(true);
      await store.close();
      store = await stores.open(3);
      expect([...store.entries()].length).toBe(2_500);
    });

    test('a view outlives thousands of writes to what it shows', () => {
      const rows = (of: string) => Array.from({ length: 300 }, (_, at) => put('item', `acme/${at}`, `${of} ${at}`));
      store.write(rows('before'), meta(1));
      const entries = store.entries();
      for (let batch = 2; batch < 60; batch++) store.write(rows(`batch ${batch}`), meta(batch));
      const seen = [...entries].map(([, , value]) => Buffer.from(value).toString());
      expect(seen.length).toBe(300);
      expect(seen.every((value) => value.startsWith('before'))).toBe(true);
    });
  });
}
