import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { gcra } from '#services/gateway/rate.ts';
import { bearer, openDesk } from './gateway-desk.ts';

afterEach(() => void vi.useRealTimers());

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

test('20 a second with a burst of 40, over HTTP: as many are taken as GCRA says, to the request, and a 429 says when one will be', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const desk = await openDesk();
  const post = async (url: string, claims: object, payload: object) => desk.app.inject({ method: 'POST', url, headers: await bearer(claims), payload });
  const policy = { requestsPerSecond: 20, burst: 40, maxQueued: 10_000, maxInFlight: 1_000 };
  expect((await post('/v1/tenants', { role: 'operator' }, { tenant_id: 'acme', policy })).statusCode).toBe(201);
  // A bucket of two seconds, and each request takes fifty milliseconds out of it.
  let [credit, now] = [2_000, Date.now()];
  for (const [waited, asked] of [
    [0, 60],
    [49, 3],
    [1, 3],
    [50, 3],
    [125, 9],
    [1_000, 40],
    [333, 40],
    [60_000, 90],
  ] as const) {
    now += waited;
    vi.setSystemTime(now);
    credit = Math.min(2_000, credit + waited);
    const conform = Math.min(asked, Math.floor(credit / 50));
    credit -= conform * 50;
    const replies = await Promise.all(Array.from({ length: asked }, () => post('/v1/requests', { tenant: 'acme' }, { message: 'How?' })));
    expect(replies.filter(({ statusCode }) => statusCode === 202)).toHaveLength(conform);
    const refused = replies.filter(({ statusCode }) => statusCode === 429);
    expect(refused).toHaveLength(asked - conform);
    for (const reply of refused) {
      expect(reply.json()).toMatchObject({ code: 'rate_limited', limit: 20, balance: 0, retry_after_ms: 50 - (credit % 50) });
      expect(reply.headers).toMatchObject({ 'retry-after': '1', ratelimit: expect.stringContaining(';r=0;') });
    }
  }
  await desk.close();
});
