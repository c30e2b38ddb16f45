/** The demo loads once, sends what has changed, and takes away what is no longer shipped. */
import { decodeJwt, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { expect, test } from 'vitest';
import { documentsOf, titleOf } from '#infra/demo/documents.ts';
import { type Loading, load } from '#infra/demo/load.ts';
import { DEMO_TENANTS, type DemoTenant } from '#infra/demo/tenants.ts';
import { mintToken } from '#infra/local/issuer.ts';
import { applyPolicy, DEFAULT_POLICY } from '#schemas/policy.ts';

const pino = DEMO_TENANTS.find(({ tenant }) => tenant === 'pino') as DemoTenant;

/** A gateway that has forgotten nothing; `answer` may refuse. */
function gateway(answer: (method: string, path: string) => number | undefined = () => undefined) {
  const calls: string[] = [];
  const [tenants, documents, lines] = [new Set<string>(), new Map<string, string>(), [] as string[]];
  let saved = 0;
  const loading: Loading = {
    sent: {},
    save: () => saved++,
    say: (line) => lines.push(line),
    async call(method, path, body) {
      calls.push(`${method} ${path}`);
      const refused = answer(method, path);
      if (refused !== undefined) return { status: refused, text: 'refused' };
      const [, , , tenant = ''] = path.split('/');
      if (method === 'GET') return { status: tenants.has(tenant) ? 200 : 404, text: '' };
      if (method === 'POST') tenants.add((body as { tenant_id: string }).tenant_id);
      if (method === 'PUT' && path.includes('/documents/')) documents.set(path, (body as { content: string }).content);
      if (method === 'DELETE') documents.delete(path);
      return { status: 200, text: '' };
    },
  };
  return { calls, tenants, documents, lines, loading, saves: () => saved };
}

test('the shipped documentation of each demo tenant is there, within what the gateway takes', () => {
  for (const tenant of DEMO_TENANTS) {
    const { version, documents } = documentsOf(tenant);
    expect(version).toMatch(/^\d+\.\d+\.\d+/);
    expect(documents.length).toBeGreaterThan(10);
    for (const { id, title, content } of documents) {
      expect(id).toMatch(/^[\w][\w./-]{0,199}$/);
      expect(title.length).toBeGreaterThan(0);
      expect(content.length).toBeLessThan(1_048_576);
    }
    expect(() => applyPolicy(DEFAULT_POLICY, tenant.policy, 'operator')).not.toThrow();
  }
});

test('a title is the first heading outside code', () => {
  expect(titleOf('<h1>Logo</h1>\n\n## `Hooks` <a id="hooks"></a>\n\ntext')).toBe('Hooks');
  expect(titleOf('```sh\n# install\n```\n\n# Real')).toBe('Real');
  expect(titleOf('no heading')).toBe('');
});

test('the first start creates and sends all, the second only asks whether the tenant is there', async () => {
  const { loading, calls, documents, lines } = gateway();
  await load(pino, loading);
  expect(documents.size).toBe(documentsOf(pino).documents.length);
  expect(lines[0]).toMatch(/^pino: (\d+) documents of version [\d.]+, \1 sent$/);
  calls.length = 0;
  await load(pino, loading);
  expect(calls).toEqual(['GET /v1/tenants/pino']);
});

test('a changed document is sent again, one that is no longer shipped is removed', async () => {
  const { loading, calls, documents } = gateway();
  await load(pino, loading);
  documents.set('/v1/tenants/pino/documents/old.md', 'old');
  loading.sent['pino/old.md'] = 'x';
  loading.sent['pino/api.md'] = 'of an older version';
  calls.length = 0;
  await load(pino, loading);
  expect(calls).toEqual(['GET /v1/tenants/pino', 'PUT /v1/tenants/pino/documents/api.md', 'DELETE /v1/tenants/pino/documents/old.md']);
  expect(documents.has('/v1/tenants/pino/documents/old.md')).toBe(false);
});

test('on another cluster, where the tenant is not, all is sent again', async () => {
  const first = gateway();
  await load(pino, first.loading);
  const second = gateway();
  await load(pino, { ...second.loading, sent: first.loading.sent });
  expect(second.documents.size).toBe(first.documents.size);
});

test('a tenant that another start has just created is no error; a refusal is, and what was taken is remembered', async () => {
  const raced = gateway((method) => (method === 'POST' ? 409 : undefined));
  await load(pino, raced.loading);
  expect(raced.documents.size).toBeGreaterThan(10);
  const refusing = gateway((_, path) => (path.endsWith('/web.md') ? 400 : undefined));
  await expect(load(pino, refusing.loading)).rejects.toThrow(/pino\/web\.md was not taken: 400/);
  expect(refusing.saves()).toBe(1);
  expect(Object.keys(refusing.loading.sent).length).toBeGreaterThan(8);
});

test('a gateway that does not answer is no reason to believe that the tenant is there', async () => {
  const { loading } = gateway((method) => (method === 'GET' ? 503 : undefined));
  await expect(load(pino, loading)).rejects.toThrow(/503/);
  expect(loading.sent).toEqual({});
});

test('a changed policy of the table is set on a tenant that is there', async () => {
  const { loading, calls } = gateway();
  await load(pino, loading);
  calls.length = 0;
  await load({ ...pino, policy: { ...pino.policy, maxInFlight: 9 } }, loading);
  expect(calls).toEqual(['GET /v1/tenants/pino', 'PUT /v1/tenants/pino/policy']);
});

test('a local token speaks for its tenant, role and subject, for this platform alone, and ends', async () => {
  const { privateKey, publicKey } = await generateKeyPair('EdDSA', { extractable: true });
  const secrets = { issuer: { name: 'http://127.0.0.1:8080/local', privateJwk: await exportJWK(privateKey) } };
  const token = await mintToken(secrets, { tenant: 'pino', role: 'end_user', subject: 'ada', ttlSeconds: 60 });
  const { payload } = await jwtVerify(token, publicKey, { audience: 'evenkeel', issuer: secrets.issuer.name, algorithms: ['EdDSA'] });
  expect(payload).toMatchObject({ tenant: 'pino', role: 'end_user', sub: 'ada' });
  expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(60);
  expect(decodeJwt(await mintToken(secrets, { tenant: undefined, role: 'operator', subject: 'demo' }))).not.toHaveProperty('tenant');
});
