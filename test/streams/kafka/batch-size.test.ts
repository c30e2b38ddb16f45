import { expect, test } from 'vitest';
import { TOPICS } from '#schemas/topics.ts';
import { nextSend } from '#streams/kafka/batch-size.ts';
import { classify } from '#streams/kafka/client.ts';

const bytes = Buffer.alloc(4_194_304);
const record = (topic: string, size: number) => ({ topic, partition: 0, key: 'acme', value: bytes.subarray(0, size) });

test('a send stays below what its topic takes in one batch, and never stands still', () => {
  for (const [topic, { maxMessageBytes }] of Object.entries(TOPICS)) {
    for (const size of [10, 1_000, 60_000, maxMessageBytes - 1_000]) {
      let left = Array.from({ length: 200 }, () => record(topic, size));
      while (left.length > 0) {
        const count = nextSend(left);
        expect(count).toBeGreaterThan(0);
        expect(count === 1 || count * (size + 100) < maxMessageBytes).toBe(true);
        left = left.slice(count);
      }
    }
  }
});

test('a fence is recognised however deep it stands', () => {
  const fence = Object.assign(new Error('epoch'), { code: 47, type: 'INVALID_PRODUCER_EPOCH' });
  const wrapped = Object.assign(new Error('retries exceeded'), { cause: Object.assign(new Error('inner'), { cause: fence }) });
  expect(classify(fence, 'x').code).toBe('fenced');
  expect(classify(wrapped, 'x').code).toBe('fenced');
  expect(classify(Object.assign(new Error('fenced'), { code: 90 }), 'x').code).toBe('fenced');
  expect(classify(Object.assign(new Error('no'), { type: 'TOPIC_AUTHORIZATION_FAILED' }), 'x').code).toBe('forbidden');
  expect(classify(new Error('socket'), 'x')).toMatchObject({ code: 'commit_failed', class: 'retryable' });
  expect(classify(new Error('socket'), 'x', 'unavailable').code).toBe('unavailable');
});
