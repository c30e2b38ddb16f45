import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hmac, hmacKey } from '#schemas/hmac.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });

test('a keyed digest is what another implementation says, whatever the lengths of key, text and bytes', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 300 });
  fc.assert(
    fc.property(bytes(150), text, fc.option(bytes(6_000)), (secret, said, after) => {
      const expected = createHmac('sha256', secret)
        .update(said)
        .update(after ?? Buffer.alloc(0));
      expect(hmac(hmacKey(secret), 'hex', said, after ?? undefined)).toBe(expected.digest('hex'));
    }),
  );
});
