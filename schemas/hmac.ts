/**
 * HMAC-SHA256 (RFC 2104) as two one-shot digests: half the time of an object of the binding for each, which the collector has to finalize
 * besides. Every request asks for five.
 */
import { type BinaryToTextEncoding, hash } from 'node:crypto';

const BLOCK = 64;
const DIGEST = 32;

/** The blocks that the two digests under a key begin with. */
export type HmacKey = { readonly inner: Uint8Array; readonly outer: Uint8Array };

export function hmacKey(secret: Uint8Array): HmacKey {
  const key = Buffer.alloc(BLOCK);
  key.set(secret.byteLength > BLOCK ? Buffer.from(hash('sha256', secret, 'hex'), 'hex') : secret);
  return { inner: key.map((byte) => byte ^ 0x36), outer: key.map((byte) => byte ^ 0x5c) };
}

/** Written over by the next one. */
let message = Buffer.alloc(4_096);
const outside = Buffer.alloc(BLOCK + DIGEST);

/** Over `text`, and after it `bytes`. */
export function hmac({ inner, outer }: HmacKey, encoding: BinaryToTextEncoding, text: string, bytes?: Uint8Array): string {
  const most = BLOCK + 3 * text.length + (bytes?.byteLength ?? 0);
  if (most > message.byteLength) message = Buffer.alloc(2 * most);
  message.set(inner);
  let end = BLOCK + message.write(text, BLOCK);
  if (bytes) {
    message.set(bytes, end);
    end += bytes.byteLength;
  }
  outside.set(outer);
  outside.write(hash('sha256', message.subarray(0, end), 'binary'), BLOCK, 'binary');
  return hash('sha256', outside, encoding);
}
