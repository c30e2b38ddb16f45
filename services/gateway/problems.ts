/** Errors on HTTP: problem documents (RFC 9457). The status of each error code is mapped here and nowhere else. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ERRORS, type ErrorCode, EvenkeelError } from '#schemas/errors.ts';

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

export type Refused = { readonly limit?: number; readonly observed?: number; readonly retryAfterMs?: number | null; readonly offset?: number };

/** An error with what a client needs to act on it. */
export class Problem extends EvenkeelError {
  readonly refused: Refused;
  constructor(code: ErrorCode, message: string, refused: Refused = {}) {
    super(code, message);
    this.refused = refused;
  }
}

export function sendProblem(reply: FastifyReply, error: EvenkeelError, instance: string): FastifyReply {
  const { limit, observed, offset, retryAfterMs: known } = error instanceof Problem ? error.refused : ({} as Refused);
  const status = STATUS[error.code] ?? 500;
  const retryAfterMs = known ?? (status === 429 || status === 503 ? RETRY_MS : undefined);
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  if (retryAfterMs !== undefined) {
    const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000));
    reply.header('retry-after', seconds);
    // draft-ietf-httpapi-ratelimit-headers-10
    if (status === 429 && limit !== undefined)
      reply.headers({ ratelimit: `"${error.code}";r=0;t=${seconds}`, 'ratelimit-policy': `"${error.code}";q=${limit}` });
  }
  return reply
    .code(status)
    .type('application/problem+json')
    .send({
      type: `urn:evenkeel:problem:${error.code}`,
      title: error.title,
      status,
      detail: error.message,
      instance,
      code: error.code,
      ...(limit === undefined ? {} : { limit }),
      ...(observed === undefined ? {} : { observed }),
      ...(retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(retryAfterMs) }),
      ...(offset === undefined ? {} : { offset }),
    });
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
  request.log.error({ err: error }, 'a request failed');
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
