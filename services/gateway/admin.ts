/** Tenants, policy and money. Each command is answered with what it did and the event's offset. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Command, CommandType } from '#schemas/commands.ts';
import { commandDigest } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { COST_KINDS, type CostKind, WINDOWS, type Window } from '#schemas/events.ts';
import type { Instant, TenantId } from '#schemas/ids.ts';
import type { ValueOf } from '#schemas/records.ts';
import type { Topic } from '#schemas/topics.ts';
import { isRepeat, KEY_OF_ANOTHER } from '#streams/support/decide-command.ts';
import { commandMark } from '#streams/support/evolve.ts';
import type { Account } from '#streams/support/state.ts';
import type { Caller } from './auth.ts';
import { type GatewayParts, idempotencyKey, identify, mustBe, partition, tenantFor } from './parts.ts';
import { isErrorCode, Problem } from './problems.ts';
import { EXAMPLES, object, PROBLEMS, security, withKey } from './shapes.ts';
import { budgetsOf } from './view.ts';

const COMMANDS: Topic = 'tenant.commands';
type OfTenant = { readonly tenant: string };
const TENANT = object(['tenant'], { tenant: { type: 'string', examples: ['fastify'] } });
const CHANGES = {
  type: 'object',
  additionalProperties: true,
  examples: [EXAMPLES.policy],
  description: 'Fields of the policy; one that is unknown or out of bounds is refused with its path.',
};
/** What a number holds; the task has bounds of its own, and names them. */
const INTEGER = { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER } as const;
const AMOUNT = { ...INTEGER, examples: [1_000_000], description: 'Integer micro-dollars.' };
const TOKENS = { ...INTEGER, examples: [100_000] };
/** What is sent to a call that takes nothing is refused, not passed over: its sender believes that it does something. */
const NOTHING = { type: ['object', 'null'], additionalProperties: false, properties: {} };
const COMMAND = { security, ...withKey('A repeat with the same key changes nothing.') };
const DONE = { description: 'What it did, and where that stands in the history', type: 'object', additionalProperties: true };
const submitted = { 202: { ...DONE, description: 'Written, and not decided within five seconds' }, ...PROBLEMS(400, 401, 403, 404, 409, 422, 503) };

export function adminRoutes(app: FastifyInstance, parts: GatewayParts): void {
  readRoutes(app, parts);
  policyRoutes(app, parts);
  moneyRoutes(app, parts);
}

function readRoutes(app: FastifyInstance, parts: GatewayParts): void {
  const tags = ['tenants'];
  app.get('/v1/tenants', { schema: { security, tags, summary: 'All tenants, side by side' } }, async (request) => {
    mustBe(await identify(parts, request), 'operator');
    return { tenants: parts.view.tenants().flatMap((tenant) => parts.view.numbers(tenant) ?? []) };
  });
  const one = { security, tags, params: TENANT, summary: 'One tenant: numbers, balances, policy, and its last requests with their stages' };
  app.get<{ Params: OfTenant }>('/v1/tenants/:tenant', { schema: one }, async (request) => {
    const who = await identify(parts, request);
    mustBe(who, 'operator', 'tenant_admin', 'auditor');
    const tenant = tenantFor(who, request.params.tenant);
    const { account } = parts.peek({ tenant });
    if (!account.created) throw new EvenkeelError('not_found', `there is no tenant ${tenant}`);
    return { ...parts.view.numbers(tenant), ...describe(account, parts.view.now), recent: parts.view.recent(tenant) };
  });
}

function policyRoutes(app: FastifyInstance, parts: GatewayParts): void {
  const tags = ['tenants'];
  type Create = { readonly tenant_id: string; readonly policy?: object };
  const create = {
    ...COMMAND,
    tags,
    summary: 'Create a tenant',
    body: object(['tenant_id'], { tenant_id: { type: 'string', examples: ['fastify'] }, policy: CHANGES }),
    response: { 201: DONE, ...submitted },
  };
  app.post<{ Body: Create }>('/v1/tenants', { schema: create }, async (request, reply) => {
    const who = await identify(parts, request);
    mustBe(who, 'operator');
    const fields = { changes: JSON.stringify(request.body.policy ?? {}) };
    return command(parts, request, reply.code(201), who, 'create_tenant', tenantFor(who, request.body.tenant_id), fields);
  });
  type SetPolicy = { readonly changes: object; readonly expected_version?: number };
  const body = object(['changes'], { changes: CHANGES, expected_version: { ...INTEGER, description: 'Refused when the policy has changed since.' } });
  const set = { ...COMMAND, tags, params: TENANT, body, summary: 'Set fields of the policy', response: { 200: DONE, ...submitted } };
  app.put<{ Params: OfTenant; Body: SetPolicy }>('/v1/tenants/:tenant/policy', { schema: set }, async (request, reply) => {
    const who = await identify(parts, request);
    mustBe(who, 'operator', 'tenant_admin');
    const { changes, expected_version } = request.body;
    const fields = { changes: JSON.stringify(changes), expectedVersion: expected_version ?? null };
    return command(parts, request, reply, who, 'set_policy', tenantFor(who, request.params.tenant), fields);
  });
  for (const [verb, type] of [
    ['suspend', 'suspend_tenant'],
    ['resume', 'resume_tenant'],
  ] as const) {
    const schema = {
      ...COMMAND,
      tags,
      params: TENANT,
      summary: `${verb === 'suspend' ? 'Suspend' : 'Resume'} a tenant`,
      body: NOTHING,
      response: { 200: DONE, ...submitted },
    };
    app.post<{ Params: OfTenant }>(`/v1/tenants/:tenant/${verb}`, { schema }, async (request, reply) => {
      const who = await identify(parts, request);
      mustBe(who, 'operator');
      return command(parts, request, reply, who, type, tenantFor(who, request.params.tenant), {});
    });
  }
}

function moneyRoutes(app: FastifyInstance, parts: GatewayParts): void {
  const shared = { ...COMMAND, tags: ['money'], params: TENANT, response: { 200: DONE, ...submitted } };
  type Grant = { readonly window: Window; readonly amount_micro_usd?: number; readonly tokens?: number };
  const grant = {
    ...shared,
    summary: 'Grant budget in the present window',
    body: object(['window'], { window: { enum: WINDOWS }, amount_micro_usd: AMOUNT, tokens: TOKENS }),
  };
  app.post<{ Params: OfTenant; Body: Grant }>('/v1/tenants/:tenant/grants', { schema: grant }, async (request, reply) => {
    const who = await identify(parts, request);
    mustBe(who, 'operator');
    const { window, amount_micro_usd: amount = 0, tokens = 0 } = request.body;
    return command(parts, request, reply, who, 'grant_budget', tenantFor(who, request.params.tenant), { window, amount, tokens });
  });
  type Cost = {
    readonly amount_micro_usd?: number;
    readonly tokens?: number;
    readonly kind?: CostKind;
    readonly reference?: string;
    readonly incurred_at?: string;
  };
  const cost = {
    ...shared,
    summary: 'Record a cost from outside, or a correction',
    description: 'A fact: it may come late, twice (with its Idempotency-Key) or out of order, and the balances are the same. It may overrun a budget.',
    body: object([], {
      amount_micro_usd: AMOUNT,
      tokens: TOKENS,
      kind: { enum: COST_KINDS, description: 'outside when absent; a correction may be negative.' },
      reference: { type: 'string', description: 'Your own: an invoice, a price version; up to 100 letters, digits and ._:/+@-', examples: ['invoice-2026-11'] },
      incurred_at: { type: 'string', description: 'When it was incurred, which names its day and month; now when absent.', examples: ['2026-11-23T18:00:00Z'] },
    }),
  };
  app.post<{ Params: OfTenant; Body: Cost }>('/v1/tenants/:tenant/costs', { schema: cost }, async (request, reply) => {
    const who = await identify(parts, request);
    mustBe(who, 'operator');
    const { amount_micro_usd: amount = 0, tokens = 0, kind = 'outside', reference = '', incurred_at } = request.body;
    const fields = { amount, tokens, kind, reference, incurredAt: instantOf(incurred_at) };
    return command(parts, request, reply, who, 'record_cost', tenantFor(who, request.params.tenant), fields);
  });
}

/** With its zone: a time without one would be the gateway's. */
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/;

function instantOf(text: string | undefined): Instant | null {
  if (text === undefined) return null;
  const at = INSTANT.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw new EvenkeelError('body_invalid', 'incurred_at: a time with its zone, as 2026-11-23T18:00:00Z');
  return at;
}

type Fields<T extends CommandType> = Omit<ValueOf<T>, 'tenantId' | 'commandId' | 'by' | 'role'>;

/** Writes the command and waits for the event that answers it. */
async function command<T extends CommandType>(
  parts: GatewayParts,
  request: FastifyRequest,
  reply: FastifyReply,
  who: Caller,
  type: T,
  tenant: TenantId,
  fields: Fields<T>,
) {
  const commandId = idempotencyKey(request) ?? parts.random();
  const answer = { tenant_id: tenant, command_id: commandId };
  const role = who.role === 'operator' ? 'operator' : 'tenant_admin';
  const says = { tenantId: tenant, commandId, by: who.person, role, ...fields } as unknown as ValueOf<T>;
  const digest = commandDigest({ type, ...says } as unknown as Command);
  // What it came to the first time was told then, and stands in the history at that time; the tenant shows what holds now.
  const decidedBefore = () => {
    const { mark } = parts.peek({ tenant, mark: commandMark(commandId) });
    if (mark && !isRepeat(mark, digest)) throw new EvenkeelError('conflict', KEY_OF_ANOTHER);
    return mark && { ...answer, done: 'decided_before', facts: { decided_at: new Date(mark.queuedAt).toISOString() } };
  };
  const before = decidedBefore();
  if (before) return reply.send(before);
  const value = parts.codec.encode(type, says);
  const record = { topic: COMMANDS, partition: partition(parts, tenant), key: tenant, value };
  const happened = await parts.lifecycle.first(
    tenant,
    `command/${commandId}`,
    () => true,
    parts.commandMs,
    () => parts.send([record]),
  );
  if (!happened) return decidedBefore() ?? reply.code(202).send({ ...answer, done: 'submitted' });
  const { event, offset } = happened;
  if (event.type !== 'command_refused') {
    const { type: done, tenant: _tenant, ...facts } = event;
    return reply.send({ ...answer, done, offset, facts });
  }
  const code = isErrorCode(event.code) ? event.code : 'body_invalid';
  throw new Problem(code, event.field ?? `${type} for ${tenant} was refused: ${code}`, { offset });
}

function describe(account: Account, now: number) {
  const { policy, policyVersion, queued, running } = account;
  return { policy, policy_version: policyVersion, queued, running, budgets: budgetsOf(account, now) };
}
