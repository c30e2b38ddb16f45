import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tenantId } from '#schemas/ids.ts';
import { RowCache } from '#streams/engine/row-cache.ts';

const acme = tenantId('acme');

test('what it knows is what was set last, and it never knows more than two generations', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(12), fc.option(fc.nat(3))), { maxLength: 200 }), (steps) => {
      const cache = new RowCache<number | null>(4);
      const truth = new Map<string, number | null>();
      for (const [name, row] of steps) {
        const known = cache.get(acme, `${name}`);
        if (known !== undefined) expect(known).toBe(truth.get(`${name}`));
        cache.set(acme, `${name}`, row);
        truth.set(`${name}`, row);
        expect(cache.get(acme, `${name}`)).toBe(row);
        expect(cache.size).toBeLessThanOrEqual(8);
      }
    }),
  );
});

test('what is asked for again and again stays, whatever passes by', () => {
  const cache = new RowCache<number>(4);
  cache.set(acme, 'account', 1);
  for (let at = 0; at < 100; at++) {
    cache.set(acme, `${at}`, at);
    expect(cache.get(acme, 'account')).toBe(1);
  }
});

test('what is pinned stays, and goes its way when it no longer is', () => {
  const pinned = new Set(['a', 'b']);
  const cache = new RowCache<string>(4, (value) => pinned.has(value));
  for (const name of pinned) cache.set(acme, name, name);
  for (let at = 0; at < 100; at++) cache.set(acme, `${at}`, `${at}`);
  for (const name of pinned) expect(cache.get(acme, name)).toBe(name);
  pinned.clear();
  for (let at = 0; at < 100; at++) cache.set(acme, `${at}`, `${at}`);
  expect(cache.get(acme, 'a')).toBeUndefined();
  expect(cache.size).toBeLessThanOrEqual(8);
});
