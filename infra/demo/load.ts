/** Loads the demo tenants and their documents through the gateway: `node infra/demo/load.ts`. Only what has changed is sent again. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SETTINGS, settingOf } from '#services/config.ts';
import { type LocalSecrets, mintToken } from '../local/issuer.ts';
import { type DemoDocument, documentsOf } from './documents.ts';
import { DEMO_TENANTS, type DemoTenant } from './tenants.ts';

/** What the gateway has taken: digests by `tenant` (its policy) and `tenant/document`. */
export type Sent = Record<string, string>;
export type Call = (method: string, path: string, body?: unknown) => Promise<{ readonly status: number; readonly text: string }>;
export type Loading = { readonly call: Call; readonly sent: Sent; readonly save: () => void; readonly say: (line: string) => void };

const SIDE_BY_SIDE = 8;
const TRIES = 20;
const PAUSE_MS = 500;
/** Not yet, as opposed to no: over a limit, starting, or the tenant is not yet in the gateway's view of the log. */
const LATER: ReadonlySet<number> = new Set([404, 429, 503]);

/** One tenant: created, its policy as the table has it, its documents as the package has them. */
export async function load(tenant: DemoTenant, loading: Loading): Promise<void> {
  const { version, documents } = documentsOf(tenant);
  await ensureTenant(tenant, loading);
  const { sent, save, say } = loading;
  const name = tenant.tenant;
  const fresh = documents.filter(({ id, digest }) => sent[`${name}/${id}`] !== digest);
  const known = new Set(documents.map(({ id }) => `${name}/${id}`));
  const gone = Object.keys(sent).filter((key) => key.startsWith(`${name}/`) && !known.has(key));
  try {
    await sideBySide(fresh, (document) => put(name, version, document, loading));
    await sideBySide(gone, (key) => remove(name, key, loading));
  } finally {
    save();
  }
  say(`${name}: ${documents.length} documents of version ${version}, ${fresh.length} sent${gone.length > 0 ? `, ${gone.length} removed` : ''}`);
}

async function ensureTenant({ tenant, policy }: DemoTenant, { call, sent }: Loading): Promise<void> {
  const digest = createHash('sha256').update(JSON.stringify(policy)).digest('hex');
  const { status, text } = await call('GET', `/v1/tenants/${tenant}`);
  if (status !== 200 && status !== 404) throw new Error(`the gateway did not say whether ${tenant} is there: ${status} ${text}`);
  // Another cluster, or a log that was begun anew: what was sent before is not there.
  if (status === 404) for (const key of Object.keys(sent)) if (key === tenant || key.startsWith(`${tenant}/`)) delete sent[key];
  if (sent[tenant] === digest) return;
  if (status === 404) {
    const created = await call('POST', '/v1/tenants', { tenant_id: tenant, policy });
    if (created.status >= 300 && created.status !== 409) throw new Error(`${tenant} could not be created: ${created.status} ${created.text}`);
  } else if (sent[tenant] !== undefined) {
    const changed = await call('PUT', `/v1/tenants/${tenant}/policy`, { changes: policy });
    if (changed.status >= 300) throw new Error(`${tenant}'s policy was not taken: ${changed.status} ${changed.text}`);
  }
  sent[tenant] = digest;
}

async function put(tenant: string, version: string, { id, title, content, digest }: DemoDocument, loading: Loading): Promise<void> {
  const body = { title, version, content, audience: 'everyone' };
  await patiently(loading, 'PUT', tenant, id, body);
  loading.sent[`${tenant}/${id}`] = digest;
}

async function remove(tenant: string, key: string, loading: Loading): Promise<void> {
  await patiently(loading, 'DELETE', tenant, key.slice(tenant.length + 1));
  delete loading.sent[key];
}

async function patiently({ call }: Loading, method: string, tenant: string, document: string, body?: unknown): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { status, text } = await call(method, `/v1/tenants/${tenant}/documents/${encodeURI(document)}`, body);
    if (status < 300) return;
    if (!LATER.has(status) || tries === TRIES) throw new Error(`${tenant}/${document} was not taken: ${status} ${text}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

async function sideBySide<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += SIDE_BY_SIDE) {
    const settled = await Promise.allSettled(items.slice(at, at + SIDE_BY_SIDE).map(run));
    for (const each of settled) if (each.status === 'rejected') throw each.reason;
  }
}

async function main(): Promise<void> {
  const home = settingOf('home') ?? fileURLToPath(new URL('../../.evenkeel', import.meta.url));
  const gateway = settingOf('gatewayUrl') ?? SETTINGS.gatewayUrl.fallback;
  const secrets = JSON.parse(readFileSync(join(home, 'secrets.json'), 'utf8')) as LocalSecrets;
  const token = await mintToken(secrets, { tenant: undefined, role: 'operator', subject: 'demo' });
  const file = join(home, 'data', 'demo.json');
  const sent = readSent(file);
  const call: Call = async (method, path, body) => {
    const headers = { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
    const response = await fetch(`${gateway}${path}`, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    return { status: response.status, text: await response.text() };
  };
  const save = () => {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.part`, JSON.stringify(sent));
    renameSync(`${file}.part`, file);
  };
  for (const tenant of DEMO_TENANTS) await load(tenant, { call, sent, save, say: (line) => console.log(line) });
}

function readSent(file: string): Sent {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Sent;
  } catch {
    return {};
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main().catch((error: Error) => {
    console.error(`The demo could not be loaded: ${error.message}${error.cause ? ` (${(error.cause as Error).message})` : ''}`);
    process.exit(1);
  });
}
