import { expect, test } from 'vitest';
import { slices } from '#streams/kafka/reader.ts';

const bytes = new Uint8Array(0);
const rec = (offset: number) => ({ offset, key: undefined, value: null, timestamp: 0, headers: {}, span: { bytes, from: 0, to: 100_000 } });

test('who stops after any slice of an answer goes on with the record after it', () => {
  const offsets = [3, 4, 6, 7, 8, 11, 12, 20];
  const all = [...slices(offsets.map(rec), 25, 20)];
  expect(all.length).toBe(3);
  const read: number[] = [];
  for (const { records, next, end } of all) {
    read.push(...records.map(({ offset }) => offset));
    expect([read, end]).toEqual([offsets.filter((offset) => offset < next), 20]);
  }
  expect(all.at(-1)?.next).toBe(20);
});

test('the end is told, also where nothing stands before it; of nothing but markers within nothing is', () => {
  expect([...slices([], 20, 20)]).toEqual([{ records: [], next: 20, end: 20 }]);
  expect([...slices([], 19, 20)]).toEqual([]);
});
