/**
 * Who calls: a JWT of an issuer that may speak for that tenant. The tenant comes from the credential alone. Verified claims are kept until
 * they expire, at most 60 s, beside their token; whether the tenant is suspended is asked on every call.
 */
import { readFileSync } from 'node:fs';
import { createLocalJWKSet, decodeJwt, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose';
import { EvenkeelError } from '#schemas/errors.ts';
import { isTenantId, type TenantId } from '#schemas/ids.ts';

const ROLES = ['end_user', 'tenant_admin', 'auditor', 'operator'] as const;
export type Role = (typeof ROLES)[number];
export type Caller = { readonly tenant: TenantId | undefined; readonly role: Role; readonly person: string; readonly expiresAt: number };
export type Issuer = {
  readonly issuer: string;
  readonly jwks: JSONWebKeySet;
  readonly tenants: '*' | readonly string[];
  readonly roles: readonly Role[];
};

const AUDIENCE = 'evenkeel';
const ALGORITHMS = ['EdDSA', 'ES256', 'RS256'];
const KEPT_MS = 60_000;
const KEPT_CLAIMS = 10_000;
const KEY_CHARACTERS = 32;
const MOST_TOKEN_CHARACTERS = 8_192;

/** @throws EvenkeelError `setting_invalid`: an issuer on loopback or plain HTTP is for a gateway that itself listens on loopback */
export function loadIssuers(file: string, httpHost: string): readonly Issuer[] {
  const issuers = readIssuers(file);
  const loopback = (host: string) => host === 'localhost' || host === '::1' || host === '[::1]' || host.startsWith('127.');
  for (const { issuer } of issuers) {
    const { protocol, hostname } = new URL(issuer);
    if ((protocol !== 'https:' || loopback(hostname)) && !loopback(httpHost))
      throw new EvenkeelError('setting_invalid', `the issuer ${issuer} is a local one, and this gateway listens on ${httpHost}`);
  }
  return issuers;
}

function readIssuers(file: string): readonly Issuer[] {
  let issuers: unknown;
  try {
    issuers = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new EvenkeelError('setting_invalid', `EVENKEEL_ISSUERS_FILE ${file} cannot be read as JSON: ${(cause as Error).message}`, { cause });
  }
  const sound = ({ issuer, jwks, tenants, roles }: Partial<Issuer>) =>
    typeof issuer === 'string' && URL.canParse(issuer) && Array.isArray(jwks?.keys) && (tenants === '*' || Array.isArray(tenants)) && Array.isArray(roles);
  if (!Array.isArray(issuers) || !issuers.every((each) => sound(each ?? {})))
    throw new EvenkeelError('setting_invalid', `EVENKEEL_ISSUERS_FILE ${file} holds a list of { issuer, jwks: { keys }, tenants: "*" or a list, roles }`);
  return issuers as readonly Issuer[];
}

export class Authenticator {
  readonly #issuers: ReadonlyMap<string, { readonly of: Issuer; readonly keys: ReturnType<typeof createLocalJWKSet> }>;
  /**
   * By the end of the token, which is of its signature and so unlike any other's: as a key the whole would be hashed for each request. It is
   * kept beside to be compared, in a memory that holds the master key too.
   */
  readonly #kept = new Map<string, { readonly authorization: string; readonly caller: Caller; readonly until: number }>();
  readonly #now: () => number;

  constructor(issuers: readonly Issuer[], now: () => number = Date.now) {
    this.#issuers = new Map(issuers.map((of) => [of.issuer, { of, keys: createLocalJWKSet(of.jwks) }]));
    this.#now = now;
  }

  /** At once for a credential that is known. Rejects with EvenkeelError `credential_missing`, `credential_invalid` */
  authenticate(authorization: string | undefined): Caller | Promise<Caller> {
    if (authorization === undefined || authorization.length > MOST_TOKEN_CHARACTERS) return this.#learn('');
    const kept = this.#kept.get(endOf(authorization));
    return kept?.authorization === authorization && kept.until > this.#now() ? kept.caller : this.#learn(authorization);
  }

  async #learn(authorization: string): Promise<Caller> {
    const token = /^Bearer ([\w.~+/-]+=*)$/i.exec(authorization)?.[1];
    if (!token) throw new EvenkeelError('credential_missing', 'send Authorization: Bearer <token>');
    const caller = await this.#verify(token);
    for (const old of this.#kept.keys()) {
      if (this.#kept.size < KEPT_CLAIMS) break;
      this.#kept.delete(old);
    }
    const key = endOf(authorization);
    // Learnt last, let go last.
    this.#kept.delete(key);
    this.#kept.set(key, { authorization, caller, until: Math.min(caller.expiresAt, this.#now() + KEPT_MS) });
    return caller;
  }

  async #verify(token: string): Promise<Caller> {
    try {
      const issuer = this.#issuers.get(decodeJwt(token).iss ?? '');
      if (!issuer) throw new Error('unknown issuer');
      const { payload } = await jwtVerify(token, issuer.keys, {
        issuer: issuer.of.issuer,
        audience: AUDIENCE,
        algorithms: ALGORITHMS,
        requiredClaims: ['exp', 'sub'],
        currentDate: new Date(this.#now()),
      });
      return callerOf(payload, issuer.of);
    } catch (cause) {
      throw new EvenkeelError('credential_invalid', `the token is not valid: ${(cause as Error).message}`, { cause });
    }
  }
}

const endOf = (authorization: string): string => authorization.slice(-KEY_CHARACTERS);

function callerOf({ tenant, role, sub, exp }: JWTPayload & { tenant?: unknown; role?: unknown }, issuer: Issuer): Caller {
  const known = ROLES.find((each) => each === role);
  if (!known || !issuer.roles.includes(known)) throw new Error('its issuer may not give that role');
  if (tenant !== undefined && !isTenantId(tenant)) throw new Error('it names no tenant');
  if (tenant === undefined && known !== 'operator') throw new Error('only an operator has no tenant');
  if (tenant !== undefined && issuer.tenants !== '*' && !issuer.tenants.includes(tenant)) throw new Error('its issuer may not speak for that tenant');
  if (!sub || sub.length > 256) throw new Error('its subject is empty or too long');
  return { tenant, role: known, person: sub, expiresAt: (exp ?? 0) * 1_000 };
}
