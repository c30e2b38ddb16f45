/** Errors on HTTP: problem documents (RFC 9457). The status of each error code is mapped here and nowhere else. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ERRORS, type ErrorCode, EvenkeelError } from '#schemas/errors.ts';
import type { Allowance } from './rate.ts';

const STATUS: Partial<Record<ErrorCode, number>> = {
  body_invalid: 400,
  tenant_id_invalid: 400,
  amount_invalid: 400,
  policy_invalid: 422,
  credential_missing: 401,
  credential_invalid: 401,
  forbidden: 403,
  tenant_suspended: 403,
  tenant_unknown: 403,
  not_found: 404,
  conflict: 409,
  tenant_exists: 409,
  policy_version_conflict: 409,
  record_too_large: 413,
  deadline_expired: 422,
  rate_limited: 429,
  queue_full: 429,
  conversation_full: 429,
  budget_exhausted: 429,
  overloaded: 503,
  unavailable: 503,
};

/** Where nothing says when it will be better. */
const RETRY_MS = 1_000;

/** `balance`: what is left below the limit. `offset`: of the event that says so, or up to which the gateway's picture goes. */
export type Refused = {
  readonly limitName?: string;
  readonly limit?: number;
  readonly observed?: number;
  readonly balance?: number;
  readonly retryAfterMs?: number | null;
  readonly offset?: number | undefined;
  readonly allowance?: Allowance;
};

/** draft-ietf-httpapi-ratelimit-headers-10: the burst is the quota, and the time in which it fills the window. */
export function rateHeaders({ requestsPerSecond, burst, remaining, fullAfterMs }: Allowance): Record<string, string> {
  const seconds = (ms: number): number => Math.ceil(ms / 1_000);
  return {
    'ratelimit-policy': `"requests_per_second";q=${burst};w=${Math.max(1, seconds((burst * 1_000) / requestsPerSecond))}`,
    ratelimit: `"requests_per_second";r=${remaining};t=${seconds(fullAfterMs)}`,
  };
}

/** An error with what a client needs to act on it. */
export class Problem extends EvenkeelError {
  readonly refused: Refused;
  constructor(code: ErrorCode, message: string, refused: Refused = {}) {
    super(code, message);
    this.refused = refused;
  }
}

export function sendProblem(reply: FastifyReply, error: EvenkeelError, instance: string): FastifyReply {
  const { limitName, limit, balance, allowance } = error instanceof Problem ? error.refused : ({} as Refused);
  const { status, retryAfterMs } = fateOf(error);
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  if (retryAfterMs !== undefined) {
    const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000));
    reply.header('retry-after', seconds);
    if (allowance) reply.headers(rateHeaders(allowance));
    else if (status === 429 && limitName !== undefined)
      reply.headers({ ratelimit: `"${limitName}";r=${balance ?? 0};t=${seconds}`, 'ratelimit-policy': `"${limitName}";q=${limit}` });
  }
  return reply.code(status).type('application/problem+json').send(problemOf(error, instance));
}

/** The document. `instance`: the path that it is about. */
export function problemOf(error: EvenkeelError, instance: string) {
  const { limitName, limit, observed, balance, offset } = error instanceof Problem ? error.refused : ({} as Refused);
  const { status, retryAfterMs } = fateOf(error);
  return {
    type: `urn:evenkeel:problem:${error.code}`,
    title: error.title,
    status,
    detail: error.message,
    instance,
    code: error.code,
    ...(limitName === undefined ? {} : { limit_name: limitName }),
    ...(limit === undefined ? {} : { limit }),
    ...(observed === undefined ? {} : { observed }),
    ...(balance === undefined ? {} : { balance }),
    ...(retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(retryAfterMs) }),
    ...(offset === undefined ? {} : { offset }),
  };
}

function fateOf(error: EvenkeelError): { readonly status: number; readonly retryAfterMs: number | undefined } {
  const status = STATUS[error.code] ?? 500;
  const known = error instanceof Problem ? error.refused.retryAfterMs : undefined;
  return { status, retryAfterMs: known ?? (status === 429 || status === 503 ? RETRY_MS : undefined) };
}

/** Everything that a handler or Fastify itself throws. */
export function onError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return sendProblem(reply, toEvenkeel(error, request), pathOf(request));
}

function toEvenkeel(error: FastifyError, request: FastifyRequest): EvenkeelError {
  if (error instanceof EvenkeelError) return error;
  if (error.statusCode === 413) return new EvenkeelError('record_too_large', 'the body is larger than this call takes');
  if (error.validation) return new EvenkeelError('body_invalid', validationOf(error));
  if (error.statusCode !== undefined && error.statusCode < 500) return new EvenkeelError('body_invalid', error.message);
  request.log.error({ err: error, reqId: request.id, route: `${request.method} ${pathOf(request)}` }, 'a request failed');
  return new EvenkeelError('unavailable', 'something failed on our side; the same request may be tried again');
}

/** Ajv does not name the field that should not be there. */
function validationOf({ message, validation }: FastifyError): string {
  const unknown = validation?.[0]?.params.additionalProperty;
  return typeof unknown === 'string' ? `${message}: ${JSON.stringify(unknown.slice(0, 100))} is not known here; see /docs` : `${message}; see /docs`;
}

export const pathOf = ({ url }: FastifyRequest): string => url.split('?', 1)[0]?.slice(0, 300) ?? '/';

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}
