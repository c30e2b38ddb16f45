/** What stands in a request's way, asked over HTTP and told to a person: each limit, with who is ahead and until when. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { asLines, type Explained } from '#services/cli/explain.ts';
import { bearer, type Claims, type Desk, openDesk } from './gateway-desk.ts';

const OPERATOR: Claims = { role: 'operator' };
let desk: Desk;
let release: () => void;
beforeEach(async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  release = resolve;
  desk = await openDesk({
    agent: async ({ degraded }) => {
      await promise;
      return { outcome: 'answered', reason: 'answered', answer: '', citations: [], degraded };
    },
  });
});
afterEach(async () => {
  release();
  await desk.close();
});

async function call(claims: Claims, method: 'GET' | 'POST', url: string, payload?: object, { app }: Pick<Desk, 'app'> = desk) {
  const reply = await app.inject({ method, url, headers: await bearer(claims), ...(payload ? { payload } : {}) });
  expect(reply.statusCode, reply.body).toBeLessThan(300);
  return reply.json();
}
const create = (policy: object) => call(OPERATOR, 'POST', '/v1/tenants', { tenant_id: 'acme', policy });
const ask = async (by: Pick<Desk, 'app'> = desk) => (await call({ tenant: 'acme' }, 'POST', '/v1/requests', { message: 'How?' }, by)).request_id as string;
async function explained(id: string, by: Pick<Desk, 'app'> = desk) {
  const found: Explained = await call(OPERATOR, 'GET', `/v1/requests/${id}/explain`, undefined, by);
  return { waiting: found.waiting, said: asLines(found).join('\n') };
}

test('its rate, which another gateway did not know of: until the next one conforms', async () => {
  await create({ requestsPerSecond: 1, burst: 1 });
  await ask();
  const second = await desk.again();
  const asked = Date.now();
  const { waiting, said } = await explained(await ask(second), second);
  await second.close();
  expect(waiting).toMatchObject({ waits_for: 'requests_per_second', limit: { limit: 1, unit: 'requests/s' } });
  const until = Date.parse(waiting?.until as string);
  expect(until).toBeGreaterThan(asked);
  expect(until).toBeLessThanOrEqual(Date.now() + 1_000);
  expect(said).toContain('waits for the tenant’s rate: its burst is used up.');
  expect(said).toContain(`until   ${new Date(until).toISOString().replace('T', ' ')}, and at the latest its deadline`);
});

test('a suspended tenant: until it is resumed, or the deadline', async () => {
  await create({ maxInFlight: 1 });
  await ask();
  const id = await ask();
  await call(OPERATOR, 'POST', '/v1/tenants/acme/suspend');
  const { waiting, said } = await explained(id);
  expect(waiting).toMatchObject({ waits_for: 'suspended', until: null });
  expect(said).toMatch(/waits for the tenant to be resumed: it is suspended\.[\s\S]*until {3}something of the above ends/);
});

test('a full partition: who of its own tenant and of others is ahead', async () => {
  await create({ maxInFlight: 1_000, burst: 100 });
  const ids: string[] = [];
  for (let at = 0; at < 70; at++) ids.push(await ask());
  const { waiting, said } = await explained(ids.at(-1) as string);
  expect(waiting).toMatchObject({ waits_for: 'partition', ahead: { in_conversation: 0, tenants: 0 } });
  expect(waiting?.ahead.conversations).toBeGreaterThan(5);
  expect(said).toMatch(/waits for a free place:[\s\S]*ahead {3}\d+ other conversations of its tenant, 0 other tenants/);
  expect((await explained(ids[0] as string)).said).toMatch(/has been running since \d{4}-\d\d-\d\d [\d:.]+Z; its deadline is/);
});
