/** Publishing a support request and reading it: the routes, and what a client is told of a request at any time of its life. */
import type { FastifyInstance } from 'fastify';
import { personId, tenantSecret } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { type PersonId, parseRequestId, type RequestId, type TenantId } from '#schemas/ids.ts';
import { readsDone } from '#streams/kafka/reads-done.ts';
import type { Mark } from '#streams/support/state.ts';
import type { Caller } from './auth.ts';
import { explainWaiting } from './explain.ts';
import { follow } from './follow.ts';
import { type GatewayParts, idempotencyKey, identify, partition } from './parts.ts';
import { problemOf, rateHeaders } from './problems.ts';
import { type Body, links, MOST, publish } from './publish.ts';
import { refusedByTask } from './refusals.ts';
import { EXAMPLES, object, PROBLEMS, PUBLISHED, security, withKeyAndWait } from './shapes.ts';
import type { Refused, Undecided } from './submissions.ts';
import { type Stage, stageOf, stagesOfMark } from './view.ts';

type Of = { readonly Params: { readonly id: string } };

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
      'Answered when the task has decided: queued, or refused with the limit that said no. After a second without a verdict, or at once with `Prefer: respond-async`: `submitted`, and the record is safe; what became of it stands under its id.',
    body: BODY,
    ...withKeyAndWait('The same key is the same request: a repeat returns it, with another body it is refused.'),
    response: {
      200: { description: 'It ended within the wait that was preferred', type: 'object', additionalProperties: true, examples: [EXAMPLES.finished] },
      202: { description: 'Accepted', ...PUBLISHED },
      ...PROBLEMS(400, 401, 403, 409, 413, 422, 429, 503),
    },
  };
  app.post<{ Body: Body }>('/v1/requests', { schema: { ...post, security, tags } }, async (request, reply) => {
    await readsDone();
    const who = identify(parts, request);
    const caller = who instanceof Promise ? await who : who;
    const { waitMs, async } = preferred(request.headers.prefer);
    const { published, allowance } = await publish(parts, { caller, body: request.body, key: idempotencyKey(request), async });
    reply.header('location', published.links.self).headers(rateHeaders(allowance));
    if (async) reply.header('preference-applied', 'respond-async');
    const ended = waitMs === 0 ? undefined : await endWithin(parts, caller, published.request_id, waitMs);
    if (!ended) {
      reply.code(202);
      return published;
    }
    reply.header('preference-applied', 'wait');
    return describe(parts, caller, ended);
  });
  const get = {
    summary: 'A request: its stage, while it waits what for, who is ahead and until when, and once finished its outcome and answer',
    params: ID,
    response: { 200: { description: 'As it is now', type: 'object', additionalProperties: true, examples: [EXAMPLES.finished] }, ...PROBLEMS(401, 403, 404) },
  };
  app.get<Of>('/v1/requests/:id', { schema: { ...get, security, tags } }, async (request) => {
    const caller = await identify(parts, request);
    const found = mine(parts, caller, request.params.id);
    return 'mark' in found ? describe(parts, caller, found) : undecided(found);
  });
  const why = { summary: 'Why a request waits, without its words: an operator may ask for any tenant’s', params: ID };
  app.get<Of>('/v1/requests/:id/explain', { schema: { ...why, security, tags } }, async (request) => {
    const caller = await identify(parts, request);
    const found = caller.role === 'operator' ? anyones(parts, caller, request.params.id) : mine(parts, caller, request.params.id);
    if (!('mark' in found)) return { tenant: found.tenant, ...undecided(found), waiting: null };
    const { tenant, id, mark } = found;
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
    const found = await arrived(parts, caller, request.params.id);
    follow(parts, caller, { tenant: found.tenant, id: found.id, stages: stagesOf(parts, found) }, request, reply);
  });
}

const WAIT = /(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])/;
const ASYNC = /(?:^|[,;\s])respond-async(?:$|[,;\s])/;

/** RFC 7240. `wait`: seconds there; a longer wait than ours is ours. With both it is the wait that comes first. */
function preferred(prefer: string | string[] | undefined): { readonly waitMs: number; readonly async: boolean } {
  if (prefer === undefined || prefer === 'respond-async') return { waitMs: 0, async: prefer !== undefined };
  const waitMs = Math.min(Number(WAIT.exec(String(prefer))?.[1] ?? 0) * 1_000, MOST_WAIT_MS);
  return { waitMs, async: waitMs === 0 && ASYNC.test(String(prefer)) };
}

/** The request once it has ended; undefined when it has not within `ms`. @throws Problem when the task refused it meanwhile */
async function endWithin(parts: GatewayParts, caller: Caller, id: RequestId, ms: number): Promise<Known | undefined> {
  const { tenant } = caller;
  const ended = () => (tenant ? parts.peek({ tenant, mark: id }).mark?.stage === 'finished' : false);
  // Between the look and the listening there is no await: the end cannot slip between.
  if (tenant && !ended()) {
    const end = await parts.lifecycle.first(
      tenant,
      id,
      ({ type }) => type === 'request_finished' || type === 'request_refused',
      ms,
      () => Promise.resolve(),
    );
    if (end?.event.type === 'request_refused') throw refusedByTask(end.event, end.offset);
  }
  const found = ended() ? mine(parts, caller, id) : undefined;
  return found && 'mark' in found ? found : undefined;
}

type Known = { readonly tenant: TenantId; readonly id: RequestId; readonly mark: Mark };
/** Without a row: it was submitted and is not decided yet, or the task refused it. */
type Rowless = { readonly tenant: TenantId; readonly id: RequestId } & ({ readonly waits: Undecided } | { readonly refused: Refused });

function find(parts: GatewayParts, tenant: TenantId, id: RequestId): Known | Rowless | undefined {
  const { mark } = parts.peek({ tenant, mark: id });
  if (mark) return mark.kind === 'request' ? { tenant, id, mark } : undefined;
  const waits = parts.submissions.find(tenant, id);
  if (waits) return { tenant, id, waits };
  const refused = parts.submissions.refusal(tenant, id);
  return refused && { tenant, id, refused };
}

/** Another tenant's or another person's request is not there at all. */
function mine(parts: GatewayParts, caller: Caller, text: string): Known | Rowless {
  const id = parseRequestId(text);
  const found = id && caller.tenant ? find(parts, caller.tenant, id) : undefined;
  if (!found || !mayRead(parts, caller, found)) throw new EvenkeelError('not_found', 'there is no such request for this credential');
  return found;
}

/** Ids are digests that do not name their tenant, so each is asked for it. */
function anyones(parts: GatewayParts, { tenant: own }: Caller, text: string): Known | Rowless {
  const id = parseRequestId(text);
  for (const tenant of id ? (own ? [own] : parts.view.tenants()) : []) {
    const found = find(parts, tenant, id as RequestId);
    if (found) return found;
  }
  throw new EvenkeelError('not_found', 'there is no such request, or it was forgotten');
}

function mayRead({ masterKey }: GatewayParts, { role, person, tenant }: Caller, found: Known | Rowless): boolean {
  if (role !== 'end_user') return true;
  const whose = 'mark' in found ? found.mark.person : 'waits' in found ? found.waits.person : found.refused.event.person;
  return tenant !== undefined && whose === personId(tenantSecret(masterKey, tenant), person);
}

/** A request that another gateway took may not have been decided yet. */
async function arrived(parts: GatewayParts, caller: Caller, text: string): Promise<Known | Rowless> {
  const id = parseRequestId(text);
  if (id && caller.tenant && !find(parts, caller.tenant, id))
    await parts.lifecycle.first(
      caller.tenant,
      id,
      ({ type }) => type === 'request_queued' || type === 'request_refused',
      parts.verdictMs,
      () => Promise.resolve(),
    );
  return mine(parts, caller, text);
}

function undecided(found: Rowless) {
  const { id } = found;
  if ('waits' in found) return { request_id: id, stage: 'submitted', outcome: null, reason: null, submitted_at: iso(found.waits.at), links: links(id) };
  const { event, offset, at } = found.refused;
  return {
    request_id: id,
    stage: 'finished',
    outcome: 'refused',
    reason: event.code,
    answer: null,
    citations: [],
    cost_micro_usd: 0,
    degraded: null,
    retry_at: event.retryAfterMs === null ? null : iso(at + event.retryAfterMs),
    finished_at: iso(at),
    problem: problemOf(refusedByTask(event, offset), links(id).self),
    links: links(id),
  };
}

/** What is known of its life. */
function stagesOf({ view }: GatewayParts, found: Known | Rowless): readonly Stage[] {
  if ('mark' in found) return view.stages(found.tenant, found.id) ?? stagesOfMark(found.mark);
  if ('waits' in found) return [{ stage: 'submitted', at: found.waits.at, offset: null }];
  const { event, offset, at } = found.refused;
  return [stageOf({ event, offset, at }) as Stage];
}

async function describe(parts: GatewayParts, caller: Caller, { tenant, id, mark }: Known) {
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
