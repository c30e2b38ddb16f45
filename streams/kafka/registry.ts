/** The schema registry, by Confluent's API: one subject a record name, FULL_TRANSITIVE, so that old and new readers and writers meet. */
import type { AvroSchema } from '#schemas/avro.ts';
import type { Registered } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { SHAPES, type ShapeName } from '#schemas/records.ts';

const CONTENT = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
const COMPATIBILITY = 'FULL_TRANSITIVE';
const subjects = Object.keys(SHAPES) as ShapeName[];
/** Requests to the registry side by side. */
const SIDE_BY_SIDE = 8;

async function call<T>(url: string, init?: RequestInit): Promise<T | undefined> {
  let response: Response;
  const { origin, href, authorization } = address(url);
  try {
    response = await fetch(href, { ...init, headers: { ...init?.headers, ...authorization }, signal: AbortSignal.timeout(10_000) });
  } catch (cause) {
    throw new EvenkeelError('unavailable', `the schema registry does not answer at ${origin}`, { cause });
  }
  if (response.status === 404) return undefined;
  const body = (await response.json().catch(() => ({}))) as T & { message?: string };
  if (response.ok) return body;
  throw new EvenkeelError(response.status === 409 ? 'conflict' : 'unavailable', `the schema registry says ${response.status}: ${body.message ?? ''}`);
}

/** fetch takes no address with credentials in it; a hosted registry is given as one. */
function address(text: string): { readonly origin: string; readonly href: string; readonly authorization: Readonly<Record<string, string>> } {
  const url = new URL(text);
  const { username, password, origin } = url;
  [url.username, url.password] = ['', ''];
  const basic = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64');
  return { origin, href: url.href, authorization: username ? { authorization: `Basic ${basic}` } : {} };
}

async function each<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += SIDE_BY_SIDE) results.push(...(await Promise.all(items.slice(at, at + SIDE_BY_SIDE).map(run))));
  return results;
}

/** Registers every shape. @throws EvenkeelError `conflict` when a shape is incompatible with a published version: it names the fields */
export function registerSchemas(url: string): Promise<readonly Registered[]> {
  return each(subjects, (name) => registerSchema(url, name, SHAPES[name].avro));
}

/** By subject, for a registry may serve others too, and its general level is theirs. */
async function requireFullTransitive(url: string, subject: string): Promise<void> {
  const found = await call<{ compatibilityLevel?: string }>(`${url}/config/${subject}`);
  if (found?.compatibilityLevel === COMPATIBILITY) return;
  await call(`${url}/config/${subject}`, { method: 'PUT', headers: CONTENT, body: JSON.stringify({ compatibility: COMPATIBILITY }) });
}

export async function registerSchema<N extends string>(
  url: string,
  subject: N,
  schema: AvroSchema,
): Promise<{ readonly id: number; readonly name: N; readonly schema: AvroSchema }> {
  await requireFullTransitive(url, subject);
  const body = JSON.stringify({ schema: JSON.stringify(schema), schemaType: 'AVRO' });
  try {
    const made = await call<{ id: number }>(`${url}/subjects/${subject}/versions`, { method: 'POST', headers: CONTENT, body });
    if (!made) throw new EvenkeelError('unavailable', `the schema registry has no place for ${subject}`);
    return { id: made.id, name: subject, schema };
  } catch (error) {
    if (!(error instanceof EvenkeelError) || error.code !== 'conflict') throw error;
    const fields = fieldsNamed(error.message, schema);
    const which = fields.length > 0 ? ` in ${fields.join(', ')}` : '';
    throw new EvenkeelError(
      'conflict',
      `${subject} is incompatible with a published version${which}: a type may not change, and a field added or removed needs a default (${error.message})`,
    );
  }
}

/** Registries point at fields by their place, in no order: `/fields/2/type`. */
function fieldsNamed(message: string, schema: AvroSchema): readonly string[] {
  const fields = typeof schema === 'object' && 'fields' in schema ? schema.fields : [];
  const places = [...message.matchAll(/\/fields\/(\d+)/g)].map((match) => Number(match[1])).sort((a, b) => a - b);
  return [...new Set(places.flatMap((at) => fields[at]?.name ?? []))];
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
