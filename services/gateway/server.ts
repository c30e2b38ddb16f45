/** The HTTP server: bounds, error documents, OpenAPI and the routes. Its parts are injected, so it runs without Kafka in tests. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { EvenkeelError } from '#schemas/errors.ts';
import { adminRoutes } from './admin.ts';
import { dashboardRoutes } from './dashboard.ts';
import type { GatewayParts } from './parts.ts';
import { onError, sendProblem } from './problems.ts';
import { requestRoutes } from './requests.ts';

const BODY_LIMIT = 65_536;

export async function createServer(parts: GatewayParts, loggerInstance?: FastifyBaseLogger): Promise<FastifyInstance> {
  const app = Fastify({
    ...(loggerInstance ? { loggerInstance, disableRequestLogging: true } : { logger: false }),
    bodyLimit: BODY_LIMIT,
    requestTimeout: 30_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 300 },
    // Nothing a client sends is silently changed: no coercion, no field dropped.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allowUnionTypes: true, strictTypes: false, keywords: ['example'] } },
  });
  app.setErrorHandler(onError);
  app.setNotFoundHandler((request, reply) => sendProblem(reply, new EvenkeelError('not_found', `there is no ${request.method} ${request.url.slice(0, 200)}; see /docs`), request.url));
  await app.register(swagger, {
    openapi: {
      info: { title: 'Evenkeel', version: '1', description: 'A multi-tenant support platform on Kafka. Tenant and person come from the credential alone.' },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
    },
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
  requestRoutes(app as unknown as FastifyInstance, parts);
  adminRoutes(app as unknown as FastifyInstance, parts);
  await dashboardRoutes(app as unknown as FastifyInstance, parts);
  return app as unknown as FastifyInstance;
}
