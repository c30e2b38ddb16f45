/** Digests: SHA-256, and HMAC under a tenant’s secret. */
import { createSecretKey, hash, hkdfSync, type KeyObject } from 'node:crypto';
import type { Command } from './commands.ts';
import { type HmacKey, hmac, hmacKey } from './hmac.ts';
import type { ConversationId, PersonId, RequestId, TenantId } from './ids.ts';
import { utf8Length } from './utf8.ts';

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  // By way of a string of its bytes: a buffer made by the binding costs more than the digest.
  return Buffer.from(hash('sha256', parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts), 'binary'), 'binary');
}

/** The same as text. */
export function sha256Text(bytes: Uint8Array | string): string {
  return hash('sha256', bytes, 'base64url');
}

/** Bytes for one purpose out of the platform's master key (HKDF-SHA256, RFC 5869). */
function derive(master: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', master, new Uint8Array(0), `evenkeel/${purpose}`, 32));
}

/** For ciphers. A key object is four times as fast in use as its bytes. */
export function deriveKey(master: Uint8Array, purpose: string): KeyObject {
  return createSecretKey(derive(master, purpose));
}
/** For keyed digests. */
export function deriveHmacKey(master: Uint8Array, purpose: string): HmacKey {
  return hmacKey(derive(master, purpose));
}

/** Each master key's tenant secrets, the bounded: every record asks for one, and deriving costs ten digests. */
const secrets = new WeakMap<Uint8Array, Map<TenantId, HmacKey>>();
const MOST_SECRETS = 20_000;

export function tenantSecret(master: Uint8Array, tenant: TenantId): HmacKey {
  let known = secrets.get(master);
  if (!known) {
    known = new Map();
    secrets.set(master, known);
  }
  let secret = known.get(tenant);
  if (!secret) {
    if (known.size >= MOST_SECRETS) known.clear();
    secret = deriveHmacKey(master, `tenant/${tenant}`);
    known.set(tenant, secret);
  }
  return secret;
}

/** Each part is length-prefixed, so that no two lists of parts have the same digest. */
export function keyedDigest(secret: HmacKey, ...parts: readonly string[]): string {
  let text = '';
  for (const part of parts) text += `${utf8Length(part)}:${part}`;
  return hmac(secret, 'base64url', text).slice(0, 22);
}

/** What a command says, without its id and its sender: the same whatever the order of its fields. */
export function commandDigest({ commandId: _id, by: _by, role: _role, ...says }: Command): string {
  const fields = Object.entries(says).sort(([a], [b]) => (a < b ? -1 : 1));
  return sha256Text(JSON.stringify(fields)).slice(0, 22);
}

export function personId(secret: HmacKey, person: string): PersonId {
  return `p_${keyedDigest(secret, 'person', person)}` as PersonId;
}
export function requestId(secret: HmacKey, person: string, sent: string): RequestId {
  return `r_${keyedDigest(secret, 'request', person, sent)}` as RequestId;
}
export function conversationId(secret: HmacKey, person: string, sent: string): ConversationId {
  return `c_${keyedDigest(secret, 'conversation', person, sent)}` as ConversationId;
}
