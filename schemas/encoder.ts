/**
 * Plain objects into Avro's binary encoding, by a function compiled from the shape (Avro 1.11, "Binary encoding"): the counterpart of
 * decoder.ts, for the records and rows that each transaction writes. The bytes are canonical: equal values have equal bytes.
 */
import type { AvroSchema } from './avro.ts';

/** `prefix` bytes are left free before the value. @throws RangeError when the value is not of the shape: nothing of it is kept */
export type Encode<T> = (value: T, prefix?: number) => Buffer;

let out = Buffer.alloc(64 * 1_024);
let at = 0;

export function encoder<T>(schema: AvroSchema): Encode<T> {
  const constants: unknown[] = [];
  const source = statement(schema, 'value', constants, 0);
  const make = new Function('long', 'int', 'string', 'boolean', 'raw', 'index', 'listed', 'constants', `return (value) => { ${source} }`);
  const write = make(long, int, string, boolean, raw, index, listed, constants) as (value: T) => void;
  return (value, prefix = 0) => {
    at = prefix;
    write(value);
    const bytes = Buffer.allocUnsafe(at);
    out.copy(bytes, prefix, prefix, at);
    return bytes;
  };
}

/** `of` is the source of the value; each level of nesting has a variable of its own. */
function statement(schema: AvroSchema, of: string, constants: unknown[], depth: number): string {
  if (typeof schema === 'string') return primitive(schema, of);
  const name = `v${depth}`;
  if (isUnion(schema)) {
    const [first, second] = schema;
    if (schema.length !== 2 || first !== 'null' || second === undefined) throw new RangeError('a union that is not of null and one other');
    return `{ const ${name} = ${of}; if (${name} === null) long(0); else { long(1); ${statement(second, name, constants, depth + 1)} } }`;
  }
  if (schema.type === 'array') {
    const each = statement(schema.items, `${name}[i${depth}]`, constants, depth + 1);
    return `{ const ${name} = listed(${of}); if (${name}.length > 0) { long(${name}.length); for (let i${depth} = 0; i${depth} < ${name}.length; i${depth}++) { ${each} } } long(0); }`;
  }
  if (schema.type === 'enum') return `long(index(constants[${constants.push(new Map(schema.symbols.map((symbol, place) => [symbol, place]))) - 1}], ${of}));`;
  const fields = schema.fields.map((field) => {
    const value = `${name}[${JSON.stringify(field.name)}]`;
    const given = field.default === undefined ? value : `(${value} === undefined ? constants[${constants.push(field.default) - 1}] : ${value})`;
    return statement(field.type, given, constants, depth + 1);
  });
  return `{ const ${name} = ${of}; ${fields.join(' ')} }`;
}

function primitive(name: string, of: string): string {
  const writes: Readonly<Record<string, string>> = { string: 'string', long: 'long', int: 'int', boolean: 'boolean', bytes: 'raw' };
  const write = writes[name];
  if (write === undefined) throw new RangeError(`a type that is not written here: ${name}`);
  return `${write}(${of});`;
}

function isUnion(schema: AvroSchema): schema is readonly AvroSchema[] {
  return Array.isArray(schema);
}

function room(bytes: number): void {
  if (at + bytes <= out.length) return;
  const grown = Buffer.alloc(2 * (at + bytes));
  out.copy(grown, 0, 0, at);
  out = grown;
}

/** A zig-zag varint: in integers where it fits, else its first 28 bits in integers and the others in a double. */
function long(value: number): void {
  room(10);
  if ((value | 0) === value && value < 0x40000000 && value >= -0x40000000) {
    let rest = ((value << 1) ^ (value >> 31)) >>> 0;
    for (; rest >= 0x80; rest >>>= 7) out[at++] = (rest & 0x7f) | 0x80;
    out[at++] = rest;
    return;
  }
  if (!Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${String(value)}`);
  const magnitude = value < 0 ? -value - 1 : value;
  let low = ((magnitude % 0x8000000) << 1) | Number(value < 0);
  for (let n = 0; n < 4; n++, low >>>= 7) out[at++] = (low & 0x7f) | 0x80;
  let high = Math.floor(magnitude / 0x8000000);
  for (; high >= 0x80; high = Math.floor(high / 0x80)) out[at++] = (high % 0x80) | 0x80;
  out[at++] = high;
}

function int(value: number): void {
  if ((value | 0) !== value) throw new RangeError(`not an integer of 32 bits: ${String(value)}`);
  long(value);
}

const SHORT = 64;
function string(value: string): void {
  if (typeof value !== 'string') throw new RangeError(`not a string: ${String(value)}`);
  const { length } = value;
  room(10 + 3 * length);
  const before = at;
  if (length <= SHORT) {
    long(length);
    let high = 0;
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i);
      high |= unit;
      out[at++] = unit;
    }
    if (high < 0x80) return;
    at = before;
  }
  long(Buffer.byteLength(value));
  at += out.write(value, at);
}

function boolean(value: boolean): void {
  if (typeof value !== 'boolean') throw new RangeError(`not a boolean: ${String(value)}`);
  room(1);
  out[at++] = value ? 1 : 0;
}

function raw(value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) throw new RangeError('not bytes');
  long(value.byteLength);
  room(value.byteLength);
  out.set(value, at);
  at += value.byteLength;
}

function index(symbols: ReadonlyMap<string, number>, value: string): number {
  const place = symbols.get(value);
  if (place === undefined) throw new RangeError(`${String(value)} is none of ${[...symbols.keys()].join(', ')}`);
  return place;
}

function listed<T>(value: readonly T[]): readonly T[] {
  if (!Array.isArray(value)) throw new RangeError('not a list');
  return value;
}
