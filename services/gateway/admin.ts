/** Tenants, policy, money and documents. Each command is answered with what it did and the event's offset. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { CommandType } from '#schemas/commands.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Window } from '#schemas/events.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { ValueOf } from '#schemas/records.ts';
import type { Topic } from '#schemas/topics.ts';
import type { Account } from '#streams/support/state.ts';
import type { Caller } from './auth.ts';
import { type GatewayParts, mustBe, partition, tenantFor } from './parts.ts';
import { isErrorCode, Problem } from './problems.ts';

const COMMANDS: Topic = 'tenant.commands';
const KNOWLEDGE: Topic = 'support.knowledge';
const MOST_DOCUMENT = 1_048_576;
type OfTenant = { readonly tenant: string };
const security = [{ bearer: [] }];
const object = (required: readonly string[], properties: Record<string, object>) => ({ type: 'object', required, additionalProperties: false, properties });
const CHANGES = { type: 'object', additionalProperties: true, description: 'Fields of the policy; unknown or out of bounds is refused with its path.' };
const AMOUNT = { type: 'integer', description: 'Integer micro-dollars.' };

export function adminRoutes(app: FastifyInstance, parts: GatewayParts): void {
  const caller = (request: FastifyRequest) => parts.auth.authenticate(request.headers.authorization);
  const tags = ['tenants'];
  app.get('/v1/tenants', { schema: { security, tags, summary: 'All tenants, side by side' } }, async (request) => {
    mustBe(await caller(request), 'operator');
    return { tenants: parts.view.tenants().flatMap((tenant) => parts.view.numbers(tenant) ?? []) };
  });
  app.get<{ Params: OfTenant }>('/v1/tenants/:tenant', { schema: { security, tags, summary: 'One tenant: numbers, balances, policy, recent requests' } }, async (request) => {
    const who = await caller(request);
    mustBe(who, 'operator', 'tenant_admin', 'auditor');
    const tenant = tenantFor(who, request.params.tenant);
    const { account } = parts.peek({ tenant });
    if (!account.created) throw new EvenkeelError('not_found', `there is no tenant ${tenant}`);
    return { ...parts.view.numbers(tenant), ...describe(account), recent: parts.view.recent(tenant) };
  });
  type Create = { readonly tenant_id: string; readonly policy?: object };
  const create = object(['tenant_id'], { tenant_id: { type: 'string' }, policy: CHANGES });
  app.post<{ Body: Create }>('/v1/tenants', { schema: { security, tags, body: create, summary: 'Create a tenant' } }, async (request, reply) => {
    const who = await caller(request);
    mustBe(who, 'operator');
    const tenant = tenantFor(who, request.body.tenant_id);
    return reply.code(201).send(await command(parts, request, who, 'create_tenant', tenant, { changes: JSON.stringify(request.body.policy ?? {}) }));
  });
  type SetPolicy = { readonly changes: object; readonly expected_version?: number };
  const policy = object(['changes'], { changes: CHANGES, expected_version: { type: 'integer' } });
  app.put<{ Params: OfTenant; Body: SetPolicy }>('/v1/tenants/:tenant/policy', { schema: { security, tags, body: policy, summary: 'Set policy fields' } }, async (request) => {
    const who = await caller(request);
    mustBe(who, 'operator', 'tenant_admin');
    const { changes, expected_version } = request.body;
    const fields = { changes: JSON.stringify(changes), expectedVersion: expected_version ?? null };
    return command(parts, request, who, 'set_policy', tenantFor(who, request.params.tenant), fields);
  });
  for (const [verb, type] of [['suspend', 'suspend_tenant'], ['resume', 'resume_tenant']] as const)
    app.post<{ Params: OfTenant }>(`/v1/tenants/:tenant/${verb}`, { schema: { security, tags, summary: `${verb} a tenant` } }, async (request) => {
      const who = await caller(request);
      mustBe(who, 'operator');
      return command(parts, request, who, type, tenantFor(who, request.params.tenant), {});
    });
  moneyRoutes(app, parts, caller);
  documentRoutes(app, parts, caller);
}

type Authenticate = (request: FastifyRequest) => Promise<Caller>;

function moneyRoutes(app: FastifyInstance, parts: GatewayParts, caller: Authenticate): void {
  const tags = ['money'];
  type Grant = { readonly window: Window; readonly amount_micro_usd: number };
  const grant = object(['window', 'amount_micro_usd'], { window: { enum: ['day', 'month', 'total'] }, amount_micro_usd: AMOUNT });
  app.post<{ Params: OfTenant; Body: Grant }>('/v1/tenants/:tenant/grants', { schema: { security, tags, body: grant, summary: 'Grant budget in the present window' } }, async (request) => {
    const who = await caller(request);
    mustBe(who, 'operator');
    const { window, amount_micro_usd: amount } = request.body;
    return command(parts, request, who, 'grant_budget', tenantFor(who, request.params.tenant), { window, amount });
  });
  type Cost = { readonly amount_micro_usd: number };
  const cost = object(['amount_micro_usd'], { amount_micro_usd: AMOUNT });
  app.post<{ Params: OfTenant; Body: Cost }>('/v1/tenants/:tenant/costs', { schema: { security, tags, body: cost, summary: 'Record a cost from outside' } }, async (request) => {
    const who = await caller(request);
    mustBe(who, 'operator');
    return command(parts, request, who, 'record_cost', tenantFor(who, request.params.tenant), { amount: request.body.amount_micro_usd });
  });
}

function documentRoutes(app: FastifyInstance, parts: GatewayParts, caller: Authenticate): void {
  const tags = ['knowledge'];
  type Params = OfTenant & { readonly '*': string };
  type Document = { readonly title: string; readonly version: string; readonly content: string; readonly audience?: 'everyone' | 'agents' };
  const document = object(['title', 'version', 'content'], {
    title: { type: 'string', minLength: 1, maxLength: 300 },
    version: { type: 'string', minLength: 1, maxLength: 100 },
    content: { type: 'string', maxLength: MOST_DOCUMENT, description: 'Markdown.' },
    audience: { enum: ['everyone', 'agents'], default: 'everyone' },
  });
  const options = { schema: { security, tags, body: document, summary: 'Put a document' }, bodyLimit: 4 * MOST_DOCUMENT };
  app.put<{ Params: Params; Body: Document }>('/v1/tenants/:tenant/documents/*', options, async (request, reply) => {
    const { tenant, documentId } = documentOf(await caller(request), request.params);
    if (!parts.peek({ tenant }).account.created) throw new EvenkeelError('not_found', `there is no tenant ${tenant}`);
    const { title, version, content, audience = 'everyone' } = request.body;
    const value = parts.codec.encode('knowledge_document', { tenant, documentId, version, title, audience, owner: null, content });
    await parts.send([{ topic: KNOWLEDGE, partition: partition(parts, tenant), key: `${tenant}/${documentId}`, value }]);
    return reply.code(200).send({ document_id: documentId, version });
  });
  app.delete<{ Params: Params }>('/v1/tenants/:tenant/documents/*', { schema: { security, tags, summary: 'Remove a document' } }, async (request) => {
    const { tenant, documentId } = documentOf(await caller(request), request.params);
    await parts.send([{ topic: KNOWLEDGE, partition: partition(parts, tenant), key: `${tenant}/${documentId}`, value: null }]);
    return { document_id: documentId, removed: true };
  });
}

function documentOf(who: Caller, params: OfTenant & { readonly '*': string }): { readonly tenant: TenantId; readonly documentId: string } {
  mustBe(who, 'operator', 'tenant_admin');
  const documentId = params['*'];
  if (!/^[\w][\w./-]{0,199}$/.test(documentId)) throw new EvenkeelError('body_invalid', 'a document id is 1 to 200 letters, digits and ._/-');
  return { tenant: tenantFor(who, params.tenant), documentId };
}

type Fields<T extends CommandType> = Omit<ValueOf<T>, 'tenantId' | 'commandId' | 'by' | 'role'>;

/** Writes the command and waits for the event that answers it. A repeat with the same Idempotency-Key is answered without an event. */
async function command<T extends CommandType>(parts: GatewayParts, request: FastifyRequest, who: Caller, type: T, tenant: TenantId, fields: Fields<T>) {
  const key = request.headers['idempotency-key'];
  const commandId = typeof key === 'string' && /^[\x21-\x7e]{1,200}$/.test(key) ? key : parts.random();
  const role = who.role === 'operator' ? 'operator' : 'tenant_admin';
  const value = parts.codec.encode(type, { tenantId: tenant, commandId, by: who.person, role, ...fields } as unknown as ValueOf<T>);
  const record = { topic: COMMANDS, partition: partition(parts, tenant), key: tenant, value };
  const answer = await parts.lifecycle.first(tenant, `command/${commandId}`, () => true, parts.commandMs, () => parts.send([record]));
  if (!answer) return { tenant_id: tenant, command_id: commandId, done: 'submitted' };
  const { event, offset } = answer;
  if (event.type === 'command_refused') {
    const code = isErrorCode(event.code) ? event.code : 'body_invalid';
    throw new Problem(code, event.field ?? `${type} for ${tenant} was refused: ${code}`, { offset });
  }
  return { tenant_id: tenant, command_id: commandId, done: event.type, offset };
}

function describe({ policy, policyVersion, balances, queued, running }: Account) {
  return {
    policy,
    policy_version: policyVersion,
    queued,
    running,
    balances: balances.map(({ window, key, settled, held, granted }) => ({
      window,
      key,
      settled_micro_usd: settled,
      held_micro_usd: held,
      granted_micro_usd: granted,
    })),
  };
}
