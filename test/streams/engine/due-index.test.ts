/** Nothing that is due is missed, and nothing is read from the store before something can be due. */
import { expect, test } from 'vitest';
import { DueIndex } from '#streams/engine/due-index.ts';
import { dueKey } from '#streams/engine/keys.ts';
import type { Write } from '#streams/engine/ports.ts';
import { QueuePages } from '#streams/engine/queue-pages.ts';
import { memoryStores } from '#streams/memory/store.ts';

const META = { positions: { history: 0, words: 0 }, batch: 0, time: 0, inputs: {}, version: 1, partitions: 1 };
const at = (time: number) => dueKey(time, 'i', `acme/c_${time}`);

async function indexOf(...times: readonly number[]) {
  const store = await memoryStores().open(0);
  let scans = 0;
  const scan: typeof store.scan = (...args) => {
    scans++;
    return store.scan(...args);
  };
  const counted = { ...store, scan };
  const index = new DueIndex(counted);
  const write = (wanted: readonly number[], gone: readonly number[] = []) => {
    const writes = [
      ...wanted.map((time) => ({ table: 'due' as const, key: at(time), value: new Uint8Array(0) })),
      ...gone.map((time) => ({ table: 'due' as const, key: at(time), value: undefined })),
    ];
    store.write(writes, META);
    index.written(writes);
  };
  store.write(
    times.map((time) => ({ table: 'due' as const, key: at(time), value: new Uint8Array(0) })),
    META,
  );
  return { index, write, scans: () => scans };
}

test('what was stored before it was made is found', async () => {
  const { index } = await indexOf(50, 70);
  expect(index.next(40)).toBe(50);
  expect(index.until(60, 10)).toEqual([{ tenant: 'acme', item: 'c_50' }]);
});

test('an earlier one that comes later is found, and one that has gone is not waited for again', async () => {
  const { index, write } = await indexOf(50);
  expect(index.next(10)).toBe(50);
  write([20]);
  expect(index.next(10)).toBe(20);
  expect(index.until(20, 10)).toEqual([{ tenant: 'acme', item: 'c_20' }]);
  write([], [20]);
  expect(index.until(30, 10)).toEqual([]);
  expect(index.next(30)).toBe(50);
});

test('what was handed out is not handed out again before the next write, which may bring it back', async () => {
  const { index, write } = await indexOf(50, 51, 70);
  expect(index.until(60, 1)).toEqual([{ tenant: 'acme', item: 'c_50' }]);
  expect(index.until(60, 10)).toEqual([{ tenant: 'acme', item: 'c_51' }]);
  expect(index.until(60, 10)).toEqual([]);
  expect(index.next(60)).toBe(70);
  write([], [50]);
  expect(index.until(60, 10)).toEqual([{ tenant: 'acme', item: 'c_51' }]);
});

test('before anything can be due the store is not asked', async () => {
  const { index, write, scans } = await indexOf(50);
  index.next(10);
  const before = scans();
  for (let now = 10; now < 50; now++) {
    expect(index.until(now, 10)).toEqual([]);
    write([now + 60]);
    expect(index.next(now)).toBe(50);
  }
  expect(scans()).toBe(before);
});

test('before anything can be due the store is asked once, also by a task that is never idle and asks for no time to wake', async () => {
  const { index, write, scans } = await indexOf(50, 60);
  for (let now = 10; now < 50; now++) expect(index.until(now, 10)).toEqual([]);
  expect(scans()).toBe(1);
  expect(index.until(50, 10)).toEqual([{ tenant: 'acme', item: 'c_50' }]);
  write([], [50]);
  const before = scans();
  for (let now = 50; now < 60; now++) expect(index.until(now, 10)).toEqual([]);
  expect(scans()).toBe(before + 1);
});

test('with nothing due, nothing is waited for', async () => {
  const { index } = await indexOf();
  expect(index.next(10)).toBeUndefined();
  expect(index.until(10, 10)).toEqual([]);
});

test('of what waits in a queue exactly those are due whose own time has come, and the next is waited for', async () => {
  const store = await memoryStores().open(0);
  const [pages, writes]: [QueuePages, Write[]] = [new QueuePages(store), []];
  for (const [order, due] of [90, 50, undefined, 70].entries()) pages.set('acme' as never, order, { order, due, item: `c_${order}` });
  pages.set('acme' as never, 16, { order: 16, due: 60, item: 'c_16' });
  pages.writes(writes, false);
  store.write(writes, META);
  const index = new DueIndex(store);
  const rows = (...items: readonly string[]) => items.map((item) => ({ tenant: 'acme', item }));
  expect(index.next(10)).toBe(50);
  expect(index.until(49, 10)).toEqual([]);
  expect(index.until(65, 10)).toEqual(rows('c_1', 'c_16'));
  // The first page has more: a write brings its next key.
  expect([69, 70].map((now) => index.isPressing(now))).toEqual([false, true]);
  const after: Write[] = [];
  pages.set('acme' as never, 1, undefined);
  pages.writes(after, false);
  store.write(after, META);
  index.written(after);
  expect(index.isPressing(70)).toBe(false);
  expect(index.next(55)).toBe(60);
  expect(index.until(65, 10)).toEqual(rows('c_16'));
});

test('of many that are due at once a page of a queue more than was asked for is handed out, and the others the next time', async () => {
  const store = await memoryStores().open(0);
  const [pages, writes]: [QueuePages, Write[]] = [new QueuePages(store), []];
  for (let order = 0; order < 40; order++) pages.set('acme' as never, order, { order, due: 50, item: `c_${order}` });
  pages.writes(writes, false);
  store.write(writes, META);
  const index = new DueIndex(store);
  expect([1, 2, 3, 4].map(() => index.until(60, 10).length)).toEqual([16, 16, 8, 0]);
});
