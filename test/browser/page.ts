/** Chromium on a gateway that is told a story. */
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { hmacKey } from '#schemas/hmac.ts';
import { Authenticator } from '#services/gateway/auth.ts';
import { Lifecycle } from '#services/gateway/lifecycle.ts';
import { RateCounter } from '#services/gateway/rate.ts';
import { createServer } from '#services/gateway/server.ts';
import { StreamBound } from '#services/gateway/sse.ts';
import { Submissions } from '#services/gateway/submissions.ts';
import { View } from '#services/gateway/view.ts';
import { issuer } from '../services/gateway-desk.ts';
import { Storyteller } from './demo.ts';

/** The real server, over rows that a storyteller makes. */
export async function openStage() {
  const [view, lifecycle] = [new View(), new Lifecycle()];
  const story = new Storyteller(view, lifecycle);
  const app = await createServer({
    auth: new Authenticator([await issuer()]),
    codec: createCodec(localSchemas()),
    vault: { seal: async (_tenant, _person, _place, words) => words, open: async (_tenant, _person, _place, words) => words },
    masterKey: new Uint8Array(32),
    platformKey: hmacKey(Buffer.alloc(32)),
    partitions: 1,
    send: async () => undefined,
    peek: ({ tenant }) => story.account(tenant),
    result: async () => undefined,
    placeOf: async () => undefined,
    lifecycle,
    rate: new RateCounter(),
    streams: new StreamBound(50),
    submissions: new Submissions(),
    view,
    refused: () => undefined,
    random: randomUUID,
    verdictMs: 50,
    commandMs: 50,
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return { app, story, view, url: `http://127.0.0.1:${port}` };
}
