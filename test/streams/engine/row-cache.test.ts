import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RowCache } from '#streams/engine/row-cache.ts';

test('what it knows is what was set last, and it never knows more than two generations', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(12), fc.option(fc.nat(3))), { maxLength: 200 }), (steps) => {
      const cache = new RowCache(4);
      const truth = new Map<string, number | null>();
      for (const [name, row] of steps) {
        const known = cache.get(`${name}`);
        if (known !== undefined) expect(known).toBe(truth.get(`${name}`));
        cache.set(`${name}`, row ?? undefined);
        truth.set(`${name}`, row);
        expect(cache.get(`${name}`)).toBe(row);
        expect(cache.size).toBeLessThanOrEqual(8);
      }
    }),
  );
});

test('what is asked for again and again stays, whatever passes by', () => {
  const cache = new RowCache(4);
  cache.set('account', 1);
  for (let at = 0; at < 100; at++) {
    cache.set(`${at}`, at);
    expect(cache.get('account')).toBe(1);
  }
});
