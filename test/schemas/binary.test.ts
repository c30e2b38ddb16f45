import avsc from 'avsc';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AvroSchema, boolean, int, list, long, nullable, oneOf, record, string, withDefault } from '#schemas/avro.ts';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { decoder } from '#schemas/decoder.ts';
import { encoder } from '#schemas/encoder.ts';
import { EVENTS } from '#schemas/events.ts';
import { SHAPES, type ShapeName } from '#schemas/records.ts';

/** Beyond it avsc writes the sign of a number wrong. */
const LARGEST = 2 ** 52 - 1;
const numbers = fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -200, max: 200 })).map((n) => Math.max(-LARGEST, Math.min(LARGEST, n)));
const PRIMITIVES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  string: fc.oneof(fc.string({ unit: 'grapheme', maxLength: 90 }), fc.constantFrom('acme', 'Ã©', 'é', '')),
  long: numbers,
  int: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  boolean: fc.boolean(),
  bytes: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  null: fc.constant(null),
};

/** Any value of a schema. */
function anyOf(schema: AvroSchema): fc.Arbitrary<unknown> {
  if (typeof schema === 'string') return PRIMITIVES[schema] as fc.Arbitrary<unknown>;
  if (Array.isArray(schema)) return fc.oneof(...(schema as readonly AvroSchema[]).map(anyOf));
  const one = schema as Exclude<AvroSchema, string | readonly AvroSchema[]>;
  if (one.type === 'array') return fc.array(anyOf(one.items), { maxLength: 3 });
  if (one.type === 'enum') return fc.constantFrom(...one.symbols);
  return fc.record(Object.fromEntries(one.fields.map(({ name, type }) => [name, anyOf(type)])));
}

describe('bytes of every shape', () => {
  test.each(Object.keys(SHAPES) as ShapeName[])('%s reads as avsc wrote it, and is written as avsc writes it', (name) => {
    const type = avsc.Type.forSchema(SHAPES[name].avro as avsc.Schema);
    const read = decoder<object>(SHAPES[name].avro);
    const write = encoder<unknown>(SHAPES[name].avro);
    const around = Buffer.from('..');
    fc.assert(
      fc.property(anyOf(SHAPES[name].avro), (value) => {
        const bytes = type.toBuffer(value);
        expect(read(Buffer.concat([around, bytes, around]), 2, 2 + bytes.length)).toEqual(value);
        expect(write(value)).toEqual(bytes);
        expect(write(value, 5).subarray(5)).toEqual(bytes);
      }),
      { numRuns: 40 },
    );
  });
});

test.each(Object.keys(EVENTS) as (keyof typeof EVENTS)[])('whose a %s is stands in its first field, but for a batch', (name) => {
  const codec = createCodec(localSchemas());
  fc.assert(
    fc.property(anyOf(EVENTS[name].avro), (value) => {
      const { tenant } = value as { tenant?: string };
      expect(codec.ownerOf(codec.encode(name, value as never))).toEqual(tenant === undefined ? undefined : { name, tenant });
    }),
    { numRuns: 20 },
  );
});

describe('what is not such a value throws', () => {
  const read = decoder(record('r', { name: string, of: list(nullable(long)) }).avro);
  test('any bytes end as a value or as a RangeError, at once', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          read(bytes, 0, bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test('a value may not reach into what stands behind it, nor leave a rest', () => {
    const bytes = Buffer.from([2, 97, 0, 0]);
    expect(read(bytes, 0, 3)).toEqual({ name: 'a', of: [] });
    expect(() => read(bytes, 0, 2)).toThrow('ends early');
    expect(() => read(bytes, 0, 4)).toThrow('after its end');
  });
});

describe('what is not of the shape is not written', () => {
  const shape = record('r', { name: string, count: int, of: list(nullable(long)), sure: boolean, kind: oneOf('k', ['a', 'b']), later: withDefault(long, 7) });
  const write = encoder<unknown>(shape.avro);
  const good = { name: 'é'.repeat(50), count: -5, of: [null, 2 ** 40], sure: true, kind: 'b', later: 7 };
  test('a field left out has its default, as avsc has it', () => {
    const { later: _, ...rest } = good;
    expect(write(rest)).toEqual(avsc.Type.forSchema(shape.avro as avsc.Schema).toBuffer(good));
  });

  test.each([
    ['name', undefined],
    ['name', 3],
    ['count', 1.5],
    ['count', 2 ** 31],
    ['count', Number.NaN],
    ['of', {}],
    ['of', [2 ** 53]],
    ['of', [undefined]],
    ['sure', 1],
    ['kind', 'c'],
    ['later', null],
  ])('%s: %j', (field, value) => {
    expect(() => write({ ...good, [field]: value })).toThrow(RangeError);
    expect(decoder(shape.avro)(write(good), 0, write(good).length)).toEqual(good);
  });

  test('a value larger than any before finds room', () => {
    const large = { ...good, name: 'x'.repeat(300_000), of: Array.from({ length: 50_000 }, (_, n) => n * 1e9) };
    expect(decoder(shape.avro)(write(large), 0, write(large).length)).toEqual(large);
  });
});

test('a record of an older version of its shape is resolved against today’s', () => {
  const today = SHAPES.cost_recorded.avro as Extract<AvroSchema, { readonly type: 'record' }>;
  const before = { ...today, fields: today.fields.filter(({ name }) => name !== 'priceVersion') };
  const codec = createCodec([{ id: 901, name: 'cost_recorded', schema: before }]);
  const value = Object.fromEntries(before.fields.map(({ name, type }) => [name, type === 'string' ? 'x' : type === 'boolean' ? true : 5]));
  const bytes = Buffer.concat([Buffer.from([0, 0, 0, 901 >> 8, 901 & 255]), avsc.Type.forSchema(before as avsc.Schema).toBuffer(value)]);
  expect(codec.decodeTagged(bytes, 0, bytes.length)).toEqual({ type: 'cost_recorded', ...value, priceVersion: 0 });
});

test('one string is never taken for another, however many are kept', () => {
  const shape = record('r', { of: string });
  const [read, write] = [decoder<{ of: string }>(shape.avro), encoder<{ of: string }>(shape.avro)];
  // Prefixes of one another, and such that differ in one place alone: at the end, at the beginning, in their last word, in a word before it.
  const prefixes = Array.from({ length: 40_000 }, (_, n) => `${'0'.repeat(n % 20)}${String(n).padStart(6, '0')}${'x'.repeat(n % 23)}`);
  const alike = [3, 7, 8, 11, 44].flatMap((length) =>
    Array.from({ length: 40_000 }, (_, n) => n.toString(36)).flatMap((digits) => [digits.padStart(length, '0'), digits.padEnd(length, '-')]),
  );
  const strings = [...prefixes, ...alike];
  const bytes = strings.map((of) => write({ of }));
  let wrong = 0;
  for (let twice = 0; twice < 2; twice++)
    for (const [at, of] of strings.entries()) wrong += Number(read(bytes[at] as Buffer, 0, bytes[at]?.length ?? 0).of !== of);
  expect(wrong).toBe(0);
});
