import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createServer, type Log } from '#services/gateway/server.ts';
import type { Agent } from '#services/runtime/turns.ts';
import { bearer, type Claims, type Desk, openDesk } from './gateway-desk.ts';

let desk: Desk;
beforeEach(async () => {
  desk = await openDesk();
  await create('acme', {});
  await create('globex', {});
});
afterEach(() => desk.close());

/** What the assertions below read by name; the rest is matched as a whole. */
type Body = Record<string, unknown> & {
  readonly request_id: string;
  readonly stage: string;
  readonly detail: string;
  readonly done: string;
  readonly offset: number;
  readonly retry_after_ms: number;
  readonly links: { readonly self: string; readonly events: string };
  readonly budgets: readonly unknown[];
  readonly paths: Readonly<Record<string, unknown>>;
};

const operator: Claims = { role: 'operator', person: 'op' };
const ann: Claims = { tenant: 'acme', person: 'ann' };

async function call(claims: Claims, method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, payload?: unknown, headers: Record<string, string> = {}) {
  const response = await desk.app.inject({
    method,
    url,
    headers: { ...(await bearer(claims)), ...(payload === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(payload === undefined ? {} : { payload: typeof payload === 'string' ? payload : JSON.stringify(payload) }),
  });
  return { status: response.statusCode, headers: response.headers, body: response.json() as Body };
}
async function create(tenant: string, policy: Record<string, number>) {
  const created = await call(operator, 'POST', '/v1/tenants', { tenant_id: tenant, policy });
  expect(created.status).toBe(201);
  return created.body;
}
const ask = (claims: Claims, body: unknown = { message: 'How?' }, key?: string) =>
  call(claims, 'POST', '/v1/requests', body, key ? { 'idempotency-key': key } : {});
async function finished(claims: Claims, id: string) {
  for (;;) {
    const got = await call(claims, 'GET', `/v1/requests/${id}`);
    if (got.body.stage === 'finished') return got.body;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('a request', () => {
  test('Prefer: wait answers with the end when it comes in time, and with 202 when it does not', async () => {
    const waited = await call(ann, 'POST', '/v1/requests', { message: 'How?' }, { prefer: 'respond-async, wait=10', 'idempotency-key': 'waited' });
    expect(waited).toMatchObject({ status: 200, body: { stage: 'finished', outcome: 'answered' }, headers: { 'preference-applied': 'wait' } });
    const again = await call(ann, 'POST', '/v1/requests', { message: 'How?' }, { prefer: 'wait=10', 'idempotency-key': 'waited' });
    expect(again).toMatchObject({ status: 200, body: { request_id: waited.body.request_id, stage: 'finished' } });
    const unasked = await call(ann, 'POST', '/v1/requests', { message: 'How?' }, { prefer: 'wait=soon' });
    expect(unasked.status).toBe(202);
  });

  test('is queued, answered, and read by who asked', async () => {
    const published = await ask(ann, { message: 'How do I?', metadata: { page: 1 } });
    expect(published.status).toBe(202);
    expect(published.body).toMatchObject({ stage: 'queued', links: { self: `/v1/requests/${published.body.request_id}` } });
    expect(published.headers.location).toBe(published.body.links.self);
    const answer = await finished(ann, published.body.request_id);
    expect(answer).toMatchObject({
      outcome: 'answered',
      reason: 'answered',
      answer: 'An answer to: How do I?',
      citations: [{ document: 'a.md', heading: 'A', version: '1' }],
      cost_micro_usd: 420,
      degraded: null,
    });
  });

  test('leaves no word of it in clear on the log', async () => {
    const { body } = await ask(ann, { message: 'my canary secret', metadata: { canary: 'secret' } });
    await finished(ann, body.request_id);
    for (const { value } of desk.sent) expect(Buffer.from(value ?? []).toString('latin1')).not.toContain('canary');
  });

  test('is the same request when its key comes again, at once and later', async () => {
    const [one, two] = await Promise.all([ask(ann, undefined, 'k1'), ask(ann, undefined, 'k1')]);
    expect([one.status, two.status]).toEqual([202, 202]);
    expect(two.body.request_id).toBe(one.body.request_id);
    await finished(ann, one.body.request_id);
    const again = await ask(ann, undefined, 'k1');
    expect(again.body).toMatchObject({ request_id: one.body.request_id, stage: 'finished' });
  });

  test('with another body is a conflict, later and side by side', async () => {
    await ask(ann, { message: 'one' }, 'k1');
    const other = await ask(ann, { message: 'two' }, 'k1');
    expect(other).toMatchObject({ status: 409, body: { code: 'conflict', status: 409 } });
    const both = await Promise.all([ask(ann, { message: 'one' }, 'k2'), ask(ann, { message: 'two' }, 'k2')]);
    expect(both.map(({ status }) => status).sort()).toEqual([202, 409]);
  });

  test('with one key is another request for another person', async () => {
    const [mine, theirs] = await Promise.all([ask(ann, undefined, 'k'), ask({ ...ann, person: 'bob' }, undefined, 'k')]);
    expect(mine.body.request_id).not.toBe(theirs.body.request_id);
  });

  test('is submitted when nothing decides within the time, and is there later', async () => {
    await desk.close();
    desk = await openDesk({ verdictMs: 60 });
    await create('acme', {});
    desk.runtime.pause();
    const { status, body } = await ask(ann);
    expect({ status, stage: body.stage }).toEqual({ status: 202, stage: 'submitted' });
    expect((await call(ann, 'GET', body.links.self)).body).toMatchObject({ stage: 'submitted', outcome: null });
    desk.runtime.resume();
    expect(await finished(ann, body.request_id)).toMatchObject({ outcome: 'answered' });
  });

  test('of another person or tenant is not there', async () => {
    const { body } = await ask(ann);
    const path = body.links.self as string;
    for (const stranger of [{ ...ann, person: 'bob' }, { tenant: 'globex', person: 'ann' }, { tenant: 'globex', role: 'tenant_admin' }, operator])
      for (const url of [path, `${path}/events`]) expect(await call(stranger, 'GET', url)).toMatchObject({ status: 404, body: { code: 'not_found' } });
    expect((await call({ tenant: 'acme', role: 'tenant_admin', person: 'boss' }, 'GET', path)).status).toBe(200);
  });

  test('tells its life over SSE, from the beginning and with offsets', async () => {
    const { body } = await ask(ann);
    await finished(ann, body.request_id);
    const response = await desk.app.inject({ url: body.links.events, headers: await bearer(ann) });
    expect(response.headers['content-type']).toBe('text/event-stream');
    const events = response.body.split('\n\n').filter((each) => each.startsWith('id:'));
    expect(events.map((each) => /event: (\w+)/.exec(each)?.[1])).toEqual(['queued', 'running', 'step', 'step_done', 'finished']);
    const ids = events.map((each) => Number(/id: (\d+)/.exec(each)?.[1]));
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
    const rest = await desk.app.inject({ url: body.links.events, headers: { ...(await bearer(ann)), 'last-event-id': String(ids[3]) } });
    expect(rest.body).not.toContain('event: queued');
    expect(rest.body).toContain('event: finished');
  });
});

describe('a waiting request says what it waits for', () => {
  const boss: Claims = { tenant: 'acme', role: 'tenant_admin', person: 'boss' };
  let release: () => void;
  beforeEach(async () => {
    await desk.close();
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const agent: Agent = async ({ degraded }) => {
      await held;
      return { outcome: 'answered', reason: 'answered', answer: '', citations: [], degraded };
    };
    desk = await openDesk({ agent });
  });
  const waitingOf = async (id: string, who: Claims = boss) => {
    await eventually(async () => (await call(who, 'GET', `/v1/requests/${id}`)).status);
    return (await call(who, 'GET', `/v1/requests/${id}`)).body.waiting;
  };

  test('its conversation, its tenant’s own limit, a budget that others’ holds fill; nothing once it runs', async () => {
    await create('acme', { maxInFlight: 1 });
    const slow = { message: 'slow', conversation_id: 'c' };
    const [first, second, other] = [await ask(boss, slow), await ask(boss, slow), await ask(boss, { message: 'other' })];
    const of = await waitingOf(second.body.request_id);
    expect(of).toMatchObject({ waits_for: 'conversation', ahead: { in_conversation: 1 }, until: null, deadline: expect.any(String) });
    expect(await waitingOf(other.body.request_id)).toMatchObject({
      waits_for: 'in_flight',
      ahead: { in_conversation: 0, conversations: 0, tenants: 0 },
      limit: { name: 'in_flight', limit: 1, observed: 1 },
      offset: expect.any(Number),
    });
    expect(await waitingOf(first.body.request_id)).toBeUndefined();
    const { budgets } = (await call(boss, 'GET', '/v1/tenants/acme')).body as unknown as { budgets: { held_micro_usd: number }[] };
    await call(operator, 'PUT', '/v1/tenants/acme/policy', { changes: { maxInFlight: 9, budgetDay: (budgets[0]?.held_micro_usd ?? 0) + 100 * 200 - 1 } });
    expect(await waitingOf(other.body.request_id)).toMatchObject({
      waits_for: 'budget',
      until: expect.stringMatching(/T00:00:00/),
      limit: { budget: { window: 'day', unit: 'micro_usd', held: 20_000 } },
    });
    release();
  });

  test('an operator may ask why for any tenant, and sees no words; an end user is not told the tenant’s sums', async () => {
    await create('acme', { maxInFlight: 1 });
    await ask(ann);
    const id = (await ask(ann, { message: 'secret words' })).body.request_id;
    expect(await waitingOf(id, ann)).toMatchObject({ waits_for: 'in_flight' });
    expect((await waitingOf(id, ann)) as object).not.toHaveProperty('limit');
    const why = await call(operator, 'GET', `/v1/requests/${id}/explain`);
    expect(why.body).toMatchObject({ tenant: 'acme', stage: 'queued', waiting: { waits_for: 'in_flight', limit: { limit: 1 } } });
    expect(JSON.stringify(why.body)).not.toContain('secret');
    expect((await call({ ...ann, person: 'bob' }, 'GET', `/v1/requests/${id}/explain`)).status).toBe(404);
    expect((await call(operator, 'GET', `/v1/requests/r_${'a'.repeat(22)}/explain`)).status).toBe(404);
    release();
    await finished(ann, id);
    expect((await call(ann, 'GET', `/v1/requests/${id}/explain`)).body).toMatchObject({ stage: 'finished', waiting: null });
  });
});

describe('bad input gets a problem document', () => {
  const cases: readonly (readonly [string, unknown, number, string])[] = [
    ['JSON that is none', '{"message": ', 400, 'body_invalid'],
    ['no body', '', 400, 'body_invalid'],
    ['an array', [], 400, 'body_invalid'],
    ['no message', {}, 400, 'body_invalid'],
    ['an empty message', { message: '' }, 400, 'body_invalid'],
    ['a message of another type', { message: 1 }, 400, 'body_invalid'],
    ['an unknown field', { message: 'a', tenant_id: 'globex' }, 400, 'body_invalid'],
    ['a deadline as text', { message: 'a', deadline_ms: '5' }, 400, 'body_invalid'],
    ['a deadline in the past', { message: 'a', deadline_ms: -1 }, 400, 'body_invalid'],
    ['metadata that is a list', { message: 'a', metadata: [] }, 400, 'body_invalid'],
    ['metadata that is too large', { message: 'a', metadata: { a: 'x'.repeat(4_096) } }, 400, 'body_invalid'],
    ['a message that is too long', { message: 'x'.repeat(16_385) }, 400, 'body_invalid'],
    ['a message too long in UTF-16', { message: '🦊'.repeat(16_384) }, 400, 'body_invalid'],
    ['a body that is too large', { message: 'x'.repeat(200_000) }, 413, 'record_too_large'],
    ['a prototype', '{"message":"a","__proto__":{"x":1}}', 400, 'body_invalid'],
    ['a deadline that has passed', { message: 'a', deadline_ms: 0 }, 422, 'deadline_expired'],
  ];
  test.each(cases)('%s', async (_name, body, status, code) => {
    const got = await ask(ann, body);
    expect(got).toMatchObject({ status, body: { status, code, type: `urn:evenkeel:problem:${code}` } });
    expect(got.headers['content-type']).toContain('application/problem+json');
    expect(got.body.detail.length).toBeGreaterThan(5);
    // Nothing else is delayed.
    expect((await ask(ann)).status).toBe(202);
  });

  test('an Idempotency-Key with spaces, an unknown path, another method, another type', async () => {
    expect(await ask(ann, undefined, 'a b')).toMatchObject({ status: 400, body: { code: 'body_invalid' } });
    expect(await call(ann, 'GET', '/v1/nothing?token=x')).toMatchObject({ status: 404, body: { code: 'not_found', instance: '/v1/nothing' } });
    expect(await call(ann, 'DELETE', '/v1/requests')).toMatchObject({ status: 404 });
    expect((await call(ann, 'POST', '/v1/requests', 'message=a', { 'content-type': 'application/x-www-form-urlencoded' })).status).toBe(400);
    expect((await call(ann, 'GET', '/v1/requests/%zz')).status).toBe(400);
  });

  test('an unknown field is named', async () => {
    expect((await ask(ann, { message: 'a', tenant_id: 'globex' })).body.detail).toContain('tenant_id');
  });
});

describe('who may', () => {
  test.each<[string, Claims, number, string]>([
    ['expired', { ...ann, seconds: -5 }, 401, 'credential_invalid'],
    ['another audience', { ...ann, audience: 'elsewhere' }, 401, 'credential_invalid'],
    ['an unknown role', { ...ann, role: 'root' }, 401, 'credential_invalid'],
    ['no tenant', { person: 'ann' }, 401, 'credential_invalid'],
    ['an unknown tenant', { tenant: 'nobody' }, 403, 'tenant_unknown'],
    ['an auditor', { tenant: 'acme', role: 'auditor' }, 403, 'forbidden'],
    ['an operator without a tenant', operator, 403, 'forbidden'],
  ])('%s', async (_name, claims, status, code) => {
    expect(await ask(claims)).toMatchObject({ status, body: { code } });
  });

  test('no credential', async () => {
    const got = await desk.app.inject({ method: 'POST', url: '/v1/requests', payload: { message: 'a' } });
    expect(got.statusCode).toBe(401);
    expect(got.headers['www-authenticate']).toBe('Bearer');
  });

  test('a suspended tenant: its users nothing, its administrators look on', async () => {
    const { body } = await ask(ann);
    const until = await call(operator, 'POST', '/v1/tenants/acme/suspend', { until: 'tomorrow' });
    expect([until.status, until.body.detail]).toEqual([400, expect.stringContaining('"until" is not known here')]);
    expect((await call(operator, 'POST', '/v1/tenants/acme/suspend')).body.done).toBe('tenant_suspended');
    expect((await call(operator, 'POST', '/v1/tenants/acme/suspend', {})).body.done).toBe('tenant_suspended');
    expect(await ask(ann)).toMatchObject({ status: 403, body: { code: 'tenant_suspended' } });
    expect((await call(ann, 'GET', body.links.self)).status).toBe(403);
    expect((await call({ tenant: 'acme', role: 'tenant_admin' }, 'GET', '/v1/tenants/acme')).status).toBe(200);
    expect(await ask({ tenant: 'acme', role: 'tenant_admin' })).toMatchObject({ status: 403 });
    await call(operator, 'POST', '/v1/tenants/acme/resume');
    expect((await ask(ann)).status).toBe(202);
  });
});

describe('limits', () => {
  test('a rate says when to try again, and one tenant’s does not touch another', async () => {
    await create('tiny', { requestsPerSecond: 1, burst: 2 });
    const tiny = { tenant: 'tiny' };
    const first = await ask(tiny);
    expect(first.headers).toMatchObject({ ratelimit: '"requests_per_second";r=1;t=1', 'ratelimit-policy': '"requests_per_second";q=2;w=2' });
    await ask(tiny);
    const third = await ask(tiny);
    expect(third).toMatchObject({ status: 429, body: { code: 'rate_limited', limit_name: 'requests_per_second', limit: 1, balance: 0 } });
    expect(third.body.offset).toBeGreaterThan(0);
    expect(third.body.retry_after_ms).toBeGreaterThan(500);
    expect(third.headers['retry-after']).toBe('1');
    expect(third.headers.ratelimit).toContain('r=0');
    expect((await ask(ann)).status).toBe(202);
  });

  test('a full queue is refused by the table that the task asks, with limit, balance, offset and when to try again', async () => {
    await create('full', { maxInFlight: 1, maxQueued: 1 });
    let refused = await ask({ tenant: 'full' });
    for (let at = 0; at < 50 && refused.status === 202; at++) refused = await ask({ tenant: 'full' }, { message: `q${at}` });
    expect(refused).toMatchObject({ status: 429, body: { code: 'queue_full', limit_name: 'queue_length', limit: 1, observed: 1, balance: 0 } });
    expect(refused.body.offset).toBeGreaterThan(0);
    expect(refused.headers['retry-after']).toBe('1');
    expect(refused.headers.ratelimit).toBe('"queue_length";r=0;t=1');
  });

  test('a deadline that has passed is named too', async () => {
    expect((await ask(ann, { message: 'late', deadline_ms: 0 })).body).toMatchObject({ code: 'deadline_expired', limit_name: 'deadline' });
  });

  test('a full conversation is refused by the task, with the event’s offset', async () => {
    await create('slow', { maxInFlight: 1, maxQueuedPerConversation: 1 });
    const results = await Promise.all(Array.from({ length: 6 }, (_, at) => ask({ tenant: 'slow' }, { message: `q${at}`, conversation_id: 'c' })));
    const refused = results.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.body).toMatchObject({ code: 'conversation_full', limit: 1, observed: 1 });
    expect(refused[0]?.body.offset).toBeGreaterThan(0);
  });
});

describe('administration', () => {
  const boss: Claims = { tenant: 'acme', role: 'tenant_admin', person: 'boss' };

  test('sets policy within who may set what, and refuses with the path', async () => {
    expect((await call(boss, 'PUT', '/v1/tenants/acme/policy', { changes: { softPercent: 70 } })).body).toMatchObject({ done: 'policy_set' });
    expect(await call(boss, 'PUT', '/v1/tenants/acme/policy', { changes: { budgetDay: 1 } })).toMatchObject({ status: 422, body: { code: 'policy_invalid' } });
    expect((await call(operator, 'PUT', '/v1/tenants/acme/policy', { changes: { nope: 1 } })).body.detail).toContain('policy.nope');
    expect(await call(operator, 'PUT', '/v1/tenants/acme/policy', { changes: {}, expected_version: 1 })).toMatchObject({
      status: 409,
      body: { code: 'policy_version_conflict' },
    });
    expect(await call(boss, 'PUT', '/v1/tenants/globex/policy', { changes: {} })).toMatchObject({ status: 404 });
    expect(await call(ann, 'PUT', '/v1/tenants/acme/policy', { changes: {} })).toMatchObject({ status: 403 });
  });

  test('a tenant that exists, an invalid id, a command that comes twice', async () => {
    expect(await call(operator, 'POST', '/v1/tenants', { tenant_id: 'acme' })).toMatchObject({ status: 409, body: { code: 'tenant_exists' } });
    expect(await call(operator, 'POST', '/v1/tenants', { tenant_id: 'No!' })).toMatchObject({ status: 400, body: { code: 'tenant_id_invalid' } });
    const grant = () => call(operator, 'POST', '/v1/tenants/acme/grants', { window: 'day', amount_micro_usd: 500 }, { 'idempotency-key': 'g1' });
    const began = Date.now();
    expect((await grant()).body.done).toBe('budget_granted');
    const ended = Date.now();
    const repeat = await grant();
    expect([repeat.status, repeat.body.done]).toEqual([200, 'decided_before']);
    const decidedAt = Date.parse((repeat.body.facts as { readonly decided_at: string }).decided_at);
    expect(decidedAt >= began && decidedAt <= ended).toBe(true);
    const other = await call(operator, 'POST', '/v1/tenants/acme/grants', { window: 'day', amount_micro_usd: 501 }, { 'idempotency-key': 'g1' });
    expect(other).toMatchObject({ status: 409, body: { code: 'conflict' } });
    const bad = { amount_micro_usd: 5, incurred_at: 'yesterday' };
    expect(await call(operator, 'POST', '/v1/tenants/acme/costs', bad)).toMatchObject({ status: 400, body: { code: 'body_invalid' } });
    // More than a number holds is a wrong call, and no failure of ours that may be tried again.
    for (const [verb, beyond] of [
      ['grants', '{"window":"day","amount_micro_usd":1e300}'],
      ['costs', '{"tokens":-1e17}'],
    ] as const)
      expect(await call(operator, 'POST', `/v1/tenants/acme/${verb}`, beyond)).toMatchObject({ status: 400, body: { code: 'body_invalid' } });
    expect(await call(operator, 'PUT', '/v1/tenants/acme/policy', '{"changes":{},"expected_version":1e300}')).toMatchObject({ status: 400 });
    const { body } = await call(operator, 'GET', '/v1/tenants/acme');
    expect(body.budgets[0]).toMatchObject({ window: 'day', granted_micro_usd: 500, limit_micro_usd: 5_000_500 });
  });

  test('burn is the sum of the costs, before and after a restart', async () => {
    const ids = await Promise.all([1, 2, 3].map(async (n) => (await ask(ann, { message: `q${n}` })).body.request_id as string));
    for (const id of ids) await finished(ann, id);
    await call(operator, 'POST', '/v1/tenants/acme/costs', { amount_micro_usd: 100 });
    const before = desk.view.numbers('acme' as never);
    expect(before).toMatchObject({ burn_today_micro_usd: 3 * 420 + 100, answered: 3, success_rate: 1 });
    const second = await desk.again();
    const after = second.view.numbers('acme' as never);
    expect(after).toMatchObject({ burn_today_micro_usd: 1_360, answered: 3 });
    expect(after?.p95_ms).toBe(before?.p95_ms);
    expect(second.view.recent('acme' as never).map(({ outcome }) => outcome)).toEqual(['answered', 'answered', 'answered']);
    await second.close();
  });

  test('documents go onto the log under tenant and id, and are bounded', async () => {
    const put = await call(boss, 'PUT', '/v1/tenants/acme/documents/guide/a.md', { title: 'A', version: '1', content: '# A' });
    expect(put.body).toEqual({ document_id: 'guide/a.md', version: '1' });
    expect(desk.sent.at(-1)).toMatchObject({ topic: 'support.knowledge', key: 'acme/guide/a.md' });
    await call(boss, 'DELETE', '/v1/tenants/acme/documents/guide/a.md');
    expect(desk.sent.at(-1)).toMatchObject({ key: 'acme/guide/a.md', value: null });
    const large = { title: 'A', version: '1', content: 'ü'.repeat(600_000) };
    expect(await call(boss, 'PUT', '/v1/tenants/acme/documents/a.md', large)).toMatchObject({ status: 413 });
    expect(await call(boss, 'PUT', '/v1/tenants/globex/documents/a.md', { ...large, content: 'a' })).toMatchObject({ status: 404 });
    expect(await call(ann, 'PUT', '/v1/tenants/acme/documents/a.md', { ...large, content: 'a' })).toMatchObject({ status: 403 });
  });

  test('OpenAPI names every route', async () => {
    const { body } = await call(operator, 'GET', '/docs/json');
    expect(Object.keys(body.paths)).toEqual(expect.arrayContaining(['/v1/requests', '/v1/requests/{id}', '/v1/tenants/{tenant}/policy', '/v1/live']));
    expect(body.paths['/']).toBeUndefined();
  });

  test('OpenAPI says what the headers of a request do, though nothing validates them', async () => {
    const { body } = await call(operator, 'GET', '/docs/json');
    const { post } = body.paths['/v1/requests'] as { readonly post: { readonly parameters: readonly { readonly in: string; readonly name: string }[] } };
    expect(post.parameters.map((each) => `${each.in} ${each.name}`)).toEqual(['header idempotency-key', 'header prefer']);
  });

  test('what fails on our side is one line in the log that names the request, and the client is told that it may try again', async () => {
    const lines: object[] = [];
    const failing = { ...desk.parts, random: () => never() };
    const app = await createServer(failing, logTo(lines));
    const headers = { ...(await bearer(ann)), 'content-type': 'application/json' };
    const answer = await app.inject({ method: 'POST', url: '/v1/requests?a=1', headers, payload: { message: 'How?' } });
    await app.close();
    expect([answer.statusCode, answer.json().code, answer.body.includes('the cause')]).toEqual([503, 'unavailable', false]);
    expect(lines).toEqual([
      { err: expect.objectContaining({ message: 'the cause' }), reqId: expect.any(String), route: 'POST /v1/requests', message: 'a request failed' },
    ]);
  });
});

describe('the log', () => {
  test('what fails once its answer has begun is told too, as no answer can say it', async () => {
    const lines: object[] = [];
    const app = await createServer(desk.parts, logTo(lines));
    app.get('/late', async (_request, reply) => {
      await reply.send('an answer');
      return never();
    });
    expect((await app.inject('/late')).body).toBe('an answer');
    await eventually(async () => (lines.length > 0 ? 200 : 500));
    await app.close();
    expect(lines).toEqual([{ err: expect.objectContaining({ message: 'the cause' }), message: expect.any(String) }]);
  });

  test('what clients do wrong is not in it', async () => {
    const lines: object[] = [];
    const app = await createServer(desk.parts, logTo(lines));
    const headers = { ...(await bearer(ann)), 'content-type': 'application/json' };
    const asked = { method: 'POST', url: '/v1/requests', headers, payload: { message: 'How?' } } as const;
    const answers = [
      await app.inject({ ...asked, payload: '{' }),
      await app.inject({ ...asked, payload: 'x'.repeat(200_000) }),
      await app.inject({ ...asked, headers: {} }),
      await app.inject({ ...asked, headers: { ...headers, 'idempotency-key': ['a', 'b'] } as never }),
      await app.inject('/nowhere'),
    ];
    await app.close();
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([400, 413, 401, 400, 404]);
    expect(lines).toEqual([]);
  });
});

function logTo(lines: object[]): Log {
  const tell = (bindings: object, message?: string) => void lines.push({ ...bindings, message });
  return { error: tell, warn: tell };
}

function never(): never {
  throw new Error('the cause');
}

async function eventually<T>(read: () => Promise<T>): Promise<T> {
  for (let left = 100; ; left--) {
    const value = await read();
    if ((value as number) < 400 || left === 0) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
