/** Every rung of the ladder as a client sees it over HTTP, with a provider that misbehaves; and what a request is billed. */
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Event, EventOf } from '#schemas/events.ts';
import { type Behaviour, USAGE } from '../services/bad-provider.ts';
import { Desk, PRICES } from './desk.ts';

const RUN = Date.now().toString(36);
const TENANTS = ['rungs', 'down', 'budget', 'busy', 'late', 'broken', 'badkey', 'good', 'bill', 'storm'].map((name) => `ladder-${name}-${RUN}`);
const [RUNGS, DOWN, BUDGET, BUSY, LATE, BROKEN, BADKEY, GOOD, BILL, STORM] = TENANTS as [
  string,
  string,
  string,
  string,
  string,
  string,
  string,
  string,
  string,
  string,
];
const QUESTION = 'What is the export limit?';
const ELSEWHERE = 'Does the export of Lisbon have a colour?';
const FULL_COST = Math.ceil((USAGE.prompt_tokens * PRICES.big.input + USAGE.completion_tokens * PRICES.big.output) / 1_000);
const desk = new Desk(inject('kafka'));
const { provider } = desk;

beforeAll(() => desk.start(TENANTS, { EVENKEEL_MODEL_TIMEOUT_MS: '500', EVENKEEL_BREAKER_MS: '400' }), 90_000);
afterAll(() => desk.stop());
beforeEach(() => {
  provider.behaviour.clear();
  provider.calls.length = 0;
});

const of = <K extends Event['type']>(events: readonly Event[], type: K) => events.filter((event): event is EventOf<K> => event.type === type);
const rung = (mode: string, reason: string, detail: string) => ({ mode, reason, detail });
let asked = 0;
/** A question that no answer is kept for. */
const fresh = () => `What is the export limit of part ${++asked}?`;

describe('the provider misbehaves, and the answer says on which rung it was given', () => {
  test('it does not: full', async () => {
    expect(await desk.ask(RUNGS, QUESTION)).toMatchObject({ outcome: 'answered', degraded: null, cost_micro_usd: FULL_COST, retry_at: null });
  });

  test.each<readonly [Behaviour, string, string]>([
    ['429, retry after 1', 'http_429', 'provider_busy'],
    ['500', 'http_500', 'provider_failed'],
    ['stall', 'timeout', 'provider_failed'],
    ['half', 'unreadable', 'provider_failed'],
    ['garbage', 'unreadable', 'provider_failed'],
  ])('%s: the cheaper model', async (behaviour, code, detail) => {
    const tenant = RUNGS;
    provider.behaviour.set(`${tenant}-key big`, behaviour);
    const answer = await desk.ask(tenant, fresh());
    const degraded = rung('cheaper_model', detail === 'provider_busy' ? 'overload' : 'tool_failure', detail);
    expect(answer).toMatchObject({ outcome: 'answered', degraded });
    expect(answer.answer).toContain('(small)');
    const events = (await desk.history(tenant)).filter((event) => 'request' in event && event.request === answer.request_id);
    // The retry budget may have paid for a second attempt.
    for (const failed of of(events, 'step_failed')) expect(failed).toMatchObject({ step: 'model-1', code });
    expect(of(events, 'step_failed')[0]).toMatchObject({ attempt: 1 });
    expect(of(events, 'request_finished')).toMatchObject([{ degraded, cost: answer.cost_micro_usd }]);
    provider.behaviour.clear();
    // What the provider asked for is over, and its breaker has not opened for the next case.
    await expect.poll(async () => (await desk.ask(tenant, fresh())).degraded, { timeout: 10_000 }).toBe(null);
  });

  test('all models fail: the answer from before, else passages, else a refusal with when to try again; each is counted', async () => {
    const first = await desk.ask(DOWN, QUESTION);
    provider.set('500');
    expect(await desk.ask(DOWN, QUESTION)).toMatchObject({
      answer: first.answer,
      degraded: rung('cached', 'tool_failure', 'provider_failed'),
      cost_micro_usd: 0,
    });
    const passages = await desk.ask(DOWN, fresh());
    expect(passages).toMatchObject({ outcome: 'answered', degraded: rung('passages', 'tool_failure', 'provider_failed'), cost_micro_usd: 0 });
    expect(passages.answer).toContain('ten thousand rows');
    provider.set('429, retry after 9');
    const refused = await desk.ask(DOWN, ELSEWHERE);
    expect(refused).toMatchObject({ outcome: 'refused', degraded: { mode: 'passages' } });
    expect(Date.parse(refused.retry_at)).toBeGreaterThan(Date.now());
    const metrics = await desk.metrics('gateway');
    for (const mode of ['cached', 'passages'])
      expect(metrics).toMatch(new RegExp(`evenkeel_requests_degraded_total\\{tenant="${DOWN}",mode="${mode}",detail="\\w+"\\} [1-9]`));
    expect(await desk.metrics('runtime')).toMatch(/evenkeel_answer_cache_lookups_total\{result="hit"\} [1-9]/);
  });
});

describe('what else takes a rung', () => {
  test('a spent budget: the cheaper model while it can be paid, then no model; a person, and when the budget begins anew', async () => {
    const { spent_total_micro_usd: spent } = await desk.account(BUDGET);
    await desk.policy(BUDGET, { budgetDay: spent + 10_000 });
    expect(await desk.ask(BUDGET, fresh())).toMatchObject({ outcome: 'answered', degraded: rung('cheaper_model', 'budget', 'budget_spent') });
    await desk.policy(BUDGET, { budgetDay: 0 });
    const calls = provider.calls.length;
    expect(await desk.ask(BUDGET, fresh())).toMatchObject({ outcome: 'answered', degraded: rung('passages', 'budget', 'budget_spent'), cost_micro_usd: 0 });
    const person = await desk.ask(BUDGET, ELSEWHERE);
    expect(person).toMatchObject({ reason: 'budget', degraded: rung('passages', 'budget', 'budget_spent') });
    expect(Date.parse(person.retry_at) % 86_400_000).toBeLessThan(1_000);
    expect(provider.calls).toHaveLength(calls);
    expect((await desk.account(BUDGET)).alerts).toContain('budget_hard');
  });

  test('a long queue: those that wait behind many are answered by the cheaper model', async () => {
    provider.set('slow');
    await desk.policy(BUSY, { maxInFlight: 1, maxQueued: 10, overloadPercent: 40 });
    const ids = await Promise.all(Array.from({ length: 8 }, () => desk.publish(BUSY, fresh())));
    const ends = await Promise.all(ids.map((id) => desk.finished(BUSY, id)));
    const details = ends.map(({ degraded }) => degraded?.detail ?? 'full');
    expect(details).toContain('queue_long');
    expect(details).toContain('full');
    expect(new Set(details).size).toBe(2);
  });

  test('a deadline that is too near', async () => {
    await desk.policy(LATE, { fullAnswerMs: 20_000, cheaperAnswerMs: 100 });
    expect(await desk.ask(LATE, fresh(), { deadline_ms: 10_000 })).toMatchObject({ degraded: rung('cheaper_model', 'deadline', 'deadline_near') });
    await desk.policy(LATE, { cheaperAnswerMs: 15_000 });
    expect(await desk.ask(LATE, fresh(), { deadline_ms: 10_000 })).toMatchObject({ degraded: rung('passages', 'deadline', 'deadline_near') });
    expect(await desk.ask(LATE, fresh(), { deadline_ms: 60_000 })).toMatchObject({ degraded: null });
  });

  test('an open breaker: no call is made, and once the provider is well a trial closes it', async () => {
    provider.behaviour.set(`${BROKEN}-key big`, '500');
    for (let at = 0; at < 6; at++) await desk.ask(BROKEN, fresh());
    await expect.poll(async () => (await desk.ask(BROKEN, fresh())).degraded.detail, { timeout: 10_000 }).toBe('breaker_open');
    expect(await desk.metrics('runtime')).toMatch(new RegExp(`evenkeel_breaker_open\\{credential="tenant/${BROKEN}",model="big"\\} 1`));
    provider.behaviour.clear();
    await expect.poll(async () => (await desk.ask(BROKEN, fresh())).degraded, { timeout: 10_000 }).toBe(null);
  });

  test('a tenant’s bad key closes that tenant’s way alone', async () => {
    for (const model of ['big', 'small']) provider.behaviour.set(`${BADKEY}-key ${model}`, '401');
    for (let at = 0; at < 6; at++) expect((await desk.ask(BADKEY, fresh())).degraded.mode).toBe('passages');
    await expect.poll(async () => (await desk.ask(BADKEY, fresh())).degraded.detail, { timeout: 10_000 }).toBe('breaker_open');
    expect((await desk.ask(GOOD, fresh())).degraded).toBe(null);
    expect(provider.calls.some(({ key }) => key === 'platform-key')).toBe(false);
  });
});

describe('what is billed', () => {
  const settled = async () => (await desk.account(BILL)).spent_total_micro_usd as number;

  test('a client that goes away is billed for what was spent, and no more', async () => {
    provider.set('slow');
    const before = await settled();
    const key = `gone-${RUN}`;
    const message = fresh();
    await desk.publishAndLeave(BILL, message, key);
    const again = await desk.call('POST', '/v1/requests', await desk.token(BILL, 'end_user'), { message }, { 'idempotency-key': key });
    const id = again.json.request_id as string;
    await desk.followAndLeave(BILL, id);
    expect(await desk.finished(BILL, id)).toMatchObject({ outcome: 'answered', cost_micro_usd: FULL_COST });
    expect(provider.calls).toHaveLength(1);
    expect(await settled()).toBe(before + FULL_COST);
    const events = (await desk.history(BILL)).filter((event) => 'request' in event && event.request === id);
    expect(of(events, 'cost_recorded').map(({ amount }) => amount)).toEqual([FULL_COST]);
    expect(of(events, 'hold_settled')).toMatchObject([{ settled: FULL_COST }]);
  });

  test('a request that fails before its first call costs nothing, and what was held is free again', async () => {
    const before = await settled();
    const { port } = provider;
    await provider.stop();
    try {
      expect(await desk.ask(BILL, fresh())).toMatchObject({ cost_micro_usd: 0, degraded: { mode: 'passages' } });
      expect((await desk.ask(BILL, 'Quux?')).cost_micro_usd).toBe(0);
    } finally {
      await provider.start(port);
    }
    expect(await settled()).toBe(before);
    const { budgets } = await desk.account(BILL);
    for (const { held_micro_usd } of budgets) expect(held_micro_usd).toBe(0);
  });

  test('a call that broke off is presumed spent at its worst case, within its hold', async () => {
    provider.behaviour.set(`${BILL}-key big`, 'half');
    const { request_id: id, cost_micro_usd: cost } = await desk.ask(BILL, fresh());
    const events = (await desk.history(BILL)).filter((event) => 'request' in event && event.request === id);
    const [started] = of(events, 'step_started');
    const costs = of(events, 'cost_recorded');
    expect(costs[0]).toMatchObject({ step: 'model-1', presumed: true, amount: started?.worstCase });
    expect(costs.reduce((sum, { amount }) => sum + amount, 0)).toBe(cost);
    expect(cost).toBeLessThanOrEqual(of(events, 'hold_placed')[0]?.amount ?? 0);
  });
});

test('invariant 12: in a storm of 429 and 5xx the second calls are at most a tenth of the first, by the log and by the provider’s count', async () => {
  let call = 0;
  const storm: readonly Behaviour[] = ['503', 'ok', '429', 'ok', 'ok', '500', 'ok', 'ok', '502', 'ok', 'ok'];
  provider.set(() => storm[call++ % storm.length] ?? 'ok');
  await desk.policy(STORM, { maxInFlight: 4 });
  const ids = await Promise.all(Array.from({ length: 60 }, () => desk.publish(STORM, fresh())));
  for (const id of ids) expect((await desk.finished(STORM, id)).outcome).toBe('answered');
  const events = (await desk.history(STORM)).filter((event) => 'request' in event && ids.includes(event.request));
  const started = of(events, 'step_started');
  const retries = started.filter(({ attempt }) => attempt > 1).length;
  const firsts = started.length - retries;
  expect(retries).toBeGreaterThan(0);
  expect(retries).toBeLessThanOrEqual(firsts / 10);
  expect(provider.calls.length).toBeLessThanOrEqual(firsts * 1.1);
  const metrics = await desk.metrics('runtime');
  const sum = (name: string) =>
    metrics
      .split('\n')
      .filter((line) => line.startsWith(name))
      .reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);
  expect(sum('evenkeel_model_retries_total')).toBeLessThanOrEqual((sum('evenkeel_model_calls_total') - sum('evenkeel_model_retries_total')) / 10);
});
