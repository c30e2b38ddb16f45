/** `ask` against a gateway that answers as it is told to. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { watch } from '#services/cli/ask.ts';
import type { Terminal } from '#services/cli/command.ts';
import { Gateway } from '#services/cli/gateway.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void;
const ANSWER = {
  request_id: 'r_1',
  stage: 'finished',
  outcome: 'answered',
  reason: 'answered',
  answer: 'So.',
  citations: [{ document: 'a.md', heading: 'A', version: '1' }],
  cost_micro_usd: 5,
  degraded: null,
  retry_at: null,
};
const json = (response: ServerResponse, status: number, body: unknown) =>
  void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

let close: () => void = () => undefined;
afterEach(() => close());

async function gateway(handlers: Record<string, Handler>): Promise<Gateway> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const handler = handlers[`${request.method} ${request.url}`];
    if (handler) handler(request, response, body);
    else json(response, 404, { title: 'not found' });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  close = () => {
    server.closeAllConnections();
    server.close();
  };
  return new Gateway(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, 'secret');
}

function recorder() {
  const notes: string[] = [];
  const terminal: Terminal = { live: false, out: () => undefined, note: (line) => notes.push(line.replace(/^[\d.]+ s {2}/, '')), status: () => undefined };
  return { notes, terminal };
}
const asked = { timeoutMs: 3_000, body: { message: 'How?' } };

describe('ask', () => {
  test('sends message, credential and idempotency key, shows each stage once, and fetches the answer', async () => {
    const seen: unknown[] = [];
    const there = await gateway({
      'POST /v1/requests': (request, response, body) => {
        seen.push(request.headers.authorization, typeof request.headers['idempotency-key'], JSON.parse(body));
        json(response, 202, { request_id: 'r_1', stage: 'queued' });
      },
      'GET /v1/requests/r_1/events': (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('event: stage\ndata: {"stage":"queued"}\n\nevent: stage\ndata: {"stage":"running"}\n\n');
        setTimeout(() => response.write('event: stage\ndata: {"stage":"finished","outcome":"answered"}\n\n'), 20);
      },
      'GET /v1/requests/r_1': (_, response) => json(response, 200, ANSWER),
    });
    const { notes, terminal } = recorder();
    const { stage, ...answer } = ANSWER;
    expect(await watch(asked, there, terminal)).toEqual(answer);
    expect(seen).toEqual(['Bearer secret', 'string', { message: 'How?' }]);
    expect(notes).toEqual(['queued', 'running', stage]);
  });

  test('asks for the answer where the stream breaks, and while the view has not heard of the request', async () => {
    let calls = 0;
    const there = await gateway({
      'POST /v1/requests': (_, response) => json(response, 202, { request_id: 'r_1', stage: 'submitted' }),
      'GET /v1/requests/r_1/events': (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: {"sta');
        response.destroy();
      },
      'GET /v1/requests/r_1': (_, response) =>
        calls++ === 0 ? json(response, 404, {}) : calls === 2 ? json(response, 200, { stage: 'running' }) : json(response, 200, ANSWER),
    });
    expect(await watch(asked, there, recorder().terminal)).toMatchObject({ outcome: 'answered', answer: 'So.' });
    expect(calls).toBe(3);
  });

  test('a refusal is an answer, with its reason', async () => {
    const there = await gateway({ 'POST /v1/requests': (_, response) => json(response, 429, { code: 'queue_full', title: 'The queue is full' }) });
    expect(await watch(asked, there, recorder().terminal)).toMatchObject({ outcome: 'refused', reason: 'queue_full', detail: 'The queue is full' });
  });

  test.each([
    [401, /says 401: The credential is not valid/],
    [500, /says 500/],
  ])('a %i is a failure that says why', async (status, reason) => {
    const there = await gateway({ 'POST /v1/requests': (_, response) => json(response, status, { title: 'The credential is not valid' }) });
    await expect(watch(asked, there, recorder().terminal)).rejects.toThrow(reason);
  });

  test('a request that takes too long is named, for it goes on', async () => {
    const there = await gateway({
      'POST /v1/requests': (_, response) => json(response, 202, { request_id: 'r_1', stage: 'queued' }),
      'GET /v1/requests/r_1/events': (_, response) => response.writeHead(200).write(': waiting\n\n'),
    });
    await expect(watch({ ...asked, timeoutMs: 150 }, there, recorder().terminal)).rejects.toThrow(/within 0.15 s. Request r_1 was queued/);
  });

  test('where nobody listens it says where it looked', async () => {
    await expect(watch(asked, new Gateway('http://127.0.0.1:1', 'x'), recorder().terminal)).rejects.toThrow(/No gateway answers at http:\/\/127.0.0.1:1/);
  });
});
