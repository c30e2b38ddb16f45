import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import { partitionOf } from '#schemas/topics.ts';

const codec = createCodec(localSchemas());
const request = {
  tenantId: 'acme',
  requestId: '1',
  person: 'ann',
  role: 'end_user',
  conversationId: null,
  deadlineMs: 5_000,
  message: 'How do I add a hook?',
  metadata: null,
  sealed: null,
};

describe('hostile bytes are bounded before they are decoded', () => {
  test('what was encoded is read back', () => {
    expect(codec.decodeHostile(codec.encode('support_request', request), 10_000)).toMatchObject({ name: 'support_request', value: request });
  });

  test('any bytes end as a record or as one of our errors, at once', () => {
    const header = codec.encode('support_request', request).subarray(0, 5);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
        try {
          codec.decodeHostile(Buffer.concat([header, tail]), 1_000);
        } catch (error) {
          expect(error).toBeInstanceOf(EvenkeelError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('an array that announces two billion entries is refused', () => {
    const header = codec.encode('batch', { number: 1, events: 0, inputs: [], time: 0, version: 1, partitions: 1 }).subarray(0, 5);
    const bytes = Buffer.concat([header, Buffer.from([2, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f])]);
    expect(() => codec.decodeHostile(bytes, 1_000)).toThrow(expect.objectContaining({ code: 'record_hostile' }));
  });

  test('an unknown schema id, a missing header and too many bytes each have their own reason', () => {
    expect(() => codec.decodeHostile(Buffer.from([0, 0, 0, 255, 255]), 100)).toThrow(expect.objectContaining({ code: 'schema_unknown' }));
    expect(() => codec.decodeHostile(Buffer.from('{"json":1}'), 100)).toThrow(expect.objectContaining({ code: 'record_unreadable' }));
    expect(() => codec.decodeHostile(new Uint8Array(101), 100)).toThrow(expect.objectContaining({ code: 'record_too_large' }));
  });
});

test('partitionOf is Kafka’s murmur2 of the tenant, sign bit cleared', () => {
  // Computed by org.apache.kafka.clients.producer.internals' default partitioner for 8 partitions.
  const of = (name: string) => partitionOf(name as TenantId, 1_000_000);
  expect([of('21'), of('foobar'), of('a-little-bit-long-string')]).toEqual([
    (-973932308 & 0x7fffffff) % 1_000_000,
    (-790332482 & 0x7fffffff) % 1_000_000,
    (-985981536 & 0x7fffffff) % 1_000_000,
  ]);
});
