/**
 * Every event: the vocabulary of `tenant.events` on one page. Ids are keyed digests, sums are micro-dollars, there is no text of a person.
 * A window key is a UTC day `2026-11-24`, a month `2026-11` or `total`.
 * To add an event, add it here: the compiler names what `evolve` and `outputs` still lack. Fields added later need a default.
 */
import { as, boolean, type Infer, int, list, long, nullable, oneOf, record, string, withDefault } from './avro.ts';
import type { ConversationId, MicroUsd, Offset, PersonId, RequestId, TenantId } from './ids.ts';
import { POLICY_RECORD } from './policy.ts';

const tenant = as<TenantId>(string);
const request = as<RequestId>(string);
const conversation = as<ConversationId>(string);
const person = as<PersonId>(string);
const money = as<MicroUsd>(long);
const offset = as<Offset>(long);

export const WINDOWS = ['day', 'month', 'total'] as const;
export type Window = (typeof WINDOWS)[number];
/** What a budget is counted in. */
export const UNITS = ['micro_usd', 'tokens'] as const;
export type Unit = (typeof UNITS)[number];
export const OUTCOMES = ['answered', 'handed_off', 'refused'] as const;
export type Outcome = (typeof OUTCOMES)[number];
/** Why a request ended as it did. */
export const REASONS = [
  'answered',
  'customer_request',
  'missing_knowledge',
  'policy',
  'tool_failure',
  'budget',
  'overload',
  'low_confidence',
  'abuse',
  'deadline',
] as const;
export type Reason = (typeof REASONS)[number];
/** The rungs of the degradation ladder below the full answer. */
export const MODES = ['cheaper_model', 'cached', 'passages'] as const;
export type Mode = (typeof MODES)[number];
/** What keeps a request from a higher rung. */
export const TROUBLES = ['budget_spent', 'queue_long', 'deadline_near', 'provider_busy', 'breaker_open', 'provider_failed'] as const;
export type Trouble = (typeof TROUBLES)[number];
/** A rung below the full answer: why, and what stood in the way of the full one. */
export type Degradation = { readonly mode: Mode; readonly reason: Reason; readonly detail: Trouble | null };
/** read and idempotent steps may run again; an unsafe one never does. */
export const STEP_KINDS = ['read', 'idempotent', 'unsafe'] as const;
export type StepKind = (typeof STEP_KINDS)[number];
/** What a step calls: the limits on tool calls ask. */
export const STEP_CALLS = ['model', 'tool'] as const;
export type StepCalls = (typeof STEP_CALLS)[number];
/** outside: spent elsewhere; the others put right what was recorded, and may be negative. */
export const COST_KINDS = ['outside', 'correction', 'price_correction'] as const;
export type CostKind = (typeof COST_KINDS)[number];

export const ALERTS = ['budget_soft', 'budget_hard', 'budget_forecast', 'error_rate'] as const;
export type AlertName = (typeof ALERTS)[number];

const source = oneOf('request_source', ['http', 'kafka']);
/** `digest`: of what the command says, so that its id cannot stand for two. */
const command = { tenant, command: string, by: string, digest: withDefault(string, '') };
const ofRequest = { tenant, request, conversation };
const windowKeys = { day: string, month: string };
const degraded = nullable(
  record('degradation', { mode: oneOf('degradation_mode', MODES), reason: oneOf('degradation_reason', REASONS), detail: nullable(as<Trouble>(string)) }),
);

export const EVENTS = {
  /** The first record of each transaction: how many events follow it, and which inputs they decided. */
  batch: record('batch', {
    number: long,
    events: int,
    inputs: list(record('batch_input', { topic: string, next: offset })),
    time: long,
    version: int,
    partitions: int,
  }),
  tenant_created: record('tenant_created', { ...command, policy: POLICY_RECORD }),
  policy_set: record('policy_set', { ...command, version: long, policy: POLICY_RECORD }),
  tenant_suspended: record('tenant_suspended', command),
  tenant_resumed: record('tenant_resumed', command),
  budget_granted: record('budget_granted', {
    ...command,
    window: oneOf('budget_window', WINDOWS),
    key: string,
    amount: money,
    tokens: withDefault(long, 0),
  }),
  /** In the windows in which it was incurred. `reference` is the operator's own: an invoice, a price version. */
  outside_cost_recorded: record('outside_cost_recorded', {
    ...command,
    ...windowKeys,
    amount: money,
    tokens: withDefault(long, 0),
    kind: withDefault(oneOf('outside_cost_kind', COST_KINDS), 'outside'),
    reference: withDefault(string, ''),
    incurredAt: nullable(long),
  }),
  /** Nothing is remembered of it: the same id may try again. */
  command_refused: record('command_refused', { ...command, code: string, field: nullable(string) }),
  request_queued: record('request_queued', {
    ...ofRequest,
    person,
    bodyDigest: string,
    source,
    arrival: long,
    deadline: long,
    estimate: money,
  }),
  /** Refused at the door: no row is kept, so the same id may try again. */
  request_refused: record('request_refused', {
    ...ofRequest,
    person,
    source,
    code: string,
    limit: long,
    observed: long,
    retryAfterMs: nullable(long),
    /** Of the table of limits. */
    limitName: withDefault(string, ''),
  }),
  /** Counted by a gateway, by limit: they never reached the log. A report that is sent twice counts twice. */
  refusals_reported: record('refusals_reported', { tenant, by: string, limitName: string, count: long, since: long }),
  request_conflicted: record('request_conflicted', { ...ofRequest, bodyDigest: string }),
  /** Placed at dispatch: from here on the request runs. `mode` is the rung it starts on. */
  hold_placed: record('hold_placed', { ...ofRequest, ...windowKeys, amount: money, degraded, tokens: withDefault(long, 0) }),
  step_started: record('step_started', {
    ...ofRequest,
    step: string,
    attempt: int,
    kind: oneOf('step_kind', STEP_KINDS),
    worstCase: money,
    calls: withDefault(oneOf('step_calls', STEP_CALLS), 'model'),
    worstTokens: withDefault(long, 0),
    /** Of the operator's price table; 0: not priced by one. */
    priceVersion: withDefault(int, 0),
  }),
  cost_recorded: record('cost_recorded', {
    ...ofRequest,
    ...windowKeys,
    step: string,
    attempt: int,
    amount: money,
    inputTokens: long,
    outputTokens: long,
    model: string,
    /** Its worst case, tokens under `inputTokens`. */
    presumed: boolean,
    priceVersion: withDefault(int, 0),
  }),
  step_finished: record('step_finished', { ...ofRequest, step: string, attempt: int, digest: string }),
  /** The attempt ended without a result. What it has cost, or is presumed to have, stands before it; the next attempt is a retry. */
  step_failed: record('step_failed', { ...ofRequest, step: string, attempt: int, code: string }),
  /** The step may not start: a limit said no, or it must not run a second time. */
  step_refused: record('step_refused', {
    ...ofRequest,
    step: string,
    code: string,
    limitName: withDefault(string, ''),
    limit: withDefault(long, 0),
    observed: withDefault(long, 0),
  }),
  hold_settled: record('hold_settled', {
    ...ofRequest,
    ...windowKeys,
    held: money,
    settled: money,
    heldTokens: withDefault(long, 0),
    settledTokens: withDefault(long, 0),
  }),
  request_finished: record('request_finished', {
    ...ofRequest,
    outcome: oneOf('request_outcome', OUTCOMES),
    reason: oneOf('request_reason', REASONS),
    degraded,
    cost: money,
    queuedMs: long,
    ranMs: long,
    ran: boolean,
    citations: int,
    /** Of the ladder's last rung: when it is worth to try again. */
    retryAfterMs: nullable(long),
  }),
  request_forgotten: record('request_forgotten', { tenant, request }),
  alert_raised: record('alert_raised', {
    tenant,
    alert: oneOf('alert_kind', ['budget_soft', 'budget_hard']),
    window: oneOf('alert_window', WINDOWS),
    key: string,
    /** In `unit`, as the limit. */
    spent: money,
    limit: money,
    unit: withDefault(oneOf('alert_unit', UNITS), 'micro_usd'),
  }),
  /** At the burn so far the budget is spent before its window ends. `spent` and `limit` in `unit`. */
  forecast_raised: record('forecast_raised', {
    tenant,
    window: oneOf('forecast_window', WINDOWS),
    key: string,
    unit: oneOf('forecast_unit', UNITS),
    spent: long,
    limit: long,
    exhaustedAt: long,
  }),
  /** Of the requests that ended since `since`. */
  error_rate_raised: record('error_rate_raised', { tenant, since: long, failed: long, finished: long, percent: long }),
  /** It no longer holds; it may be raised again. `window`, `key` and `unit` are empty for the error rate. */
  alert_cleared: record('alert_cleared', { tenant, alert: as<AlertName>(string), window: as<Window | ''>(string), key: string, unit: as<Unit | ''>(string) }),
} as const;

type EventShapes = typeof EVENTS;
type Tagged = { readonly [K in keyof EventShapes]: { readonly type: K } & Infer<EventShapes[K]> };
export type Batch = Tagged['batch'];
export type EventType = Exclude<keyof EventShapes, 'batch'>;
/** Every event of a tenant. */
export type Event = Tagged[EventType];
export type EventOf<K extends EventType> = Tagged[K];
