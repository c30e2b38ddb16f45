import { expect, test } from 'vitest';
import { int, list, nullable, record, string } from '#schemas/avro.ts';
import { copier } from '#schemas/copier.ts';

const SHAPE = record('shape', { name: string, count: int, of: list(int), 'a "quoted" one': nullable(string) });

test('a copy has the fields that are named from the change and all others from the original, which stays as it was', () => {
  const original = Object.freeze({ name: 'a', count: 1, of: [1, 2], 'a "quoted" one': null });
  const changed = copier(SHAPE, 'count', 'of')(original, { count: 2, of: [3] });
  expect(changed).toEqual({ ...original, count: 2, of: [3] });
  expect(original).toEqual({ name: 'a', count: 1, of: [1, 2], 'a "quoted" one': null });
});

test('its fields stand in the order of the shape, as those of a record that was read', () => {
  const changed = copier(SHAPE, 'count')({ 'a "quoted" one': 'x', of: [], count: 1, name: 'a' }, { count: 2 });
  expect(Object.keys(changed)).toEqual(['name', 'count', 'of', 'a "quoted" one']);
});
