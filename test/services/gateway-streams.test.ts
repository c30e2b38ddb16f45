import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SseParser } from '#services/cli/sse.ts';
import { bearer, type Claims, type Desk, openDesk } from './gateway-desk.ts';

let desk: Desk;
let url: string;
let opened: AbortController;
beforeEach(async () => {
  desk = await openDesk();
  opened = new AbortController();
  await desk.app.listen({ host: '127.0.0.1', port: 0 });
  url = `http://127.0.0.1:${(desk.app.server.address() as AddressInfo).port}`;
  for (const tenant of ['acme', 'globex']) await post(operator, '/v1/tenants', { tenant_id: tenant });
});
afterEach(async () => {
  opened.abort();
  await desk.close();
});

const operator: Claims = { role: 'operator', person: 'op' };
const ann: Claims = { tenant: 'acme', person: 'ann' };
const boss: Claims = { tenant: 'acme', role: 'tenant_admin' };

async function post(claims: Claims, path: string, body: unknown): Promise<Record<string, unknown>> {
  const headers = { ...(await bearer(claims)), 'content-type': 'application/json' };
  return (await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) })).json() as Promise<Record<string, unknown>>;
}

/** What a stream has said so far, and when it ended. */
async function stream(claims: Claims, path: string) {
  const response = await fetch(url + path, { headers: await bearer(claims), signal: opened.signal });
  expect(response.status).toBe(200);
  const said: { readonly type: string; readonly data: unknown }[] = [];
  const read = async () => {
    const parser = new SseParser();
    for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>)
      for (const { type, data } of parser.push(bytes)) said.push({ type, data: JSON.parse(data) });
  };
  return { said, ended: read().catch(() => undefined) };
}
async function until(condition: () => boolean): Promise<void> {
  for (let left = 200; !condition() && left > 0; left--) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(condition()).toBe(true);
}

test('the live stream shows an administrator one tenant, an operator all, coalesced', async () => {
  const [all, own] = await Promise.all([stream(operator, '/v1/live'), stream(boss, '/v1/live')]);
  await until(() => all.said.length === 1 && own.said.length === 1);
  expect(all.said[0]?.data).toMatchObject({ known: 2, tenants: [{ tenant: 'acme' }, { tenant: 'globex' }] });
  const began = performance.now();
  await Promise.all(Array.from({ length: 10 }, (_, at) => post({ tenant: 'globex' }, '/v1/requests', { message: `q${at}` })));
  await until(() => all.said.length > 1);
  await new Promise((resolve) => setTimeout(resolve, 600));
  // However many events there are: at most one message in a quarter of a second, besides the snapshot.
  expect(all.said.length).toBeLessThanOrEqual(2 + (performance.now() - began) / 250);
  expect(JSON.stringify(own.said)).not.toContain('globex');
});

test('a stream ends when the right to see ends', async () => {
  desk.runtime.pause();
  const { said, ended } = await stream({ ...operator, seconds: 1 }, '/v1/live');
  await ended;
  expect(said).toHaveLength(1);
});

test('a suspended tenant’s user is shown nothing more', async () => {
  await desk.close();
  desk = await openDesk({ agent: () => new Promise(() => undefined) });
  await desk.app.listen({ host: '127.0.0.1', port: 0 });
  url = `http://127.0.0.1:${(desk.app.server.address() as AddressInfo).port}`;
  await post(operator, '/v1/tenants', { tenant_id: 'acme' });
  const { request_id: id } = await post(ann, '/v1/requests', { message: 'a', deadline_ms: 400 });
  const { said, ended } = await stream(ann, `/v1/requests/${id}/events`);
  await until(() => said.some(({ type }) => type === 'running'));
  await post(operator, '/v1/tenants/acme/suspend', {});
  await ended;
  expect(said.map(({ type }) => type)).not.toContain('finished');
});

test('one tenant’s streams do not take the places of another', async () => {
  await Promise.all(Array.from({ length: 50 }, () => stream(boss, '/v1/live')));
  const refused = await fetch(`${url}/v1/live`, { headers: await bearer(boss) });
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({ code: 'overloaded', limit: 50 });
  await stream(operator, '/v1/live');
  opened.abort();
  await new Promise((resolve) => setTimeout(resolve, 50));
  opened = new AbortController();
  await stream(boss, '/v1/live');
});
