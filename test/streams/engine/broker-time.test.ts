import { expect, test } from 'vitest';
import { BrokerTime } from '#streams/engine/broker-time.ts';

const HOUR = 3_600_000;

function clock() {
  const at = { now: 0 };
  return { at, time: new BrokerTime({ monotonic: () => at.now, after: () => () => undefined }) };
}

test('time goes on by the monotonic clock and never back', () => {
  const { at, time } = clock();
  time.observe(25 * HOUR);
  at.now = 10;
  time.observe(5);
  expect(time.now()).toBe(25 * HOUR + 10);
});

// Found by the simulation: the broker's clock was a day ahead for a moment, and every request of the next day was refused as late.
test('after the broker’s clock was set back, a record that was just appended is new, and one that waited is as old as it waited', () => {
  const { at, time } = clock();
  time.replied(26 * HOUR);
  time.replied(HOUR);
  expect(time.appendedAt(HOUR)).toBe(26 * HOUR);
  at.now = 5_000;
  expect(time.appendedAt(HOUR + 5_000)).toBe(26 * HOUR + 5_000);
  expect(time.appendedAt(HOUR)).toBe(26 * HOUR);
  expect(time.appendedAt(25.5 * HOUR)).toBe(time.now());
});

test('a record that waited for hours is as old as it is while the broker’s clock is right', () => {
  const { time } = clock();
  time.replied(26 * HOUR);
  expect(time.appendedAt(HOUR)).toBe(HOUR);
});
