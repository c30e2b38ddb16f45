/**
 * The signature of a record on `support.requests`: over the topic, the key and the exact bytes of the value, so that tenant, person,
 * request id, role, conversation, deadline and body are all covered, and no canonical form is needed.
 * Header `ek-kid` names the key, header `ek-sig` is the raw signature. The gateway signs with the platform's key (kid `platform`,
 * HMAC-SHA256), a tenant's own producer with Ed25519 (RFC 8032) under a public key in the tenant's policy.
 */
import { createPublicKey, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto';
import { deriveHmacKey } from './digest.ts';
import { type HmacKey, hmac } from './hmac.ts';

export const KID_HEADER = 'ek-kid';
export const SIGNATURE_HEADER = 'ek-sig';
export const PLATFORM_KID = 'platform';

/** The key under which the gateway signs and the runtime verifies. */
export function platformSignatureKey(master: Uint8Array): HmacKey {
  return deriveHmacKey(master, 'platform-signature');
}

/** What is signed: this, and after it the value. */
const head = (topic: string, key: string): string => `evenkeel-request-v1\n${topic}\n${key}\n`;

function signed(topic: string, key: string, value: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(head(topic, key)), value]);
}

export function signPlatform(secret: HmacKey, topic: string, key: string, value: Uint8Array): Uint8Array {
  return Buffer.from(hmac(secret, 'binary', head(topic, key), value), 'binary');
}

export function verifyPlatform(secret: HmacKey, topic: string, key: string, value: Uint8Array, signature: Uint8Array): boolean {
  return signature.byteLength === 32 && timingSafeEqual(signPlatform(secret, topic, key, value), signature);
}

export function signProducer(privateKey: KeyObject, topic: string, key: string, value: Uint8Array): Uint8Array {
  return sign(null, signed(topic, key, value), privateKey);
}

/** Imported public keys, bounded: importing one costs more than a verification. */
const imported = new Map<string, KeyObject>();
const MOST_IMPORTED = 20_000;

function importKey(publicKey: string): KeyObject {
  let key = imported.get(publicKey);
  if (!key) {
    if (imported.size >= MOST_IMPORTED) imported.clear();
    key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey }, format: 'jwk' });
    imported.set(publicKey, key);
  }
  return key;
}

/** `publicKey`: 32 bytes in base64url, as in the policy's `producerKeys`. */
export function verifyProducer(publicKey: string, topic: string, key: string, value: Uint8Array, signature: Uint8Array): Promise<boolean> {
  if (signature.byteLength !== 64) return Promise.resolve(false);
  // Off the event loop: 140 µs a record, so that a batch of a flood does not hold up what else the process does.
  return new Promise((resolve, reject) => {
    verify(null, signed(topic, key, value), importKey(publicKey), signature, (error, matches) => (error ? reject(error) : resolve(matches)));
  });
}
