import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gcra } from '#services/gateway/rate.ts';

const rates = fc.record({ requestsPerSecond: fc.integer({ min: 1, max: 1_000 }), burst: fc.integer({ min: 1, max: 200 }) });
const gaps = fc.array(fc.double({ min: 0, max: 2_000, noNaN: true }), { minLength: 1, maxLength: 300 });

test('in any interval at most burst + rate × interval pass', () => {
  fc.assert(
    fc.property(rates, gaps, (rate, waits) => {
      const passed: number[] = [];
      let [tat, now] = [0, 1e12];
      for (const wait of waits) {
        now += wait;
        const verdict = gcra(tat, now, rate);
        if (!verdict.conforms) continue;
        tat = verdict.tat;
        passed.push(now);
      }
      for (let first = 0; first < passed.length; first++) {
        const last = passed.length - 1;
        const most = rate.burst + (rate.requestsPerSecond * ((passed[last] as number) - (passed[first] as number))) / 1_000;
        expect(last - first + 1).toBeLessThanOrEqual(most + 1e-3);
      }
    }),
  );
});

test('whoever waits as long as told passes, and not before', () => {
  fc.assert(
    fc.property(rates, gaps, (rate, waits) => {
      let [tat, now] = [0, 1e12];
      for (const wait of waits) {
        now += wait / 100;
        const verdict = gcra(tat, now, rate);
        if (verdict.conforms) {
          tat = verdict.tat;
          continue;
        }
        expect(gcra(tat, now + verdict.retryAfterMs * 0.99 - 0.01, rate).conforms).toBe(false);
        expect(gcra(tat, now + verdict.retryAfterMs + 0.01, rate).conforms).toBe(true);
      }
    }),
  );
});

test('a tenant at rest may send its whole burst at once', () => {
  let tat = 0;
  const rate = { requestsPerSecond: 10, burst: 5 };
  const verdicts = Array.from({ length: 6 }, () => {
    const verdict = gcra(tat, 1e6, rate);
    if (verdict.conforms) tat = verdict.tat;
    return verdict.conforms;
  });
  expect(verdicts).toEqual([true, true, true, true, true, false]);
});
