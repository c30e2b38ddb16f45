/** What the routes' schemas share. They check what comes in, and OpenAPI is generated from them. */
import { ERRORS } from '#schemas/errors.ts';

export const security = [{ bearer: [] }];

export const object = (required: readonly string[], properties: Record<string, object>) => ({
  type: 'object',
  required,
  additionalProperties: false,
  properties,
});

/** Headers that a route documents. They are always text, and each is checked where it is read: a validator for them would run for nothing. */
type Headers = Record<string, { readonly type: 'string'; readonly description: string }>;

export const withKey = (description: string): { readonly describedHeaders: Headers } => ({
  describedHeaders: { 'idempotency-key': { type: 'string', description } },
});

export const withKeyAndWait = (description: string): { readonly describedHeaders: Headers } => ({
  describedHeaders: {
    ...withKey(description).describedHeaders,
    prefer: {
      type: 'string',
      description:
        'RFC 7240. `wait=SECONDS`, at most 60: a request that ends meanwhile is answered whole, with 200. `respond-async`: answered with 202 as soon as its record is safe, before the task has decided.',
    },
  },
});

/** A route's schema as OpenAPI has it. */
export function documented(schema: object | undefined): object {
  const { describedHeaders, ...rest } = (schema ?? {}) as { readonly describedHeaders?: Headers };
  return describedHeaders === undefined ? rest : { ...rest, headers: { type: 'object', properties: describedHeaders } };
}

const id = 'r_3tQv9mYc0Zk1xWb7LhPs2A';
export const EXAMPLES = {
  requestId: id,
  request: { message: 'How do I add a hook that runs before each handler?', deadline_ms: 30_000 },
  published: { request_id: id, stage: 'queued', links: { self: `/v1/requests/${id}`, events: `/v1/requests/${id}/events` } },
  finished: {
    request_id: id,
    stage: 'finished',
    outcome: 'answered',
    reason: 'answered',
    answer: 'Use fastify.addHook("preHandler", …).',
    citations: [{ document: 'Reference/Hooks.md', heading: 'preHandler', version: '5.12.8' }],
    cost_micro_usd: 412,
    degraded: null,
    retry_at: null,
    queued_at: '2026-11-24T10:00:00.000Z',
    started_at: '2026-11-24T10:00:00.018Z',
    finished_at: '2026-11-24T10:00:00.352Z',
    deadline: '2026-11-24T10:01:00.000Z',
  },
  policy: { requestsPerSecond: 50, burst: 100, budgetDay: 5_000_000 },
} as const;

/** Each field is named, so that nothing is looked for when one is written. */
export const PUBLISHED = {
  ...object(['request_id', 'stage', 'links'], {
    request_id: { type: 'string' },
    stage: { type: 'string', description: '`submitted` until the task has decided.' },
    links: object(['self', 'events'], { self: { type: 'string' }, events: { type: 'string' } }),
    offset: { type: 'integer', description: 'Of the verdict in the history.' },
  }),
  examples: [EXAMPLES.published],
};

const PROBLEM = {
  type: 'object',
  additionalProperties: true,
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string' },
    code: { type: 'string', enum: Object.keys(ERRORS) },
    limit_name: { type: 'string', description: 'Of the table of limits.' },
    limit: { type: 'number' },
    observed: { type: 'number' },
    balance: { type: 'number', description: 'What is left below the limit.' },
    retry_after_ms: { type: 'number' },
    offset: { type: 'integer' },
  },
};

/** Problem documents (RFC 9457) that a call may answer with. */
export function PROBLEMS(...statuses: readonly number[]): Record<number, object> {
  const content = { 'application/problem+json': { schema: PROBLEM } };
  return Object.fromEntries(statuses.map((status) => [status, { description: 'A problem document (RFC 9457)', content }]));
}
