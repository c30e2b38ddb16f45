/** The local token issuer: for the command line and the demo on one machine. A real deployment brings its own issuers. */
import { importJWK, type JWK, SignJWT } from 'jose';

/** What `npm start` keeps in `.evenkeel/secrets.json`, which only its owner can read. */
export type LocalSecrets = { readonly issuer: { readonly name: string; readonly privateJwk: JWK } };
export type TokenOf = {
  readonly tenant: string | undefined;
  readonly role: 'end_user' | 'tenant_admin' | 'auditor' | 'operator';
  readonly subject: string;
  readonly ttlSeconds?: number;
};

export async function mintToken({ issuer }: LocalSecrets, { tenant, role, subject, ttlSeconds = 3_600 }: TokenOf): Promise<string> {
  const key = await importJWK(issuer.privateJwk, 'EdDSA');
  return new SignJWT({ role, ...(tenant === undefined ? {} : { tenant }) })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'local' })
    .setIssuer(issuer.name)
    .setAudience('evenkeel')
    .setSubject(subject)
    .setIssuedAt()
    .setExpirationTime(`${ttlSeconds}s`)
    .sign(key);
}
