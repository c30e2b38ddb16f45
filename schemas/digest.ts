/** Digests: SHA-256, HMAC under a tenant's secret, and the audit chain. */
import { createHash, createHmac, hkdfSync } from 'node:crypto';
import type { ConversationId, PersonId, RequestId, TenantId } from './ids.ts';

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** The next link of a hash chain: SHA-256 over the last link and the entry's bytes. */
export function chain(previous: Uint8Array, entry: Uint8Array): Uint8Array {
  return sha256(previous, entry);
}

/** A key for one purpose out of the platform's master key (HKDF-SHA256, RFC 5869). */
export function deriveKey(master: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', master, new Uint8Array(0), `evenkeel/${purpose}`, 32));
}

export function tenantSecret(master: Uint8Array, tenant: TenantId): Uint8Array {
  return deriveKey(master, `tenant/${tenant}`);
}

/** Each part is length-prefixed, so that no two lists of parts have the same digest. */
export function keyedDigest(secret: Uint8Array, ...parts: readonly string[]): string {
  const mac = createHmac('sha256', secret);
  for (const part of parts) mac.update(`${Buffer.byteLength(part)}:`).update(part);
  return mac.digest('base64url').slice(0, 22);
}

export function personId(secret: Uint8Array, person: string): PersonId {
  return `p_${keyedDigest(secret, 'person', person)}` as PersonId;
}
export function requestId(secret: Uint8Array, person: string, sent: string): RequestId {
  return `r_${keyedDigest(secret, 'request', person, sent)}` as RequestId;
}
export function conversationId(secret: Uint8Array, person: string, sent: string): ConversationId {
  return `c_${keyedDigest(secret, 'conversation', person, sent)}` as ConversationId;
}
