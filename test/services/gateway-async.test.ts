/** Prefer: respond-async: what a client that does not wait is told, at once and under the request's id later. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { Submissions } from '#services/gateway/submissions.ts';
import { bearer, type Claims, type Desk, openDesk } from './gateway-desk.ts';

const operator: Claims = { role: 'operator', person: 'op' };
const ann: Claims = { tenant: 'acme', person: 'ann' };
type Body = Readonly<Record<string, unknown>> & { readonly request_id: string; readonly links: { readonly self: string; readonly events: string } };

let desk: Desk;
beforeEach(async () => {
  desk = await openDesk();
  await create('acme', {});
});
afterEach(() => desk.close());

async function call(claims: Claims, method: 'GET' | 'POST', url: string, payload?: object, headers: Record<string, string> = {}) {
  const response = await desk.app.inject({ method, url, headers: { ...(await bearer(claims)), ...headers }, ...(payload ? { payload } : {}) });
  return { status: response.statusCode, headers: response.headers, body: response.json() as Body };
}
const create = (tenant: string, policy: object) => call(operator, 'POST', '/v1/tenants', { tenant_id: tenant, policy });
const submit = (key: string, body: object = { message: 'How?' }) =>
  call(ann, 'POST', '/v1/requests', body, { prefer: 'respond-async', 'idempotency-key': key });
const read = async (id: string, claims = ann) => call(claims, 'GET', `/v1/requests/${id}`);
async function ended(id: string): Promise<Body> {
  for (;;) {
    const { body } = await read(id);
    if (body.stage === 'finished') return body;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const written = () => desk.sent.filter(({ topic }) => topic === 'support.requests').length;

describe('Prefer: respond-async', () => {
  test('is answered before the task has decided, and the id tells the whole life', async () => {
    desk.runtime.pause();
    const { status, headers, body } = await submit('k');
    expect({ status, stage: body.stage, applied: headers['preference-applied'] }).toEqual({ status: 202, stage: 'submitted', applied: 'respond-async' });
    expect(headers.location).toBe(body.links.self);
    expect(await read(body.request_id)).toMatchObject({ status: 200, body: { stage: 'submitted', outcome: null } });
    expect(await call(operator, 'GET', `${body.links.self}/explain`)).toMatchObject({ status: 200, body: { tenant: 'acme', stage: 'submitted' } });
    for (const stranger of [
      { ...ann, person: 'bob' },
      { tenant: 'globex', person: 'ann' },
    ])
      expect((await read(body.request_id, stranger)).status).not.toBe(200);
    desk.runtime.resume();
    expect(await ended(body.request_id)).toMatchObject({ outcome: 'answered', answer: 'An answer to: How?' });
  });

  test('a repeat of what is on its way is the same request and no second record; another body is a conflict', async () => {
    desk.runtime.pause();
    const [one, two] = await Promise.all([submit('k'), submit('k')]);
    expect([one.body.request_id, one.status, two.status]).toEqual([two.body.request_id, 202, 202]);
    expect((await submit('k')).body).toMatchObject({ request_id: one.body.request_id, stage: 'submitted' });
    expect(written()).toBe(1);
    expect(await submit('k', { message: 'Another?' })).toMatchObject({ status: 409, body: { code: 'conflict' } });
    desk.runtime.resume();
    await ended(one.body.request_id);
    expect((await submit('k')).body).toMatchObject({ request_id: one.body.request_id, stage: 'finished' });
    expect((await submit('k', { message: 'Another?' })).status).toBe(409);
  });

  test('what the task then refuses is found under its id, with the limit that said no, and may be sent again', async () => {
    desk.runtime.pause();
    const { body } = await submit('late', { message: 'How?', deadline_ms: 20 });
    await new Promise((resolve) => setTimeout(resolve, 40));
    desk.runtime.resume();
    const end = await ended(body.request_id);
    expect(end).toMatchObject({ stage: 'finished', outcome: 'refused', reason: 'deadline_expired', answer: null });
    expect(end.problem).toMatchObject({ code: 'deadline_expired', status: 422, limit_name: 'deadline', instance: body.links.self });
    expect((await read(body.request_id, { ...ann, person: 'bob' })).status).toBe(404);
    const stream = await desk.app.inject({ url: body.links.events, headers: await bearer(ann) });
    expect(stream.body).toContain('event: refused');
    expect(await submit('late', { message: 'How?' })).toMatchObject({ status: 202, body: { request_id: body.request_id } });
    expect(await ended(body.request_id)).toMatchObject({ outcome: 'answered' });
  });

  test('the stream of a request that is on its way tells its refusal and ends', async () => {
    desk.runtime.pause();
    const { body } = await submit('late', { message: 'How?', deadline_ms: 20 });
    const streaming = desk.app.inject({ url: body.links.events, headers: await bearer(ann) });
    await new Promise((resolve) => setTimeout(resolve, 40));
    desk.runtime.resume();
    expect([...(await streaming).body.matchAll(/event: (\w+)/g)].map(([, stage]) => stage)).toEqual(['submitted', 'refused']);
  });

  test('what is on its way counts as queued: a tenant’s queue is not passed by', async () => {
    await create('small', { maxQueued: 3 });
    desk.runtime.pause();
    const statuses: number[] = [];
    for (let at = 0; at < 5; at++)
      statuses.push((await call({ tenant: 'small' }, 'POST', '/v1/requests', { message: 'How?' }, { prefer: 'respond-async' })).status);
    expect(statuses).toEqual([202, 202, 202, 429, 429]);
  });

  test('a wait that is preferred too comes first', async () => {
    const { status, headers } = await call(ann, 'POST', '/v1/requests', { message: 'How?' }, { prefer: 'respond-async, wait=10' });
    expect({ status, applied: headers['preference-applied'] }).toEqual({ status: 200, applied: 'wait' });
  });
});

describe('the memory of what was submitted', () => {
  const [tenant, other, person] = ['acme' as TenantId, 'globex' as TenantId, 'p_1' as PersonId];
  const id = (at: number) => `r_${at}` as RequestId;
  const ofRequest = (of: TenantId, at: number) => ({ tenant: of, request: id(at), conversation: 'c_1' as never });
  const refused = (of: TenantId, at: number) =>
    ({
      event: {
        type: 'request_refused',
        ...ofRequest(of, at),
        person,
        source: 'gateway',
        code: 'queue_full',
        limit: 1,
        observed: 1,
        retryAfterMs: null,
        limitName: 'queue_length',
      },
      offset: at,
      at: 0,
    }) as never;

  test('is bounded for each tenant and in all, and says so instead of forgetting', () => {
    const submissions = new Submissions(() => 0, { undecided: 3, undecidedOfTenant: 2 });
    for (const at of [1, 2]) submissions.add(tenant, id(at), person, 7);
    expect(() => submissions.checkRoom(tenant)).toThrow(/2 requests of acme/);
    submissions.checkRoom(other);
    submissions.add(other, id(3), person, 7);
    expect(() => submissions.checkRoom(other)).toThrow(/3 requests were submitted/);
    submissions.drop(tenant, id(1));
    submissions.checkRoom(other);
  });

  test('forgets what is never decided, and refusals after their time', () => {
    let now = 0;
    const submissions = new Submissions(() => now, { undecided: 1, undecidedMs: 100, refusedMs: 50 });
    submissions.add(tenant, id(1), person, 7);
    submissions.happened(refused(other, 2));
    expect(submissions.refusal(other, id(2))).toBeDefined();
    now = 60;
    expect([submissions.find(tenant, id(1))?.fingerprint, submissions.refusal(other, id(2))]).toEqual([7, undefined]);
    now = 100;
    expect(submissions.find(tenant, id(1))).toBeUndefined();
    submissions.checkRoom(other);
    expect(submissions.undecided()).toBe(0);
  });

  test('keeps a bounded number of refusals, and a flood pushes out its own first', () => {
    const submissions = new Submissions(() => 0, { refused: 5, refusedOfTenant: 3 });
    submissions.happened(refused(other, 0));
    for (let at = 1; at <= 10; at++) submissions.happened(refused(tenant, at));
    expect([8, 9, 10].map((at) => submissions.refusal(tenant, id(at)) !== undefined)).toEqual([true, true, true]);
    expect(submissions.refusal(tenant, id(7))).toBeUndefined();
    expect(submissions.refusal(other, id(0))).toBeDefined();
  });
});
