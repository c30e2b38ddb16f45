import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import { Authenticator, type Issuer, loadIssuers } from '#services/gateway/auth.ts';
import { issuer, token } from './gateway-desk.ts';

let known: Issuer;
let auth: Authenticator;
let now = Date.now();
beforeAll(async () => {
  known = await issuer();
  auth = new Authenticator([known, { ...known, issuer: 'https://narrow.test', tenants: ['acme'], roles: ['end_user'] }], () => now);
});
const refused = (authorization: string | undefined, of: Authenticator = auth) =>
  expect(of.authenticate(authorization)).rejects.toMatchObject({ code: expect.stringMatching(/^credential_/) });

describe('a token', () => {
  test('tells tenant, role and person', async () => {
    expect(await auth.authenticate(`Bearer ${await token({ tenant: 'acme', person: 'ann' })}`)).toMatchObject({
      tenant: 'acme',
      role: 'end_user',
      person: 'ann',
    });
  });

  test('is refused without a signature, under another algorithm, another key or another issuer', async () => {
    const claims = { role: 'end_user', tenant: 'acme', sub: 'ann', aud: 'evenkeel', iss: known.issuer, exp: Math.floor(now / 1_000) + 60 };
    await refused(`Bearer ${new UnsecuredJWT(claims).encode()}`);
    // The public key as an HMAC secret: the classic confusion of algorithms.
    const secret = Buffer.from(JSON.stringify(known.jwks.keys[0]));
    await refused(`Bearer ${await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'k' }).sign(secret)}`);
    const other = await generateKeyPair('EdDSA');
    await refused(`Bearer ${await new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', kid: 'k' }).sign(other.privateKey)}`);
    await refused(`Bearer ${await new SignJWT({ ...claims, iss: 'https://evil.test' }).setProtectedHeader({ alg: 'EdDSA', kid: 'k' }).sign(other.privateKey)}`);
    await refused('Bearer a.b.c');
    await refused('Basic YTpi');
    await refused(`Bearer ${'x'.repeat(9_000)}`);
    await refused(undefined);
  });

  test('is refused when its issuer may not speak for that tenant or role', async () => {
    const narrow = new Authenticator([{ ...known, tenants: ['acme'], roles: ['end_user'] }]);
    await narrow.authenticate(`Bearer ${await token({ tenant: 'acme' })}`);
    await refused(`Bearer ${await token({ tenant: 'globex' })}`, narrow);
    await refused(`Bearer ${await token({ tenant: 'acme', role: 'tenant_admin' })}`, narrow);
    await refused(`Bearer ${await token({ role: 'operator' })}`, narrow);
  });

  test('that is known vouches for no other with the same signature', async () => {
    const [head, claims, signature] = (await token({ tenant: 'acme' })).split('.') as [string, string, string];
    expect(await auth.authenticate(`Bearer ${head}.${claims}.${signature}`)).toMatchObject({ tenant: 'acme' });
    const other = Buffer.from(Buffer.from(claims, 'base64url').toString().replace('acme', 'evil')).toString('base64url');
    await refused(`Bearer ${head}.${other}.${signature}`);
    expect(await auth.authenticate(`Bearer ${head}.${claims}.${signature}`)).toMatchObject({ tenant: 'acme' });
  });

  test('is not kept beyond its end', async () => {
    const held = `Bearer ${await token({ tenant: 'acme', seconds: 30 })}`;
    await auth.authenticate(held);
    now += 31_000;
    await refused(held);
    now = Date.now();
  });
});

test('a local or plain issuer is for a gateway that listens on loopback', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'issuers-')), 'issuers.json');
  writeFileSync(file, JSON.stringify([{ ...known, issuer: 'http://127.0.0.1/local' }]));
  expect(loadIssuers(file, '127.0.0.1')).toHaveLength(1);
  expect(() => loadIssuers(file, '0.0.0.0')).toThrow(/local one/);
  writeFileSync(file, '[{"issuer":"https://a"}]');
  expect(() => loadIssuers(file, '127.0.0.1')).toThrow(/holds a list/);
  expect(() => loadIssuers(`${file}.none`, '127.0.0.1')).toThrow(/cannot be read/);
});
