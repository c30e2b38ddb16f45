/** The schema registry, by Confluent's API: one subject a record name, FULL_TRANSITIVE, so that old and new readers and writers meet. */
import type { AvroSchema } from '#schemas/avro.ts';
import type { Registered } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { SHAPES, type ShapeName } from '#schemas/records.ts';

const CONTENT = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
const subjects = Object.keys(SHAPES) as ShapeName[];
/** Requests to the registry side by side. */
const SIDE_BY_SIDE = 8;

async function call<T>(url: string, init?: RequestInit): Promise<T | undefined> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) });
  } catch (cause) {
    throw new EvenkeelError('unavailable', `the schema registry does not answer at ${new URL(url).origin}`, { cause });
  }
  if (response.status === 404) return undefined;
  const body = (await response.json().catch(() => ({}))) as T & { message?: string };
  if (response.ok) return body;
  throw new EvenkeelError(response.status === 409 ? 'conflict' : 'unavailable', `the schema registry says ${response.status}: ${body.message ?? ''}`);
}

async function each<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += SIDE_BY_SIDE) results.push(...(await Promise.all(items.slice(at, at + SIDE_BY_SIDE).map(run))));
  return results;
}

/** Registers every shape. @throws EvenkeelError `conflict` when a shape is incompatible with a published version */
export async function registerSchemas(url: string): Promise<void> {
  await call(`${url}/config`, { method: 'PUT', headers: CONTENT, body: JSON.stringify({ compatibility: 'FULL_TRANSITIVE' }) });
  await each(subjects, (name) => registerSchema(url, name, SHAPES[name].avro));
}

export async function registerSchema(url: string, subject: string, schema: AvroSchema): Promise<void> {
  const body = JSON.stringify({ schema: JSON.stringify(schema), schemaType: 'AVRO' });
  try {
    await call(`${url}/subjects/${subject}/versions`, { method: 'POST', headers: CONTENT, body });
  } catch (error) {
    if (!(error instanceof EvenkeelError) || error.code !== 'conflict') throw error;
    throw new EvenkeelError('conflict', `${subject} is incompatible with a published version: a field added or removed needs a default (${error.message})`);
  }
}

/** Every version of every subject, for createCodec. */
export async function loadSchemas(url: string): Promise<readonly Registered[]> {
  const found = await each(subjects, async (name) => {
    const versions = (await call<number[]>(`${url}/subjects/${name}/versions`)) ?? [];
    const bodies = await Promise.all(versions.map((version) => call<{ id: number; schema: string }>(`${url}/subjects/${name}/versions/${version}`)));
    return bodies.flatMap((body) => (body ? [{ id: body.id, name, schema: JSON.parse(body.schema) as AvroSchema }] : []));
  });
  const all = found.flat();
  if (all.length === 0) throw new EvenkeelError('unavailable', 'no schema is registered yet: run the provisioner first');
  return all;
}
