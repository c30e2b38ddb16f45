/** Calls between the platform's own processes are signed with a key that only they can derive: an open ops port tells strangers nothing of a tenant. */
import { timingSafeEqual } from 'node:crypto';
import { deriveHmacKey, keyedDigest } from '#schemas/digest.ts';

export const CALL_HEADER = 'evenkeel-call';

/** `target`: path and query, which are all that such a call says. */
export function signCall(masterKey: Uint8Array, target: string): string {
  return keyedDigest(deriveHmacKey(masterKey, 'internal-call'), target);
}

export function isSigned(masterKey: Uint8Array, target: string, signature: string | undefined): boolean {
  const [expected, given] = [Buffer.from(signCall(masterKey, target)), Buffer.from(signature ?? '')];
  return expected.byteLength === given.byteLength && timingSafeEqual(expected, given);
}
