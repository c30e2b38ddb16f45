/** What is written into one buffer is, record for record and byte for byte, what another's encoder writes. */
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { committedRecords } from '#streams/kafka/fetch.ts';
import { encodeBatch } from '#streams/kafka/record-batch.ts';

const require = createRequire(import.meta.url);
const Record = require('kafkajs/src/protocol/recordBatch/record/v0') as (of: object) => unknown;
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as { RecordBatch(of: object): Promise<{ buffer: Buffer }> };
const Long = require('kafkajs/src/utils/long') as { fromValue(value: string): unknown };

const bytes = fc.uint8Array({ maxLength: 300 });
const record = fc.record({
  topic: fc.constant('t'),
  key: fc.string({ unit: 'grapheme', maxLength: 80 }),
  value: fc.option(bytes),
  headers: fc.dictionary(fc.string({ minLength: 1, maxLength: 20 }), fc.oneof(bytes, fc.string({ unit: 'grapheme', maxLength: 40 })), { maxKeys: 4 }),
});
const writer = fc.record({
  id: fc.bigInt({ min: 0n, max: 2n ** 62n }),
  epoch: fc.integer({ min: 0, max: 32_767 }),
  sequence: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  transactional: fc.boolean(),
  time: fc.integer({ min: 0, max: 2 ** 52 }),
});

test('a batch is byte for byte what kafkajs encodes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 40 }), writer, async (records, of) => {
      const theirs = await RecordBatch({
        firstTimestamp: Long.fromValue(String(of.time)),
        maxTimestamp: Long.fromValue(String(of.time)),
        lastOffsetDelta: records.length - 1,
        transactional: of.transactional,
        producerId: Long.fromValue(String(of.id)),
        producerEpoch: of.epoch,
        firstSequence: of.sequence,
        records: records.map(({ key, value, headers }, offsetDelta) =>
          Record({ offsetDelta, timestampDelta: 0, key: Buffer.from(key), value: value && Buffer.from(value), headers: asBuffers(headers) }),
        ),
      });
      // Theirs is an Encoder that carries the length in front of the bytes, as ours does.
      expect(encodeBatch(records, of).equals(theirs.buffer)).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test('room is reckoned for records that take the most: three bytes a character, lone surrogates, and many small headers', () => {
  const wide = (count: number) => '\u20ac\ud800'.repeat(count);
  const headers = Object.fromEntries(Array.from({ length: 64 }, (_, at) => [String.fromCharCode(0x3000 + at), new Uint8Array(0)]));
  const records = [wide(40), wide(4_000)].map((key) => ({ topic: 't', key, value: null, headers }));
  const of = { id: 1n, epoch: 0, sequence: 0, transactional: false, time: 0 };
  const written = committedRecords({ bytes: encodeBatch(records, of), aborted: [] }, 0).records;
  expect(written.map(({ key, headers: each }) => [key, Object.keys(each).length])).toEqual(records.map(({ key }) => [key.toWellFormed(), 64]));
});

const asBuffers = (headers: Readonly<{ [name: string]: Uint8Array | string }>) =>
  Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, Buffer.from(header as string)]));
