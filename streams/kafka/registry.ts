/** The schema registry, by Confluent's API: one subject a record name, FULL_TRANSITIVE, so that old and new readers and writers meet. */
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { text as textOf } from 'node:stream/consumers';
import type { AvroSchema } from '#schemas/avro.ts';
import type { Registered } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { SHAPES, type ShapeName } from '#schemas/records.ts';

const CONTENT = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
const COMPATIBILITY = 'FULL_TRANSITIVE';
const subjects = Object.keys(SHAPES) as ShapeName[];
/** Of one try. Everything asked here may be asked twice: a request that the registry leaves lying once is not a registry that is down. */
const WITHIN_MS = 2_500;
const TRIES = 4;
/** Requests to the registry side by side. */
const SOCKETS = { keepAlive: true, maxSockets: 8 };
const [plain, secure] = [new http.Agent(SOCKETS), new https.Agent(SOCKETS)];

type Ask = { readonly method?: 'GET' | 'PUT' | 'POST'; readonly body?: string };

async function call<T>(url: string, ask: Ask = {}): Promise<T | undefined> {
  const { status, body } = await answerTo(url, ask);
  if (status === 404) return undefined;
  const read = readJson(body) as T & { message?: string };
  if (status >= 200 && status < 300) return read;
  throw new EvenkeelError(status === 409 ? 'conflict' : 'unavailable', `the schema registry says ${status}: ${read.message ?? ''}`);
}

type Answer = { readonly status: number; readonly body: string };

async function answerTo(text: string, ask: Ask): Promise<Answer> {
  const url = new URL(text);
  for (let tries = 1; ; tries++) {
    try {
      return await answerOnce(url, ask);
    } catch (cause) {
      if (tries < TRIES) continue;
      throw new EvenkeelError('unavailable', `the schema registry does not answer at ${url.origin}: ${(cause as Error).message}`, { cause });
    }
  }
}

/** Not by fetch: for a start's forty requests that takes four times the processor time. A hosted registry has its credentials in its address. */
async function answerOnce(url: URL, { method = 'GET', body }: Ask): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = body === undefined ? {} : { ...CONTENT, 'content-length': Buffer.byteLength(body) };
  const [get, agent] = url.protocol === 'https:' ? [https.request, secure] : [http.request, plain];
  get(url, { method, headers, agent, signal: AbortSignal.timeout(WITHIN_MS) }, resolve)
    .on('error', reject)
    .end(body);
  const response = await promise;
  return { status: response.statusCode ?? 0, body: await textOf(response) };
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy's page: the status says enough.
    return {};
  }
}

/** Registers every shape. @throws EvenkeelError `conflict` when a shape is incompatible with a published version: it names the fields */
export function registerSchemas(url: string): Promise<readonly Registered[]> {
  return Promise.all(subjects.map((name) => registerSchema(url, name, SHAPES[name].avro)));
}

/** By subject, for a registry may serve others too, and its general level is theirs. */
async function requireFullTransitive(url: string, subject: string): Promise<void> {
  const found = await call<{ compatibilityLevel?: string }>(`${url}/config/${subject}`);
  if (found?.compatibilityLevel === COMPATIBILITY) return;
  await call(`${url}/config/${subject}`, { method: 'PUT', body: JSON.stringify({ compatibility: COMPATIBILITY }) });
}

export async function registerSchema<N extends string>(
  url: string,
  subject: N,
  schema: AvroSchema,
): Promise<{ readonly id: number; readonly name: N; readonly schema: AvroSchema }> {
  await requireFullTransitive(url, subject);
  const body = JSON.stringify({ schema: JSON.stringify(schema), schemaType: 'AVRO' });
  try {
    const made = await call<{ id: number }>(`${url}/subjects/${subject}/versions`, { method: 'POST', body });
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
  const found = await Promise.all(subjects.map((name) => versionsOf(url, name)));
  const all = found.flat();
  if (all.length === 0) throw new EvenkeelError('unavailable', 'no schema is registered yet: run the provisioner first');
  return all;
}

type Version = { readonly version: number; readonly id: number; readonly schema: string };

/** The first of its subject is the only one: most need one request. */
async function versionsOf(url: string, name: ShapeName): Promise<readonly Registered[]> {
  const at = (which: string) => call<Version>(`${url}/subjects/${name}/versions/${which}`);
  const latest = await at('latest');
  if (latest === undefined) return [];
  const numbers = latest.version === 1 ? [] : ((await call<number[]>(`${url}/subjects/${name}/versions`)) ?? []);
  const older = await Promise.all(numbers.filter((number) => number !== latest.version).map((number) => at(String(number))));
  return [latest, ...older].flatMap((each) => (each ? [{ id: each.id, name, schema: JSON.parse(each.schema) as AvroSchema }] : []));
}
