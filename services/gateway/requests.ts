/** Publishing a support request and following it. A client is answered once the task has decided, or after a second: the record is safe. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { conversationId, deriveKey, keyedDigest, personId, requestId, tenantSecret } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Event } from '#schemas/events.ts';
import { parseRequestId, type PersonId, type RequestId, type TenantId } from '#schemas/ids.ts';
import { KID_HEADER, PLATFORM_KID, SIGNATURE_HEADER, signPlatform } from '#schemas/signature.ts';
import type { Topic } from '#schemas/topics.ts';
import type { Mark } from '#streams/support/state.ts';
import type { Caller } from './auth.ts';
import type { Happened } from './lifecycle.ts';
import { type GatewayParts, mustBe, partition } from './parts.ts';
import { isErrorCode, Problem } from './problems.ts';
import { eventStream } from './sse.ts';
import { stageOf } from './view.ts';

const REQUESTS: Topic = 'support.requests';
type Body = { readonly message: string; readonly conversation_id?: string; readonly deadline_ms?: number; readonly metadata?: Record<string, unknown> };
type Of = { readonly Params: { readonly id: string } };

const BODY = {
  type: 'object',
  required: ['message'],
  additionalProperties: false,
  properties: {
    message: { type: 'string', minLength: 1, maxLength: 16_384, description: 'The question, as the customer wrote it.' },
    conversation_id: { type: 'string', minLength: 1, maxLength: 200, description: 'Requests of one conversation run one at a time, in order.' },
    deadline_ms: { type: 'integer', minimum: 0, maximum: 86_400_000, description: 'From now; the tenant’s default otherwise.' },
    metadata: { type: 'object', maxProperties: 32, additionalProperties: true, description: 'Kept with the request, at most 4 KiB of JSON.' },
  },
  examples: [{ message: 'How do I add a hook?', deadline_ms: 30_000 }],
} as const;
const MOST_METADATA = 4_096;

export function requestRoutes(app: FastifyInstance, parts: GatewayParts): void {
  const security = [{ bearer: [] }];
  const tags = ['requests'];
  app.post<{ Body: Body }>('/v1/requests', { schema: { body: BODY, security, tags, summary: 'Publish a support request' } }, async (request, reply) => {
    const caller = await parts.auth.authenticate(request.headers.authorization);
    const published = await publish(parts, caller, request.body, idempotencyKey(request));
    return reply.code(202).header('location', published.links.self).send(published);
  });
  app.get<Of>('/v1/requests/:id', { schema: { security, tags, summary: 'Its stage and, once finished, its outcome' } }, async (request) => {
    const caller = await parts.auth.authenticate(request.headers.authorization);
    const { tenant, id, mark } = mine(parts, caller, request.params.id);
    return describe(parts, tenant, id, mark);
  });
  app.get<Of>('/v1/requests/:id/events', { schema: { security, tags, summary: 'Its lifecycle as server-sent events' } }, async (request, reply) => {
    const caller = await parts.auth.authenticate(request.headers.authorization);
    await follow(parts, caller, request, reply);
  });
}

function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && /^[\x21-\x7e]{1,200}$/.test(key)) return key;
  throw new EvenkeelError('body_invalid', 'Idempotency-Key: 1 to 200 printable characters');
}

async function publish(parts: GatewayParts, caller: Caller, body: Body, key: string | undefined) {
  mustBe(caller, 'end_user', 'tenant_admin', 'operator');
  const tenant = caller.tenant;
  if (!tenant) throw new EvenkeelError('forbidden', 'a request is published with a tenant’s credential');
  const metadata = body.metadata === undefined ? null : JSON.stringify(body.metadata);
  if (metadata !== null && metadata.length > MOST_METADATA) throw new EvenkeelError('body_invalid', `metadata: at most ${MOST_METADATA} characters of JSON`);
  checkCheaply(parts, tenant);
  const sent = key ?? parts.random();
  const secret = tenantSecret(parts.masterKey, tenant);
  const [person, id] = [personId(secret, caller.person), requestId(secret, caller.person, sent)];
  const digest = keyedDigest(secret, 'body', body.message, metadata ?? '', body.conversation_id ?? '');
  const known = parts.peek({ tenant, mark: id }).mark;
  if (known) return answerKnown(known, digest, id);
  const words = Buffer.from(JSON.stringify({ message: body.message, metadata }));
  const sealed = await parts.vault.seal(tenant, person, `${id}/message`, words);
  const value = parts.codec.encode('support_request', {
    tenantId: tenant,
    requestId: sent,
    person: caller.person,
    role: caller.role,
    conversationId: body.conversation_id ?? null,
    deadlineMs: body.deadline_ms ?? null,
    message: null,
    metadata: null,
    sealed: Buffer.from(sealed),
  });
  const signature = signPlatform(deriveKey(parts.masterKey, 'platform-signature'), REQUESTS, tenant, value);
  const record = { topic: REQUESTS, partition: partition(parts, tenant), key: tenant, value, headers: { [KID_HEADER]: PLATFORM_KID, [SIGNATURE_HEADER]: signature } };
  const verdict = await parts.lifecycle.first(tenant, id, isVerdict, parts.verdictMs, () => parts.send([record]));
  return answerVerdict(verdict, id);
}

/** From the projection and a counter of the gateway's own: unknown, suspended, too fast, or a queue that is already full. */
function checkCheaply({ peek, rate }: GatewayParts, tenant: TenantId): void {
  const { account } = peek({ tenant });
  if (!account.created) throw new EvenkeelError('tenant_unknown', `there is no tenant ${tenant}`);
  if (account.suspended) throw new EvenkeelError('tenant_suspended', `${tenant} is suspended: an operator may resume it`);
  const tooFast = rate.take(tenant, account.policy, Date.now());
  const { requestsPerSecond, burst, maxQueued } = account.policy;
  if (tooFast)
    throw new Problem('rate_limited', `${requestsPerSecond} requests/s with a burst of ${burst}; try again in ${Math.ceil(tooFast.retryAfterMs)} ms`, {
      limit: requestsPerSecond,
      observed: burst,
      retryAfterMs: tooFast.retryAfterMs,
    });
  if (account.queued >= maxQueued)
    throw new Problem('queue_full', `${account.queued} requests wait, the limit is ${maxQueued}`, { limit: maxQueued, observed: account.queued, retryAfterMs: 1_000 });
}

const isVerdict = ({ type }: Event): boolean => type === 'request_queued' || type === 'request_refused' || type === 'request_conflicted';

const links = (id: RequestId) => ({ self: `/v1/requests/${id}`, events: `/v1/requests/${id}/events` });

function answerKnown(mark: Mark, digest: string, id: RequestId) {
  if (mark.bodyDigest !== digest) throw new EvenkeelError('conflict', 'this Idempotency-Key was used for another body; take a new key');
  return { request_id: id, stage: mark.stage, links: links(id) };
}

function answerVerdict(verdict: Happened | undefined, id: RequestId) {
  if (!verdict) return { request_id: id, stage: 'submitted', links: links(id) };
  const { event, offset } = verdict;
  if (event.type === 'request_conflicted') throw new Problem('conflict', 'this Idempotency-Key was used for another body; take a new key', { offset });
  if (event.type === 'request_refused') {
    const { code, limit, observed, retryAfterMs } = event;
    throw new Problem(isErrorCode(code) ? code : 'overloaded', `refused by ${code}: ${observed} of ${limit}`, { limit, observed, retryAfterMs, offset });
  }
  return { request_id: id, stage: 'queued', links: links(id) };
}

type Mine = { readonly tenant: TenantId; readonly id: RequestId; readonly mark: Mark };

/** Another tenant's or another person's request is not there at all. */
function mine(parts: GatewayParts, caller: Caller, text: string): Mine {
  const id = parseRequestId(text);
  const { tenant } = caller;
  const mark = id && tenant ? parts.peek({ tenant, mark: id }).mark : undefined;
  if (!id || !tenant || mark?.kind !== 'request' || !mayRead(parts, caller, mark)) throw new EvenkeelError('not_found', 'there is no such request for this credential');
  return { tenant, id, mark };
}

function mayRead({ masterKey }: GatewayParts, { role, person, tenant }: Caller, mark: Mark): boolean {
  if (role !== 'end_user') return true;
  return tenant !== undefined && mark.person === personId(tenantSecret(masterKey, tenant), person);
}

async function describe(parts: GatewayParts, tenant: TenantId, id: RequestId, mark: Mark) {
  const words = mark.stage === 'finished' ? await wordsOf(parts, tenant, id, mark.person as PersonId) : undefined;
  return {
    request_id: id,
    stage: mark.stage,
    outcome: mark.outcome,
    reason: mark.reason,
    answer: words?.answer ?? null,
    citations: words?.citations ?? [],
    cost_micro_usd: mark.cost,
    degraded: mark.degraded,
    queued_at: iso(mark.queuedAt),
    started_at: iso(mark.startedAt),
    finished_at: iso(mark.finishedAt),
    deadline: iso(mark.deadline),
    links: links(id),
  };
}

const iso = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString());

async function wordsOf(parts: GatewayParts, tenant: TenantId, id: RequestId, person: PersonId) {
  const result = await parts.result(partition(parts, tenant), tenant, id);
  if (!result?.sealed) return undefined;
  const opened = await parts.vault.open(tenant, person, `${id}/result`, result.sealed);
  return JSON.parse(Buffer.from(opened).toString()) as { readonly answer: string; readonly citations: readonly unknown[] };
}

/** What is known of it, then what happens, until its end. The right to see is asked again at each event. */
async function follow(parts: GatewayParts, caller: Caller, request: FastifyRequest<Of>, reply: FastifyReply): Promise<void> {
  const { tenant, id, mark } = await arrived(parts, caller, request.params.id);
  const stream = eventStream(request, reply);
  const send = ({ event, offset, at }: Happened) => {
    if (Date.now() > caller.expiresAt) return stream.end();
    const stage = stageOf(event);
    if (stage) stream.send(stage, { stage, at: iso(at), ...('step' in event ? { step: event.step } : {}), ...('outcome' in event ? { outcome: event.outcome, reason: event.reason } : {}) }, offset);
    if (event.type === 'request_finished') stream.end();
  };
  stream.onClose(parts.lifecycle.onRequest(tenant, id, send));
  const now = parts.peek({ tenant, mark: id }).mark ?? mark;
  const position = parts.position(partition(parts, tenant));
  stream.send('queued', { stage: 'queued', at: iso(now.queuedAt) }, position);
  if (now.startedAt !== null) stream.send('running', { stage: 'running', at: iso(now.startedAt) }, position);
  if (now.stage !== 'finished') return;
  stream.send('finished', { stage: 'finished', at: iso(now.finishedAt), outcome: now.outcome, reason: now.reason }, position);
  stream.end();
}

/** A request that was answered with stage `submitted` may not have been decided yet. */
async function arrived(parts: GatewayParts, caller: Caller, text: string): Promise<Mine> {
  const id = parseRequestId(text);
  if (id && caller.tenant && !parts.peek({ tenant: caller.tenant, mark: id }).mark)
    await parts.lifecycle.first(caller.tenant, id, isVerdict, parts.verdictMs, () => Promise.resolve());
  return mine(parts, caller, text);
}

