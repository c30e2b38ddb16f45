/** The live page and what feeds it: a snapshot, then the tenants that changed, at most four times a second. */
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TenantId } from '#schemas/ids.ts';
import type { Caller } from './auth.ts';
import { type GatewayParts, mustBe } from './parts.ts';
import { eventStream } from './sse.ts';

const COALESCE_MS = 250;
const WEB = fileURLToPath(new URL('./web/', import.meta.url));
const UPLOT = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export async function dashboardRoutes(app: FastifyInstance, parts: GatewayParts): Promise<void> {
  const setHeaders = (reply: FastifyReply) => {
    void reply.headers({ 'content-security-policy': POLICY, 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
  };
  await app.register(fastifyStatic, { root: WEB, prefix: '/', setHeaders, cacheControl: false });
  await app.register(fastifyStatic, { root: join(UPLOT, 'dist'), prefix: '/uplot/', decorateReply: false, setHeaders });
  app.get('/v1/live', { schema: { security: [{ bearer: [] }], tags: ['tenants'], summary: 'All that a caller may see, live' } }, async (request, reply) => {
    const caller = await parts.auth.authenticate(request.headers.authorization);
    mustBe(caller, 'operator', 'tenant_admin', 'auditor');
    live(parts, caller, request, reply);
  });
}

function live(parts: GatewayParts, caller: Caller, request: FastifyRequest, reply: FastifyReply): void {
  const stream = eventStream(request, reply);
  const maySee = (tenant: TenantId) => (caller.role === 'operator' && caller.tenant === undefined) || caller.tenant === tenant;
  const numbers = (tenants: Iterable<TenantId>) => [...tenants].filter(maySee).flatMap((tenant) => parts.view.numbers(tenant) ?? []);
  const changed = new Set<TenantId>();
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    timer = undefined;
    if (Date.now() > caller.expiresAt) return stream.end();
    stream.send('tenants', numbers(changed));
    changed.clear();
  };
  stream.onClose(
    parts.lifecycle.onAny(({ event: { tenant } }) => {
      if (!maySee(tenant)) return;
      changed.add(tenant);
      timer ??= setTimeout(flush, COALESCE_MS);
    }),
  );
  stream.onClose(() => clearTimeout(timer));
  stream.send('snapshot', numbers(parts.view.tenants()));
}
