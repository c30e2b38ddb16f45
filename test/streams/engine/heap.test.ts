import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Heap } from '#streams/engine/heap.ts';

const step = fc.record({ value: fc.nat(20), rank: fc.option(fc.nat(6), { nil: undefined }) });

test('whatever comes, moves and goes, the first is the least, and of equals the one that took its rank first', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const heap = new Heap<number>();
      let sorted: { value: number; rank: number; order: number }[] = [];
      for (const [order, { value, rank }] of steps.entries()) {
        const before = sorted.find((each) => each.value === value);
        if (rank === undefined) expect(heap.delete(value)).toBe(before !== undefined);
        else heap.set(value, rank);
        if (before?.rank === rank) continue;
        sorted = sorted.filter((each) => each !== before);
        if (rank !== undefined) sorted.push({ value, rank, order });
        sorted.sort((a, b) => a.rank - b.rank || a.order - b.order);
        expect(heap.peek()).toBe(sorted[0]?.value);
        expect(heap.size).toBe(sorted.length);
        expect(sorted.map((each) => heap.ahead(each.value))).toEqual(sorted.map((_, at) => at));
      }
    }),
  );
});
