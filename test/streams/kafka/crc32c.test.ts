import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32c } from '#streams/kafka/crc32c.ts';

const kafkajs = createRequire(import.meta.url)('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Uint8Array) => number;

test('the checksum of any part of any bytes is what another implementation says, and the check value of the standard', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(20), fc.nat(20), (bytes, from, cut) => {
      const to = Math.max(0, bytes.length - cut);
      const start = Math.min(from, to);
      expect(crc32c(bytes, start, to)).toBe(kafkajs(bytes.subarray(start, to)));
    }),
  );
  expect(crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe3069283);
});
