/**
 * Words sealed under a person's key, whose place is authenticated with them (invariant 8):
 *
 *     version (1 byte) | key id (16) | nonce | ciphertext | tag (16)
 *
 * Version 2 is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), whose nonces of 24 bytes may be random, by libsodium: one call of the binding.
 * A cipher of node:crypto takes six, and leaves the collector an object to finalize: an eighth of the gateway's time. Version 1,
 * AES-256-GCM with nonces of 12 bytes, is opened and not written any more: a history is never rewritten.
 */
import { type CipherKey, createCipheriv, createDecipheriv } from 'node:crypto';
import sodium from 'sodium-native';
import { bufferOf } from '#schemas/buffer.ts';

/** A person's key of 32 bytes, and its id as sealed words name it. */
export type WordsKey = { readonly bytes: Buffer; readonly id: Buffer };
export type Random = (bytes: number) => Uint8Array;

const [VERSION, GCM_VERSION] = [2, 1];
export const KEY_ID_BYTES = 16;
const [NONCE, GCM_NONCE, TAG] = [24, 12, 16];
const NONCE_AT = 1 + KEY_ID_BYTES;
const HEADER = NONCE_AT + NONCE;

/** `place`: whose words they are, and the record that they belong to. */
export function sealWords({ bytes, id }: WordsKey, place: string, words: Uint8Array, random: Random): Uint8Array {
  const sealed = Buffer.allocUnsafe(HEADER + words.byteLength + TAG);
  sealed[0] = VERSION;
  sealed.set(id, 1);
  sealed.set(random(NONCE), NONCE_AT);
  const nonce = sealed.subarray(NONCE_AT, HEADER);
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(sealed.subarray(HEADER), bufferOf(words), Buffer.from(place), null, nonce, bytes);
  return sealed;
}

/** The id of the key that opens them, in hex. undefined: these are no sealed words of a version that is known. */
export function keyIdOf(sealed: Buffer): string | undefined {
  const nonce = sealed[0] === VERSION ? NONCE : sealed[0] === GCM_VERSION ? GCM_NONCE : undefined;
  if (nonce === undefined || sealed.byteLength < NONCE_AT + nonce + TAG) return undefined;
  return sealed.subarray(1, NONCE_AT).toString('hex');
}

/** Of `sealed` that have a key id. @throws Error when they were not sealed under this key for this place */
export function openWords({ bytes }: WordsKey, place: string, sealed: Buffer): Uint8Array {
  if (sealed[0] === GCM_VERSION) return openGcm(bytes, place, sealed.subarray(NONCE_AT));
  const words = Buffer.allocUnsafe(sealed.byteLength - HEADER - TAG);
  sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(words, null, sealed.subarray(HEADER), Buffer.from(place), sealed.subarray(NONCE_AT, HEADER), bytes);
  return words;
}

/** nonce | ciphertext | tag: how keys are wrapped. */
export function sealGcm(key: CipherKey, place: string, bytes: Uint8Array, random: Random): Buffer {
  const nonce = random(GCM_NONCE);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(place));
  return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
}

/** @throws Error when it was not sealed so */
export function openGcm(key: CipherKey, place: string, sealed: Uint8Array): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, GCM_NONCE));
  decipher.setAAD(Buffer.from(place));
  decipher.setAuthTag(sealed.subarray(-TAG));
  return Buffer.concat([decipher.update(sealed.subarray(GCM_NONCE, -TAG)), decipher.final()]);
}
