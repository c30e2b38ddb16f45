/** The live page and what feeds it: a snapshot, then the tenants that changed, at most four times a second. */

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { TenantId } from '#schemas/ids.ts';
import type { Caller } from './auth.ts';
import { type GatewayParts, identify, mustBe, rightLost } from './parts.ts';
import { security } from './shapes.ts';
import { eventStream } from './sse.ts';

const COALESCE_MS = 250;
/** Rows of one page: it compares tenants, it does not list ten thousand. */
const MOST_TENANTS = 200;
/** How often numbers that no event moves are sent: the minutes pass, and so does the day. */
const MINUTE_MS = 60_000;
const WEB = fileURLToPath(new URL('./web/', import.meta.url));
const UPLOT = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
/** Only our own files, no inline script or style; text is rendered as text. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

export async function dashboardRoutes(app: FastifyInstance, parts: GatewayParts): Promise<void> {
  const setHeaders = (reply: FastifyReply) => {
    void reply.headers({ 'content-security-policy': POLICY, 'referrer-policy': 'no-referrer', 'cache-control': 'no-cache' });
  };
  const served = { setHeaders, cacheControl: false, schemaHide: true } as const;
  await app.register(fastifyStatic, { root: WEB, prefix: '/', globIgnore: ['**/*.json'], ...served });
  await app.register(fastifyStatic, { root: join(UPLOT, 'dist'), prefix: '/uplot/', decorateReply: false, ...served });
  const schema = {
    security,
    tags: ['tenants'],
    summary: 'All that a caller may see, live',
    description: 'Server-sent events: `snapshot`, then `tenants` with those that changed, at most four times a second.',
    produces: ['text/event-stream'],
  };
  app.get('/v1/live', { schema }, async (request, reply) => {
    const caller = await identify(parts, request);
    mustBe(caller, 'operator', 'tenant_admin', 'auditor');
    live(parts, caller, request, reply);
  });
}

const maySee = ({ role, tenant }: Caller, of: TenantId): boolean => (role === 'operator' && tenant === undefined) || tenant === of;

function live(parts: GatewayParts, caller: Caller, request: FastifyRequest, reply: FastifyReply): void {
  const { view } = parts;
  const giveBack = parts.streams.take(caller.tenant ?? 'operator');
  const stream = eventStream(request, reply, caller.expiresAt);
  stream.onClose(giveBack);
  const shown = new Set(view.liveliest(MOST_TENANTS).filter((tenant) => maySee(caller, tenant)));
  const numbers = (tenants: Iterable<TenantId>) => [...tenants].flatMap((tenant) => view.numbers(tenant) ?? []);
  const changed = new Set<TenantId>();
  let timer: NodeJS.Timeout | undefined;
  const send = (event: string, tenants: Iterable<TenantId>) => {
    if (rightLost(parts, caller)) return stream.end();
    stream.send(event, { role: caller.role, tenant: caller.tenant ?? null, at: view.now, known: view.tenants().length, tenants: numbers(tenants) });
  };
  const flush = () => {
    timer = undefined;
    send('tenants', changed);
    changed.clear();
  };
  const minutely = setInterval(() => send('tenants', shown), MINUTE_MS);
  stream.onClose(() => clearInterval(minutely));
  stream.onClose(() => clearTimeout(timer));
  stream.onClose(
    parts.lifecycle.onAny(({ event: { tenant } }) => {
      if (!maySee(caller, tenant) || (!shown.has(tenant) && shown.size >= MOST_TENANTS)) return;
      shown.add(tenant);
      changed.add(tenant);
      timer ??= setTimeout(flush, COALESCE_MS);
    }),
  );
  send('snapshot', shown);
}
