/** One request that the registry leaves lying, or a connection that it drops, does not end a process; a registry that is down does, and is named. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { loadSchemas } from '#streams/kafka/registry.ts';

let close: () => void = () => undefined;
afterEach(() => close());

async function listening(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  close = () => {
    server.closeAllConnections();
    server.close();
  };
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const VERSION = JSON.stringify({ version: 1, id: 7, schema: '{"type":"string"}' });

test('what is left lying or cut off once is asked for again', async () => {
  const seen = new Map<string, number>();
  const url = await listening((request, response) => {
    const before = seen.get(request.url ?? '') ?? 0;
    seen.set(request.url ?? '', before + 1);
    if (before > 0) return response.end(VERSION);
    if (seen.size === 1) return;
    if (seen.size === 2) return request.socket.destroy();
    return response.end(VERSION);
  });
  const loaded = await loadSchemas(url);
  expect(loaded).toHaveLength(seen.size);
  expect(Math.max(...seen.values())).toBe(2);
});

test('one that is down is named, with the reason', async () => {
  const url = await listening(() => undefined);
  close();
  await expect(loadSchemas(url)).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining(`${url}: connect ECONNREFUSED`) });
});
