/** Record shapes as TypeScript constants: plain Avro schemas that carry the type of their values (Avro 1.11 specification). */

declare const typed: unique symbol;

export type AvroSchema =
  | string
  | { readonly type: 'record'; readonly name: string; readonly namespace: string; readonly fields: readonly AvroField[] }
  | { readonly type: 'enum'; readonly name: string; readonly namespace: string; readonly symbols: readonly string[] }
  | { readonly type: 'array'; readonly items: AvroSchema }
  | readonly AvroSchema[];
export type AvroField = { readonly name: string; readonly type: AvroSchema; readonly default?: unknown };

/** A schema and, at compile time only, the type of its values. */
export type Shape<T> = {
  readonly avro: AvroSchema;
  readonly fallback?: { readonly value: unknown };
  readonly [typed]?: T;
};
export type Infer<S> = S extends Shape<infer T> ? T : never;
type Fields = { readonly [name: string]: Shape<unknown> };
export type InferFields<F extends Fields> = { readonly [K in keyof F]: Infer<F[K]> };
export type RecordShape<T> = Shape<T> & { readonly name: string };

const NAMESPACE = 'evenkeel';
const primitive = <T>(avro: string): Shape<T> => ({ avro });

export const string: Shape<string> = primitive('string');
/** A safe integer: avsc refuses to decode a long beyond 2^53. */
export const long: Shape<number> = primitive('long');
export const int: Shape<number> = primitive('int');
export const boolean: Shape<boolean> = primitive('boolean');
export const bytes: Shape<Uint8Array> = primitive('bytes');

/** The same bytes on the wire, a branded type in the code. Only for records written by us: strangers' fields go through a parser. */
export function as<T>(shape: Shape<string> | Shape<number>): Shape<T> {
  return { avro: shape.avro };
}

/** May be absent; absent is null, so that the field can be added to or removed from a published schema. */
export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return { avro: ['null', shape.avro], fallback: { value: null } };
}

/** A field that older records lack reads as `value`. */
export function withDefault<T>(shape: Shape<T>, value: T): Shape<T> {
  return { avro: shape.avro, fallback: { value } };
}

export function list<T>(items: Shape<T>): Shape<readonly T[]> {
  return { avro: { type: 'array', items: items.avro } };
}

export function oneOf<const S extends readonly string[]>(name: string, symbols: S): Shape<S[number]> {
  return { avro: { type: 'enum', name, namespace: NAMESPACE, symbols } };
}

export function record<F extends Fields>(name: string, fields: F): RecordShape<InferFields<F>> {
  const avroFields = Object.entries(fields).map(([field, shape]) => ({
    name: field,
    type: shape.avro,
    ...(shape.fallback ? { default: shape.fallback.value } : {}),
  }));
  return { name, avro: { type: 'record', name, namespace: NAMESPACE, fields: avroFields } };
}
