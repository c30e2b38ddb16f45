import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tenantId } from '#schemas/ids.ts';
import { RowCache } from '#streams/engine/row-cache.ts';

const acme = tenantId('acme');

test('what it knows is what was set last, and it never knows more than two generations', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(12), fc.option(fc.nat(3))), { maxLength: 200 }), (steps) => {
      const cache = new RowCache(4);
      const truth = new Map<string, number | null>();
      for (const [name, row] of steps) {
        const known = cache.get(acme, `${name}`);
        if (known !== undefined) expect(known).toBe(truth.get(`${name}`));
        cache.set(acme, `${name}`, row ?? undefined);
        truth.set(`${name}`, row);
        expect(cache.get(acme, `${name}`)).toBe(row);
        expect(cache.size).toBeLessThanOrEqual(8);
      }
    }),
  );
});

test('what is asked for again and again stays, whatever passes by', () => {
  const cache = new RowCache(4);
  cache.set(acme, 'account', 1);
  for (let at = 0; at < 100; at++) {
    cache.set(acme, `${at}`, at);
    expect(cache.get(acme, 'account')).toBe(1);
  }
});
