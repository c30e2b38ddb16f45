/** Loads the demo tenants and their documents through the gateway: `node infra/demo/load.ts`. Only what has changed is sent again. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type LocalSecrets, mintToken } from '../local/issuer.ts';
import { DEMO_TENANTS, type DemoTenant } from './tenants.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const { EVENKEEL_GATEWAY_URL = 'http://127.0.0.1:8080', EVENKEEL_HOME = join(ROOT, '.evenkeel') } = process.env;
const SENT = join(EVENKEEL_HOME, 'data', 'demo.json');
const SIDE_BY_SIDE = 8;

const secrets = JSON.parse(readFileSync(join(EVENKEEL_HOME, 'secrets.json'), 'utf8')) as LocalSecrets;
const token = await mintToken(secrets, { tenant: undefined, role: 'operator', subject: 'demo' });
const sent = readSent();

async function call(method: string, path: string, body: unknown, key?: string): Promise<Response> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...(key ? { 'idempotency-key': key } : {}) };
  return fetch(`${EVENKEEL_GATEWAY_URL}${path}`, { method, headers, body: JSON.stringify(body) });
}

function readSent(): Record<string, string> {
  try {
    return JSON.parse(readFileSync(SENT, 'utf8')) as Record<string, string>;
  } catch {
    return {};
  }
}

async function load({ tenant, docs, policy }: DemoTenant): Promise<void> {
  if (!sent[tenant]) {
    const created = await call('POST', '/v1/tenants', { tenant_id: tenant, policy });
    if (!created.ok && created.status !== 409) throw new Error(`${tenant} could not be created: ${created.status} ${await created.text()}`);
    sent[tenant] = 'created';
  }
  const { folder, version } = packageOf(docs);
  const files = (readdirSync(folder, { recursive: true }) as string[]).filter((file) => file.endsWith('.md')).sort();
  const fresh = files.flatMap((file) => {
    const content = readFileSync(join(folder, file), 'utf8');
    const digest = createHash('sha256').update(`${version}\n${content}`).digest('hex');
    return sent[`${tenant}/${file}`] === digest ? [] : [{ file, content, digest }];
  });
  for (let at = 0; at < fresh.length; at += SIDE_BY_SIDE) {
    await Promise.all(
      fresh.slice(at, at + SIDE_BY_SIDE).map(async ({ file, content, digest }) => {
        const title =
          /^#\s+(.+)$/m
            .exec(content)?.[1]
            ?.replace(/<[^>]*>/g, '')
            .trim() || file;
        const put = await call('PUT', `/v1/tenants/${tenant}/documents/${file}`, { title: title.slice(0, 300), version, content });
        if (!put.ok) throw new Error(`${tenant}/${file} was not taken: ${put.status} ${await put.text()}`);
        sent[`${tenant}/${file}`] = digest;
      }),
    );
  }
  console.log(`${tenant}: ${files.length} documents of version ${version}, ${fresh.length} sent`);
}

function packageOf(docs: string): { readonly folder: string; readonly version: string } {
  const home = join(ROOT, 'node_modules', docs.split('/')[0] as string);
  const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
  return { folder: join(ROOT, 'node_modules', docs), version };
}

for (const tenant of DEMO_TENANTS) await load(tenant);
mkdirSync(dirname(SENT), { recursive: true });
writeFileSync(SENT, JSON.stringify(sent));
