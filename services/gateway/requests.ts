/** Publishing a support request and reading it. A client is answered once the task has decided, or after a second: the record is safe. */
import type { FastifyInstance } from 'fastify';
import { conversationId, keyedDigest, personId, requestId, tenantSecret } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Event } from '#schemas/events.ts';
import { type PersonId, parseRequestId, type RequestId, type TenantId } from '#schemas/ids.ts';
import { KID_HEADER, PLATFORM_KID, SIGNATURE_HEADER, signPlatform } from '#schemas/signature.ts';
import type { Topic } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Mark } from '#streams/support/state.ts';
import type { Caller } from './auth.ts';
import { explainWaiting } from './explain.ts';
import { follow } from './follow.ts';
import type { Happened } from './lifecycle.ts';
import { type GatewayParts, idempotencyKey, identify, mustBe, partition } from './parts.ts';
import { Problem, rateHeaders } from './problems.ts';
import { checkLimits, checkRate, refusedByTask } from './refusals.ts';
import { EXAMPLES, object, PROBLEMS, security, withKey, withWait } from './shapes.ts';

const REQUESTS: Topic = 'support.requests';
type Body = { readonly message: string; readonly conversation_id?: string; readonly deadline_ms?: number; readonly metadata?: Record<string, unknown> };
type Of = { readonly Params: { readonly id: string } };

/** Characters are UTF-16 units, as the runtime counts them. */
const MOST = { message: 16_384, conversation: 200, metadata: 4_096 };
/** A result that has not come this long after its request's end is gone: it was kept for less time than the request's mark. */
const RESULT_COMES_WITHIN_MS = 60_000;
const RESULT_WAIT_MS = 1_000;
const MOST_WAIT_MS = 60_000;

const BODY = {
  ...object(['message'], {
    message: { type: 'string', minLength: 1, maxLength: MOST.message, description: 'The question, as the customer wrote it.' },
    conversation_id: { type: 'string', minLength: 1, maxLength: MOST.conversation, description: 'Requests of one conversation run one at a time, in order.' },
    deadline_ms: { type: 'integer', minimum: 0, maximum: 86_400_000, description: 'From now; the tenant’s default otherwise.' },
    metadata: { type: 'object', maxProperties: 32, additionalProperties: true, description: 'Kept with the request, at most 4 KiB of JSON.' },
  }),
  examples: [EXAMPLES.request],
};
const ID = object(['id'], { id: { type: 'string', examples: [EXAMPLES.requestId] } });

export function requestRoutes(app: FastifyInstance, parts: GatewayParts): void {
  const tags = ['requests'];
  const post = {
    summary: 'Publish a support request',
    description:
      'Answered when the task has decided: queued, or refused with the limit that said no. After a second without a verdict: `submitted`, and the record is safe.',
    body: BODY,
    headers: withWait(withKey('The same key is the same request: a repeat returns it, with another body it is refused.')),
    response: {
      200: { description: 'It ended within the wait that was preferred', type: 'object', additionalProperties: true, examples: [EXAMPLES.finished] },
      202: { description: 'Accepted', type: 'object', additionalProperties: true, examples: [EXAMPLES.published] },
      ...PROBLEMS(400, 401, 403, 409, 413, 422, 429, 503),
    },
  };
  app.post<{ Body: Body }>('/v1/requests', { schema: { ...post, security, tags } }, async (request, reply) => {
    const caller = await identify(parts, request);
    const { published, allowance } = await publish(parts, caller, request.body, idempotencyKey(request));
    reply.header('location', published.links.self).headers(rateHeaders(allowance));
    const ended = await endWithin(parts, caller, published.request_id, preferredWait(request.headers.prefer));
    if (!ended) return reply.code(202).send(published);
    return reply
      .code(200)
      .header('preference-applied', 'wait')
      .send(await describe(parts, caller, ended));
  });
  const get = {
    summary: 'A request: its stage, while it waits what for, who is ahead and until when, and once finished its outcome and answer',
    params: ID,
    response: { 200: { description: 'As it is now', type: 'object', additionalProperties: true, examples: [EXAMPLES.finished] }, ...PROBLEMS(401, 403, 404) },
  };
  app.get<Of>('/v1/requests/:id', { schema: { ...get, security, tags } }, async (request) => {
    const caller = await identify(parts, request);
    return describe(parts, caller, mine(parts, caller, request.params.id));
  });
  const why = { summary: 'Why a request waits, without its words: an operator may ask for any tenant’s', params: ID };
  app.get<Of>('/v1/requests/:id/explain', { schema: { ...why, security, tags } }, async (request) => {
    const caller = await identify(parts, request);
    const { tenant, id, mark } = caller.role === 'operator' ? anyones(parts, caller, request.params.id) : mine(parts, caller, request.params.id);
    const waiting = await explainWaiting(parts, partition(parts, tenant), mark, caller.role !== 'end_user');
    const { stage, outcome, reason, queuedAt, startedAt, finishedAt, deadline } = mark;
    const times = { queued_at: iso(queuedAt), started_at: iso(startedAt), finished_at: iso(finishedAt), deadline: iso(deadline) };
    return { tenant, request_id: id, stage, outcome, reason, ...times, waiting: waiting ?? null };
  });
  const events = {
    summary: 'A request’s life as server-sent events',
    description: 'What is known of it, then what happens, until `finished`. Each event’s id is its offset in the history.',
    params: ID,
    produces: ['text/event-stream'],
  };
  app.get<Of>('/v1/requests/:id/events', { schema: { ...events, security, tags } }, async (request, reply) => {
    const caller = await identify(parts, request);
    const { tenant, id } = await arrived(parts, caller, request.params.id);
    follow(parts, caller, { tenant, id }, request, reply);
  });
}

async function publish(parts: GatewayParts, caller: Caller, body: Body, key: string | undefined) {
  mustBe(caller, 'end_user', 'tenant_admin', 'operator');
  const { tenant } = caller;
  if (!tenant) throw new EvenkeelError('forbidden', 'a request is published with a tenant’s credential; this one names none');
  const metadata = metadataOf(body);
  const allowance = checkRate(parts, tenant);
  const sent = key ?? parts.random();
  const secret = tenantSecret(parts.masterKey, tenant);
  const [person, id] = [personId(secret, caller.person), requestId(secret, caller.person, sent)];
  const digest = keyedDigest(secret, 'body', body.message, metadata ?? '', body.conversation_id ?? '');
  const words = Buffer.from(JSON.stringify({ message: body.message, metadata }));
  const sealed = await parts.vault.seal(tenant, person, `${id}/message`, words);
  // From here to the listening there is no await: the verdict of a request that is on its way cannot slip between.
  const known = parts.peek({ tenant, mark: id }).mark;
  if (known) return { published: answerKnown(known, digest, id), allowance };
  checkLimits(parts, tenant, conversationId(secret, caller.person, body.conversation_id ?? `request:${sent}`), body.deadline_ms);
  const record = recordOf(parts, caller, tenant, body, sent, sealed);
  const verdict = await parts.lifecycle.first(tenant, id, isVerdict(digest), parts.verdictMs, () => parts.send([record]));
  return { published: answerVerdict(verdict, id, digest), allowance };
}

/** `Prefer: wait=10` (RFC 7240), ms. A longer wait than ours is ours. */
function preferredWait(prefer: string | string[] | undefined): number {
  const seconds = /(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])/.exec(String(prefer ?? ''))?.[1];
  return Math.min(Number(seconds ?? 0) * 1_000, MOST_WAIT_MS);
}

/** The request once it has ended; undefined when it has not within `ms`. */
async function endWithin(parts: GatewayParts, caller: Caller, id: RequestId, ms: number): Promise<Mine | undefined> {
  if (ms === 0) return undefined;
  const { tenant } = caller;
  const ended = () => (tenant ? parts.peek({ tenant, mark: id }).mark?.stage === 'finished' : false);
  // Between the look and the listening there is no await: the end cannot slip between.
  if (tenant && !ended())
    await parts.lifecycle.first(
      tenant,
      id,
      ({ type }) => type === 'request_finished',
      ms,
      () => Promise.resolve(),
    );
  return ended() ? mine(parts, caller, id) : undefined;
}

/** The schema counts characters; records are bounded in UTF-16 units. */
function metadataOf({ message, conversation_id: conversation = '', metadata }: Body): string | null {
  if (message.length > MOST.message) throw new EvenkeelError('body_invalid', `message: at most ${MOST.message} UTF-16 units, this has ${message.length}`);
  if (conversation.length > MOST.conversation) throw new EvenkeelError('body_invalid', `conversation_id: at most ${MOST.conversation} UTF-16 units`);
  const json = metadata === undefined ? null : JSON.stringify(metadata);
  if (json !== null && json.length > MOST.metadata)
    throw new EvenkeelError('body_invalid', `metadata: at most ${MOST.metadata} characters of JSON, this has ${json.length}`);
  return json;
}

function recordOf(parts: GatewayParts, caller: Caller, tenant: TenantId, body: Body, sent: string, sealed: Uint8Array): Output {
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
  const signature = signPlatform(parts.platformKey, REQUESTS, tenant, value);
  return { topic: REQUESTS, partition: partition(parts, tenant), key: tenant, value, headers: { [KID_HEADER]: PLATFORM_KID, [SIGNATURE_HEADER]: signature } };
}

/** Two clients may send one key at once with different bodies: the event says whose was taken. */
const isVerdict =
  (digest: string) =>
  (event: Event): boolean =>
    event.type === 'request_queued' || event.type === 'request_refused' || (event.type === 'request_conflicted' && event.bodyDigest === digest);

const links = (id: RequestId) => ({ self: `/v1/requests/${id}`, events: `/v1/requests/${id}/events` });
const CONFLICT = 'this Idempotency-Key was used for another body: send the same body again, or take a new key';

function answerKnown(mark: Mark, digest: string, id: RequestId) {
  if (mark.bodyDigest !== digest) throw new EvenkeelError('conflict', CONFLICT);
  return { request_id: id, stage: mark.stage, links: links(id) };
}

function answerVerdict(verdict: Happened | undefined, id: RequestId, digest: string) {
  if (!verdict) return { request_id: id, stage: 'submitted', links: links(id) };
  const { event, offset } = verdict;
  if (event.type === 'request_conflicted' || (event.type === 'request_queued' && event.bodyDigest !== digest))
    throw new Problem('conflict', CONFLICT, { offset });
  if (event.type !== 'request_refused') return { request_id: id, stage: 'queued', links: links(id), offset };
  throw refusedByTask(event, offset);
}

type Mine = { readonly tenant: TenantId; readonly id: RequestId; readonly mark: Mark };

/** Another tenant's or another person's request is not there at all. */
function mine(parts: GatewayParts, caller: Caller, text: string): Mine {
  const id = parseRequestId(text);
  const { tenant } = caller;
  const mark = id && tenant ? parts.peek({ tenant, mark: id }).mark : undefined;
  if (!id || !tenant || mark?.kind !== 'request' || !mayRead(parts, caller, mark))
    throw new EvenkeelError('not_found', 'there is no such request for this credential');
  return { tenant, id, mark };
}

/** Ids are digests that do not name their tenant, so each is asked for it. */
function anyones(parts: GatewayParts, { tenant: own }: Caller, text: string): Mine {
  const id = parseRequestId(text);
  for (const tenant of id ? (own ? [own] : parts.view.tenants()) : []) {
    const mark = parts.peek({ tenant, mark: id as RequestId }).mark;
    if (mark?.kind === 'request') return { tenant, id: id as RequestId, mark };
  }
  throw new EvenkeelError('not_found', 'there is no such request, or it was forgotten');
}

function mayRead({ masterKey }: GatewayParts, { role, person, tenant }: Caller, mark: Mark): boolean {
  if (role !== 'end_user') return true;
  return tenant !== undefined && mark.person === personId(tenantSecret(masterKey, tenant), person);
}

/** A request that was answered with stage `submitted` may not have been decided yet. */
async function arrived(parts: GatewayParts, caller: Caller, text: string): Promise<Mine> {
  const id = parseRequestId(text);
  if (id && caller.tenant && !parts.peek({ tenant: caller.tenant, mark: id }).mark)
    await parts.lifecycle.first(
      caller.tenant,
      id,
      ({ type }) => type === 'request_queued',
      parts.verdictMs,
      () => Promise.resolve(),
    );
  return mine(parts, caller, text);
}

async function describe(parts: GatewayParts, caller: Caller, { tenant, id, mark }: Mine) {
  const words = mark.stage === 'finished' ? await wordsOf(parts, tenant, id, mark) : undefined;
  const waiting = await explainWaiting(parts, partition(parts, tenant), mark, caller.role !== 'end_user');
  return {
    request_id: id,
    stage: mark.stage,
    ...(waiting ? { waiting } : {}),
    outcome: mark.outcome,
    reason: mark.reason,
    answer: words?.answer ?? null,
    citations: words?.citations ?? [],
    cost_micro_usd: mark.cost,
    degraded: mark.degraded,
    retry_at: mark.retryAfterMs === null ? null : iso((mark.finishedAt ?? 0) + mark.retryAfterMs),
    queued_at: iso(mark.queuedAt),
    started_at: iso(mark.startedAt),
    finished_at: iso(mark.finishedAt),
    deadline: iso(mark.deadline),
    links: links(id),
  };
}

const iso = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString());

async function wordsOf(parts: GatewayParts, tenant: TenantId, id: RequestId, { person, finishedAt }: Mark) {
  const wait = Date.now() - (finishedAt ?? 0) < RESULT_COMES_WITHIN_MS ? RESULT_WAIT_MS : 0;
  const result = await parts.result(partition(parts, tenant), tenant, id, wait);
  if (!result?.sealed) return undefined;
  const opened = await parts.vault.open(tenant, person as PersonId, `${id}/result`, result.sealed);
  return JSON.parse(Buffer.from(opened).toString()) as { readonly answer: string; readonly citations: readonly unknown[] };
}
