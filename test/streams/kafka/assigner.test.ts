import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assign } from '#streams/kafka/assigner.ts';

const claims = fc.array(fc.array(fc.integer({ min: 0, max: 19 }), { maxLength: 24 }), { minLength: 1, maxLength: 6 });
const members = (owned: readonly (readonly number[])[]) => new Map(owned.map((of, at) => [`m${at}`, of]));

test('every partition has one owner, and none has two more than another, whatever the members claim', () => {
  fc.assert(
    fc.property(claims, fc.integer({ min: 1, max: 16 }), (owned, partitions) => {
      const next = assign(members(owned), partitions);
      const all = [...next.values()].flat().sort((a, b) => a - b);
      expect(all).toEqual(Array.from({ length: partitions }, (_, at) => at));
      const sizes = [...next.values()].map((of) => of.length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }),
  );
});

test('an assignment that is balanced stays as it is', () => {
  fc.assert(
    fc.property(claims, fc.integer({ min: 1, max: 16 }), (owned, partitions) => {
      const next = assign(members(owned), partitions);
      expect(assign(next, partitions)).toEqual(next);
    }),
  );
});

test('a member that joins takes only its share; one that leaves gives only its own', () => {
  const [a, b] = [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
  ];
  const joined = assign(
    new Map([
      ['a', a],
      ['b', b],
      ['c', []],
    ]),
    8,
  );
  expect(a.filter((each) => joined.get('a')?.includes(each)).length).toBe(joined.get('a')?.length);
  expect(b.filter((each) => joined.get('b')?.includes(each)).length).toBe(joined.get('b')?.length);
  const left = assign(new Map([['a', a]]), 8);
  expect(left.get('a')).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});
