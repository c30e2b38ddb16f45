/** The HTTP server: bounds, error documents, OpenAPI and the routes. Its parts are injected, so it runs without Kafka in tests. */
import { readFileSync } from 'node:fs';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { EvenkeelError } from '#schemas/errors.ts';
import { adminRoutes } from './admin.ts';
import { dashboardRoutes } from './dashboard.ts';
import { documentRoutes } from './documents.ts';
import type { GatewayParts } from './parts.ts';
import { onError, pathOf, sendProblem } from './problems.ts';
import { requestRoutes } from './requests.ts';
import { documented } from './shapes.ts';

/** A message of 16,384 characters, each escaped, and its metadata. */
const BODY_LIMIT = 131_072;

/** For what failed on our side. */
export type Log = Pick<FastifyBaseLogger, 'warn' | 'error'>;

export async function createServer(parts: GatewayParts, log?: Log): Promise<FastifyInstance> {
  const app = Fastify({
    ...(log ? { loggerInstance: fastifyLog(log) } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT,
    requestTimeout: 30_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 300 },
    // Nothing a client sends is silently changed: no coercion, no field dropped.
    ajv: {
      customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allowUnionTypes: true, strictTypes: false, keywords: ['example'] },
    },
  });
  app.setErrorHandler(onError);
  app.setNotFoundHandler((request, reply) =>
    sendProblem(reply, new EvenkeelError('not_found', `there is no ${request.method} ${pathOf(request)}; see /docs`), pathOf(request)),
  );
  app.addHook('onSend', (_request, reply, _payload, done) => {
    reply.header('x-content-type-options', 'nosniff');
    done();
  });
  await app.register(swagger, {
    openapi: {
      info: { title: 'Evenkeel', version: '1', description: 'A multi-tenant support platform on Kafka. Tenant and person come from the credential alone.' },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
    },
    transform: ({ schema, url }) => ({ schema: documented(schema), url }),
  });
  const icon = readFileSync(new URL('./web/icon.svg', import.meta.url));
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    uiConfig: { deepLinking: true },
    theme: { title: 'Evenkeel API' },
    logo: { type: 'image/svg+xml', content: icon, href: '/', target: '_self' },
  });
  requestRoutes(app as unknown as FastifyInstance, parts);
  adminRoutes(app as unknown as FastifyInstance, parts);
  documentRoutes(app as unknown as FastifyInstance, parts);
  await dashboardRoutes(app as unknown as FastifyInstance, parts);
  return app as unknown as FastifyInstance;
}

/**
 * Our error handler's, and Fastify's own, which alone sees an answer that failed once it had begun. It asks for a child for each request,
 * which would cost more than the request's routing: it gets the one logger.
 */
function fastifyLog(log: Log): FastifyBaseLogger {
  const silent = () => undefined;
  const [warn, error] = [log.warn.bind(log), log.error.bind(log)];
  const logger: FastifyBaseLogger = { level: 'warn', silent, trace: silent, debug: silent, info: silent, warn, error, fatal: error, child: () => logger };
  return logger;
}
