/**
 * Confluent's wire format: a zero byte, the schema's id (4 bytes, big endian), the Avro bytes.
 * What a stranger wrote is walked before it is decoded: four hostile bytes can make a decoder allocate gigabytes.
 */
import avsc from 'avsc';
import type { AvroSchema } from './avro.ts';
import { type Decode, decoder, leadingString } from './decoder.ts';
import { type Encode, encoder } from './encoder.ts';
import { EvenkeelError } from './errors.ts';
import { SHAPES, type ShapeName, type ValueOf } from './records.ts';

export type Registered = { readonly id: number; readonly name: ShapeName; readonly schema: AvroSchema };
export type Decoded = { readonly [N in ShapeName]: { readonly name: N; readonly value: ValueOf<N> } }[ShapeName];
export type Tagged = { readonly [N in ShapeName]: { readonly type: N } & ValueOf<N> }[ShapeName];

export interface Codec {
  /** What it was made from: another thread makes one of its own. */
  readonly registered: readonly Registered[];
  encode<N extends ShapeName>(name: N, value: ValueOf<N>): Uint8Array;
  /** For topics that only we write. @throws EvenkeelError `schema_unknown`, `record_unreadable` */
  decode(bytes: Uint8Array): Decoded;
  /** The same as one object with its name as `type`, read where it stands in a larger buffer. @throws as `decode` */
  decodeTagged(bytes: Uint8Array, from: number, to: number): Tagged;
  /** Its name and whose it is, read from its first field; the rest is not looked at. undefined: its first field is another. @throws as `decode` */
  ownerOf(bytes: Uint8Array): { readonly name: ShapeName; readonly tenant: string } | undefined;
  /** For what a stranger wrote: bounded before it is decoded. @throws also `record_too_large`, `record_hostile` */
  decodeHostile(bytes: Uint8Array, maxBytes: number): Decoded;
  /** Whether that wire bytes' schema id is known. */
  knows(bytes: Uint8Array): boolean;
}

const HEADER = 5;
/** Elements in one array of a stranger's record. */
const MAX_ITEMS = 1_000;
const types = new Map<ShapeName, avsc.Type>();

function typeOf(name: ShapeName): avsc.Type {
  let type = types.get(name);
  if (!type) {
    type = avsc.Type.forSchema(SHAPES[name].avro as avsc.Schema);
    types.set(name, type);
  }
  return type;
}

type Reader = {
  readonly name: ShapeName;
  readonly schema: AvroSchema;
  readonly ownerFirst: boolean;
  readonly plain: Decode<unknown>;
  readonly tagged: Decode<unknown>;
};

/** Bytes of today's shape are read by compiled code, those of an older one by avsc's resolution of the two. */
function readerOf({ name, schema }: Registered, current: boolean): Reader {
  const ownerFirst = isOwnerFirst(schema);
  if (current) return { name, schema, ownerFirst, plain: decoder(SHAPES[name].avro), tagged: decoder(SHAPES[name].avro, name) };
  const mine = typeOf(name);
  const resolver = mine.createResolver(avsc.Type.forSchema(schema as avsc.Schema));
  const plain: Decode<object> = (bytes, from, to) => ({ ...(mine.fromBuffer(Buffer.from(bytes.subarray(from, to)), resolver) as object) });
  return { name, schema, ownerFirst, plain, tagged: (...where) => ({ type: name, ...plain(...where) }) };
}

function isOwnerFirst(schema: AvroSchema): boolean {
  const first = typeof schema === 'object' && 'fields' in schema ? schema.fields[0] : undefined;
  return first?.name === 'tenant' && first.type === 'string';
}

/** As a registry gives back what was registered, word for word; or else as avsc writes both, which makes types of them: a start has forty to wait for. */
function isCurrent({ name, schema }: Registered): boolean {
  if (JSON.stringify(schema) === JSON.stringify(SHAPES[name].avro)) return true;
  const canonical = (type: avsc.Type) => JSON.stringify(type.schema({ exportAttrs: true }));
  return canonical(avsc.Type.forSchema(schema as avsc.Schema)) === canonical(typeOf(name));
}

/** `registered`: every version of every subject; the writer uses the one that equals today's shape. */
export function createCodec(registered: readonly Registered[]): Codec {
  const readers = new Map<number, Reader>();
  const writers = new Map<ShapeName, { readonly id: number; readonly write: Encode<unknown> }>();
  for (const each of registered) {
    const current = isCurrent(each);
    if (current) writers.set(each.name, { id: each.id, write: encoder(SHAPES[each.name].avro) });
    readers.set(each.id, readerOf(each, current));
  }
  const reader = (bytes: Uint8Array, from = 0, to = bytes.byteLength): Reader => {
    const id = schemaId(bytes, from, to);
    const found = readers.get(id);
    if (!found) throw new EvenkeelError('schema_unknown', `schema id ${id} is not registered here`);
    return found;
  };
  const read = <T>(how: 'plain' | 'tagged', by: Reader, bytes: Uint8Array, from: number, to: number): T => {
    try {
      return by[how](bytes, from + HEADER, to) as T;
    } catch (cause) {
      throw unreadable(by.name, cause);
    }
  };
  const decode = (bytes: Uint8Array): Decoded => {
    const by = reader(bytes);
    return { name: by.name, value: read('plain', by, bytes, 0, bytes.byteLength) } as Decoded;
  };
  return {
    registered,
    encode(name, value) {
      const writer = writers.get(name);
      if (writer === undefined) throw new EvenkeelError('schema_unknown', `no schema id for ${name}: was it registered?`);
      const bytes = writer.write(value, HEADER);
      bytes[0] = 0;
      bytes.writeUInt32BE(writer.id, 1);
      return bytes;
    },
    decode,
    ownerOf(bytes) {
      const { name, ownerFirst } = reader(bytes);
      if (!ownerFirst) return undefined;
      try {
        return { name, tenant: leadingString(bytes, HEADER, bytes.byteLength) };
      } catch (cause) {
        throw unreadable(name, cause);
      }
    },
    decodeTagged: (bytes, from, to) => read('tagged', reader(bytes, from, to), bytes, from, to),
    decodeHostile(bytes, maxBytes) {
      if (bytes.byteLength > maxBytes) throw new EvenkeelError('record_too_large', `${bytes.byteLength} bytes, at most ${maxBytes}`);
      const { schema } = reader(bytes);
      const end = walk(schema, bytes, HEADER);
      if (end !== bytes.byteLength) throw new EvenkeelError('record_hostile', `${bytes.byteLength - end} bytes after the record's end`);
      return decode(bytes);
    },
    knows: (bytes) => bytes.byteLength >= HEADER && bytes[0] === 0 && readers.has(schemaId(bytes)),
  };
}

function unreadable(name: ShapeName, cause: unknown): EvenkeelError {
  return new EvenkeelError('record_unreadable', `not a ${name}: ${(cause as Error).message}`, { cause });
}

/** Ids 1, 2, 3 … in the table's order: for tests and simulation, where no registry hands them out. */
export function localSchemas(): readonly Registered[] {
  return (Object.keys(SHAPES) as ShapeName[]).map((name, at) => ({ id: at + 1, name, schema: SHAPES[name].avro }));
}

/** @throws EvenkeelError `record_unreadable` when the bytes are not in the wire format */
function schemaId(bytes: Uint8Array, from = 0, to = bytes.byteLength): number {
  if (to - from < HEADER || bytes[from] !== 0) throw new EvenkeelError('record_unreadable', 'no Confluent wire header');
  const byte = (at: number) => bytes[from + at] as number;
  return ((byte(1) << 24) | (byte(2) << 16) | (byte(3) << 8) | byte(4)) >>> 0;
}

function hostile(why: string): EvenkeelError {
  return new EvenkeelError('record_hostile', why);
}

/** A zig-zag varint of at most 10 bytes: [value, next position]. */
function varint(bytes: Uint8Array, at: number): readonly [number, number] {
  let value = 0;
  let scale = 1;
  for (let i = at; i < at + 10; i++) {
    const byte = bytes[i];
    if (byte === undefined) throw hostile('ends within a number');
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) return [value % 2 === 0 ? value / 2 : -(value + 1) / 2, i + 1];
  }
  throw hostile('a number of more than 10 bytes');
}

function skipBytes(bytes: Uint8Array, at: number): number {
  const [length, next] = varint(bytes, at);
  if (length < 0 || length > bytes.byteLength - next) throw hostile(`announces ${length} bytes, ${bytes.byteLength - next} are left`);
  return next + length;
}

function walkArray(items: AvroSchema, bytes: Uint8Array, start: number): number {
  let at = start;
  let total = 0;
  for (;;) {
    let [count, next] = varint(bytes, at);
    if (count === 0) return next;
    if (count < 0) {
      count = -count;
      next = varint(bytes, next)[1];
    }
    total += count;
    if (total > MAX_ITEMS) throw hostile(`an array of more than ${MAX_ITEMS}`);
    at = next;
    for (let i = 0; i < count; i++) at = walk(items, bytes, at);
  }
}

function walkPrimitive(schema: string, bytes: Uint8Array, at: number): number {
  switch (schema) {
    case 'null':
      return at;
    case 'boolean':
      if (at >= bytes.byteLength) throw hostile('ends early');
      return at + 1;
    case 'int':
    case 'long':
      return varint(bytes, at)[1];
    case 'string':
    case 'bytes':
      return skipBytes(bytes, at);
    default:
      throw hostile(`a type that is not taken from strangers: ${schema}`);
  }
}

/** The position after one value of `schema`; throws where counts or sizes exceed what is there. */
function walk(schema: AvroSchema, bytes: Uint8Array, at: number): number {
  if (typeof schema === 'string') return walkPrimitive(schema, bytes, at);
  if (isUnion(schema)) {
    const [branch, next] = varint(bytes, at);
    const chosen = schema[branch];
    if (chosen === undefined) throw hostile(`branch ${branch} of a union of ${schema.length}`);
    return walk(chosen, bytes, next);
  }
  switch (schema.type) {
    case 'record':
      return schema.fields.reduce((position, field) => walk(field.type, bytes, position), at);
    case 'enum':
      return varint(bytes, at)[1];
    case 'array':
      return walkArray(schema.items, bytes, at);
    default:
      return walkPrimitive((schema as { type: string }).type, bytes, at);
  }
}

function isUnion(schema: AvroSchema): schema is readonly AvroSchema[] {
  return Array.isArray(schema);
}
