import { Registry } from 'prom-client';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Event } from '#schemas/events.ts';
import type { MicroUsd, RequestId, TenantId } from '#schemas/ids.ts';
import { Lifecycle } from '#services/gateway/lifecycle.ts';
import { type Measured, measure } from '#services/gateway/metrics.ts';
import { View } from '#services/gateway/view.ts';
import { windowKeys } from '#streams/support/ledger.ts';
import { DEMO, type DemoDesk, Storyteller } from '../browser/demo.ts';

const NOON = 20_000 * 86_400_000 + 43_200_000;
const desk = { ...(DEMO[0] as DemoDesk), requests: 0, running: 0, waiting: 0, handed: 0, late: 0 };
const fastify = desk.tenant as TenantId;
let now: number;
let view: View;
let lifecycle: Lifecycle;
let story: Storyteller;
beforeEach(() => {
  now = NOON;
  view = new View(() => now, 3);
  lifecycle = new Lifecycle();
  story = new Storyteller(view, lifecycle);
  story.tell(desk, now);
});

describe('the view', () => {
  test('has yesterday’s burn no longer, when no event has said that it is tomorrow', () => {
    story.life(desk, now);
    expect(view.numbers(fastify)?.burn_today_micro_usd).toBeGreaterThan(0);
    now += 86_400_000;
    expect(view.numbers(fastify)).toMatchObject({ burn_today_micro_usd: 0, answered: 1 });
    expect(view.numbers(fastify)?.spent_total_micro_usd).toBeGreaterThan(0);
  });

  test('keeps what runs and what has ended through a flood at the door', () => {
    for (let at = 0; at < 20; at++) story.life(desk, now);
    for (let at = 0; at < 500; at++) story.refuse(fastify, now);
    for (let at = 0; at < 500; at++) story.begin(desk, now, false);
    const recent = view.recent(fastify);
    expect(recent.length).toBeLessThanOrEqual(50);
    expect(recent.filter(({ outcome }) => outcome === 'answered')).toHaveLength(20);
  });

  test('tells the whole life of one that had left the list', () => {
    const ids = story.queue(desk, now);
    for (let at = 0; at < 200; at++) story.begin(desk, now, false);
    expect(view.stages(fastify, ids.request)).toBeUndefined();
    story.hold(ids, now + 10);
    expect(view.stages(fastify, ids.request)?.map(({ stage }) => stage)).toEqual(['queued', 'running']);
  });

  test('keeps rows in bounds: beyond the liveliest tenants only the account', () => {
    for (const tenant of ['a1', 'b1', 'c1']) {
      story.tell({ ...desk, tenant }, now);
      story.life({ ...desk, tenant }, now);
    }
    expect(view.numbers(fastify)).toBeDefined();
    expect(view.recent('a1' as TenantId)).toHaveLength(1);
    story.tell({ ...desk, tenant: 'd1' }, now);
    expect(view.recent('a1' as TenantId)).toHaveLength(0);
    expect(view.numbers('a1' as TenantId)).toMatchObject({ answered: 1, p95_ms: null });
    expect(view.liveliest(2)).toHaveLength(2);
  });

  test('bounds the stages of one request', () => {
    const ids = story.queue(desk, now);
    story.hold(ids, now);
    for (let at = 0; at < 200; at++) story.step(ids, `s${at}`, now, 1, 0);
    expect(view.recent(fastify)[0]?.stages.length).toBeLessThanOrEqual(64);
  });
});

describe('the metrics', () => {
  let registry: Registry;
  let measured: Measured;
  beforeEach(() => {
    registry = new Registry();
    measured = measure(registry, view);
    lifecycle.onAny(measured.happened);
  });

  test('say what each tenant had, spent and was refused', async () => {
    story.life(desk, now);
    story.refuse(fastify, now);
    measured.refused(fastify, 'rate_limited');
    story.begin(desk, now, true);
    story.begin(desk, now, false);
    const text = await registry.metrics();
    for (const line of [
      'evenkeel_requests_finished_total{tenant="fastify",outcome="answered",reason="answered"} 1',
      'evenkeel_requests_refused_total{tenant="fastify",code="rate_limited"} 1',
      'evenkeel_gateway_refusals_total{tenant="fastify",code="rate_limited"} 1',
      'evenkeel_request_seconds_count{tenant="fastify"} 1',
      'evenkeel_in_flight{tenant="fastify"} 1',
      'evenkeel_queued{tenant="fastify"} 1',
      `evenkeel_cost_micro_usd_total{tenant="fastify"} ${view.numbers(fastify)?.burn_today_micro_usd}`,
      'evenkeel_budget_day_micro_usd{tenant="fastify"} 5000000',
    ])
      expect(text).toContain(line);
  });

  test('say which rung was taken, why, and which alerts are out', async () => {
    const ids = story.queue(desk, now);
    story.hold(ids, now);
    const { day: key } = windowKeys(now);
    const forecast = { tenant: fastify, window: 'day', key, unit: 'micro_usd', spent: 1, limit: 2, exhaustedAt: now } as const;
    story.event({ type: 'forecast_raised', ...forecast }, now);
    const degraded = { mode: 'passages', reason: 'tool_failure', detail: 'breaker_open' } as const;
    const ended = { outcome: 'answered', reason: 'answered', cost: 0 as MicroUsd, queuedMs: 1, ranMs: 1, ran: true, citations: 1, retryAfterMs: null } as const;
    story.event({ type: 'request_finished', ...ids, ...ended, degraded }, now);
    const lines = (await registry.metrics()).split('\n');
    expect(lines).toContain('evenkeel_requests_degraded_total{tenant="fastify",mode="passages",detail="breaker_open"} 1');
    expect(lines).toContain('evenkeel_alerts{tenant="fastify",alert="budget_forecast"} 1');
    expect(view.numbers(fastify)?.alerts).toEqual(['budget_forecast']);
    story.event({ type: 'alert_cleared', tenant: fastify, alert: 'budget_forecast', window: 'day', key, unit: 'micro_usd' }, now);
    expect(view.numbers(fastify)?.alerts).toEqual([]);
  });

  test('name at most 200 tenants, and count the rest together', async () => {
    for (let at = 0; at < 300; at++) {
      const event: Event = {
        type: 'request_refused',
        tenant: `t${at}` as TenantId,
        request: 'r' as RequestId,
        conversation: 'c' as never,
        person: 'p' as never,
        source: 'http',
        code: 'queue_full',
        limitName: 'queue_length',
        limit: 1,
        observed: 1,
        retryAfterMs: null,
      };
      measured.happened({ event, offset: at, at: now });
    }
    const lines = (await registry.metrics()).split('\n').filter((line) => line.startsWith('evenkeel_requests_refused_total{'));
    expect(lines).toHaveLength(201);
    expect(lines.find((line) => line.includes('"other"'))).toContain(' 100');
  });
});
