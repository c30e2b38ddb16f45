/**
 * Avro's binary encoding read into plain objects, by a function compiled from the shape (Avro 1.11, "Binary encoding"): a fold of the history
 * reads millions of records, and this takes a fifth of the time of a general decoder. Bounds are checked, so that bytes that are not
 * what the schema says throw; what a stranger wrote is walked before (codec.ts).
 */
import type { AvroSchema } from './avro.ts';
import { bufferOf } from './buffer.ts';

/** Reads `bytes` from `from` to `to`, all of it. @throws RangeError when they are not such a value */
export type Decode<T> = (bytes: Uint8Array, from: number, to: number) => T;

/**
 * Ids, step names and days come again and again: one string for all of them costs no memory and its hash is known. Each has two places by its
 * bytes, which are kept beside it as words of four, to be compared. Before them stands a word with the length, which few others share.
 */
const PAIRS = 1 << 14;
const PLACE_WORDS = 12;
const LONGEST_KEPT = 4 * (PLACE_WORDS - 1);
/** The bits of that word which hold the length. */
const LENGTH = 63;

let bytes: Uint8Array = new Uint8Array(0);
let at = 0;
let end = 0;
const strings: (string | undefined)[] = new Array(2 * PAIRS).fill(undefined);
const stringWords = new Int32Array(2 * PAIRS * PLACE_WORDS);

/** `tag`: a field `type` with this value comes before the record's own. */
export function decoder<T>(schema: AvroSchema, tag?: string): Decode<T> {
  const constants: unknown[] = [];
  const source = expression(schema, constants, tag);
  const make = new Function('long', 'string', 'boolean', 'raw', 'list', 'pick', 'branch', 'constants', `return () => ${source}`);
  const read = make(long, string, boolean, raw, list, pick, branch, constants) as () => T;
  return (of, from, to) => {
    [bytes, at, end] = [of, from, to];
    const value = read();
    if (at !== to) throw new RangeError(at > to ? 'it ends early' : `${to - at} bytes after its end`);
    return value;
  };
}

/** The first field alone, where it is a string. @throws RangeError when it is not one */
export function leadingString(of: Uint8Array, from: number, to: number): string {
  [bytes, at, end] = [of, from, to];
  return string();
}

/** Names are our own shapes', never a stranger's; still, all that is not a primitive's name is quoted. */
function expression(schema: AvroSchema, constants: unknown[], tag?: string): string {
  if (typeof schema === 'string') return primitive(schema);
  if (isUnion(schema)) {
    const [first, second] = schema;
    if (schema.length !== 2 || first !== 'null' || second === undefined) throw new RangeError('a union that is not of null and one other');
    return `(branch() === 0 ? null : ${expression(second, constants)})`;
  }
  if (schema.type === 'array') return `list(() => ${expression(schema.items, constants)})`;
  if (schema.type === 'enum') return `pick(constants[${constants.push(schema.symbols) - 1}])`;
  const fields = schema.fields.map(({ name, type }) => `${JSON.stringify(name)}: ${expression(type, constants)}`);
  return `({ ${[...(tag === undefined ? [] : [`"type": ${JSON.stringify(tag)}`]), ...fields].join(', ')} })`;
}

function primitive(name: string): string {
  const reads: Readonly<Record<string, string>> = { string: 'string()', long: 'long()', int: 'long()', boolean: 'boolean()', bytes: 'raw()' };
  const read = reads[name];
  if (read === undefined) throw new RangeError(`a type that is not read here: ${name}`);
  return read;
}

function isUnion(schema: AvroSchema): schema is readonly AvroSchema[] {
  return Array.isArray(schema);
}

/** A zig-zag varint. Its first 28 bits are counted in integers, the others in a double. @throws RangeError beyond 2^53 */
function long(): number {
  let byte = bytes[at++] as number;
  if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1);
  let low = byte & 0x7f;
  for (let shift = 7; shift < 28; shift += 7) {
    byte = bytes[at++] as number;
    low |= (byte & 0x7f) << shift;
    if (byte < 0x80) return (low >>> 1) ^ -(low & 1);
  }
  let [high, scale] = [0, 1];
  for (let more = 0; more < 6; more++) {
    byte = bytes[at++] as number;
    high += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) return safe(high * 0x8000000 + (low >>> 1), (low & 1) === 1);
  }
  throw new RangeError('a number of more than 10 bytes');
}

function safe(magnitude: number, negative: boolean): number {
  const value = negative ? -magnitude - 1 : magnitude;
  if (!Number.isSafeInteger(value)) throw new RangeError('a number beyond 2^53');
  return value;
}

/** Moves past as many bytes as the next number says, and returns where they begin. */
function sized(): number {
  const length = long();
  const from = at;
  if (!(length >= 0 && length <= end - from)) throw new RangeError(`${length} bytes are announced, ${end - from} are left`);
  at = from + length;
  return from;
}

function string(): string {
  const from = sized();
  const to = at;
  const length = to - from;
  if (length > LONGEST_KEPT) return text(from);
  if (length === 0) return '';
  const words = wordsOf(bytes);
  let hash = length;
  let i = from;
  for (; i + 4 <= to; i += 4) hash = Math.imul(hash, 0x5bd1e995) + words.getInt32(i, true);
  const rest = i < to ? lastWord(words, from, to) : 0;
  hash = Math.imul(Math.imul(hash, 0x5bd1e995) + rest, 0x5bd1e995);
  const first = (hash >>> 18) << 1;
  const mark = (hash & ~LENGTH) | length;
  if (same(first, mark, words, from, to, rest)) return strings[first] as string;
  if (same(first + 1, mark, words, from, to, rest)) return strings[first + 1] as string;
  return fresh(first, mark, words, from, rest);
}

function same(place: number, mark: number, words: DataView, from: number, to: number, rest: number): boolean {
  let word = place * PLACE_WORDS;
  if (stringWords[word++] !== mark) return false;
  let i = from;
  for (; i + 4 <= to; i += 4) if (stringWords[word++] !== words.getInt32(i, true)) return false;
  return i >= to || stringWords[word] === rest;
}

/** Takes the first place; what was there moves to the second. */
function fresh(first: number, mark: number, words: DataView, from: number, rest: number): string {
  const to = at;
  let high = rest;
  let i = from;
  for (; i + 4 <= to; i += 4) high |= words.getInt32(i, true);
  // Beyond ASCII a string's length is not that of its bytes.
  if ((high & 0x80808080) !== 0) return text(from);
  const made = text(from, 'latin1');
  let word = first * PLACE_WORDS;
  stringWords.copyWithin(word + PLACE_WORDS, word, word + PLACE_WORDS);
  strings[first + 1] = strings[first];
  strings[first] = made;
  stringWords[word++] = mark;
  for (i = from; i + 4 <= to; i += 4) stringWords[word++] = words.getInt32(i, true);
  if (i < to) stringWords[word] = rest;
  return made;
}

/** The last four bytes where the length is no multiple of four, or all of fewer. */
function lastWord(words: DataView, from: number, to: number): number {
  if (to - from >= 4) return words.getInt32(to - 4, true);
  let word = 0;
  for (let i = from; i < to; i++) word = (word << 8) | words.getUint8(i);
  return word;
}

let viewed: Uint8Array = bytes;
let view = new DataView(bytes.buffer);
/** Made once for all records of a fetch. */
function wordsOf(of: Uint8Array): DataView {
  if (viewed !== of) {
    viewed = of;
    view = new DataView(of.buffer, of.byteOffset, of.byteLength);
  }
  return view;
}

/** `latin1`: known to be ASCII, which is then not looked for again. */
function text(from: number, encoding: 'utf8' | 'latin1' = 'utf8'): string {
  const buffer = bufferOf(bytes);
  return buffer.toString(encoding, from, at);
}

function boolean(): boolean {
  return bytes[at++] === 1;
}

/** A copy: the bytes around it are let go of. */
function raw(): Uint8Array {
  const from = sized();
  return Buffer.from(bytes.subarray(from, at));
}

function list<T>(read: () => T): readonly T[] {
  const items: T[] = [];
  for (;;) {
    let count = long();
    if (count === 0) return items;
    if (count < 0) {
      count = -count;
      long();
    }
    if (!(count <= end - at)) throw new RangeError(`a list of ${count} in ${end - at} bytes`);
    for (; count > 0; count--) items.push(read());
  }
}

function pick(symbols: readonly string[]): string {
  const symbol = symbols[long()];
  if (symbol === undefined) throw new RangeError(`none of ${symbols.join(', ')}`);
  return symbol;
}

function branch(): number {
  const which = long();
  if (which !== 0 && which !== 1) throw new RangeError(`branch ${which} of a union of two`);
  return which;
}
