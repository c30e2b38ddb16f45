import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tenantId } from '#schemas/ids.ts';
import { RowMap } from '#streams/engine/row-map.ts';

const TENANTS = ['acme', 'globex', 'initech'].map((name) => tenantId(name));

test('it holds what a map by both names holds, and no more', () => {
  const step = fc.record({ tenant: fc.constantFrom(...TENANTS), id: fc.constantFrom('a', 'b', 'c'), value: fc.option(fc.nat(9)) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const map = new RowMap<number>();
      const truth = new Map<string, number>();
      for (const { tenant, id, value } of steps) {
        if (value === null) map.delete(tenant, id);
        else map.set(tenant, id, value);
        if (value === null) truth.delete(`${tenant}/${id}`);
        else truth.set(`${tenant}/${id}`, value);
        expect(map.get(tenant, id)).toBe(truth.get(`${tenant}/${id}`));
        expect(map.size).toBe(truth.size);
        expect([...map.values()].sort()).toEqual([...truth.values()].sort());
      }
      const seen: string[] = [];
      map.forEach((value, tenant, id) => {
        seen.push(`${tenant}/${id} ${value}`);
      });
      expect(seen.sort()).toEqual([...truth].map(([key, value]) => `${key} ${value}`).sort());
    }),
  );
});
