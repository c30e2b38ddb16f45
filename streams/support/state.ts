/**
 * The three kinds of row, as Avro records: their bytes are canonical because a record has one order of fields.
 * account: policy, balances, counters; item: a conversation, its running turn and its waiting ones; mark: a request id or a command id.
 */
import { as, boolean, type Infer, int, list, long, nullable, oneOf, type RecordShape, record, string } from '#schemas/avro.ts';
import { decoder } from '#schemas/decoder.ts';
import { encoder } from '#schemas/encoder.ts';
import { MODES, OUTCOMES, REASONS, STEP_CALLS, STEP_KINDS, type Trouble, WINDOWS } from '#schemas/events.ts';
import { type ConversationId, type Instant, type MicroUsd, type PersonId, type RequestId, type TenantId, ZERO } from '#schemas/ids.ts';
import { DEFAULT_POLICY, POLICY_RECORD } from '#schemas/policy.ts';
import type { RowCodec } from '#streams/engine/machine.ts';

const money = as<MicroUsd>(long);
const request = as<RequestId>(string);
const person = as<PersonId>(string);

/** A window's balance, in money and in tokens. `alerted`: 0 none, 1 soft, 2 hard; each is said once a window. */
const BALANCE = record('window_balance', {
  window: oneOf('balance_window', WINDOWS),
  key: string,
  settled: money,
  held: money,
  granted: money,
  alerted: int,
  settledTokens: long,
  heldTokens: long,
  grantedTokens: long,
  alertedTokens: int,
  /** Whether the forecast is out. */
  forecast: boolean,
  forecastTokens: boolean,
});
export type Balance = Infer<typeof BALANCE>;

/** Requests that ended since `since`, and of those the ones that failed. */
const ERRORS = record('error_window', { since: long, finished: long, failed: long, raised: boolean });
export type ErrorWindow = Infer<typeof ERRORS>;

export const ACCOUNT = record('account', {
  tenant: as<TenantId>(string),
  created: boolean,
  suspended: boolean,
  policyVersion: long,
  policy: POLICY_RECORD,
  queued: long,
  running: long,
  /** Tool calls that have started and have no result. */
  toolCalls: long,
  /** Order of arrival of the next request. */
  arrivals: long,
  /** Theoretical arrival time of GCRA (ITU-T I.371), microseconds. */
  rateTat: long,
  answered: long,
  finished: long,
  refused: long,
  balances: list(BALANCE),
  errors: ERRORS,
});
export type Account = Infer<typeof ACCOUNT>;

const waiting = { request, person, arrival: long, deadline: long, queuedAt: long };
const WAITING = record('waiting_turn', waiting);
export type Waiting = Infer<typeof WAITING>;
/** The newest attempt: open has started and has no result yet; failed has ended without one, and may be tried again. */
const STEP = record('turn_step', {
  step: string,
  attempt: int,
  kind: oneOf('turn_step_kind', STEP_KINDS),
  worstCase: money,
  state: oneOf('turn_step_state', ['open', 'done', 'failed']),
  calls: oneOf('turn_step_calls', STEP_CALLS),
  worstTokens: long,
  priceVersion: int,
});
export type TurnStep = Infer<typeof STEP>;
const detail = nullable(as<Trouble>(string));
export const TURN = record('running_turn', {
  ...waiting,
  startedAt: long,
  hold: money,
  /** What of the hold is neither spent nor released. */
  left: money,
  spent: money,
  holdTokens: long,
  leftTokens: long,
  spentTokens: long,
  day: string,
  month: string,
  degraded: nullable(record('turn_degradation', { mode: oneOf('turn_mode', MODES), reason: oneOf('turn_degraded_by', REASONS), detail })),
  steps: list(STEP),
});
export type Turn = Infer<typeof TURN>;
export const CONVERSATION = record('conversation', {
  tenant: as<TenantId>(string),
  conversation: as<ConversationId>(string),
  turn: nullable(TURN),
  waiting: list(WAITING),
});
export type Conversation = Infer<typeof CONVERSATION>;

export const MARK = record('mark', {
  kind: oneOf('mark_kind', ['request', 'command']),
  tenant: as<TenantId>(string),
  /** The request's id, or `k_` and the command's. */
  id: string,
  conversation: nullable(as<ConversationId>(string)),
  person: nullable(person),
  bodyDigest: string,
  stage: oneOf('mark_stage', ['queued', 'running', 'finished']),
  outcome: nullable(oneOf('mark_outcome', OUTCOMES)),
  reason: nullable(oneOf('mark_reason', REASONS)),
  degraded: nullable(record('mark_degradation', { mode: oneOf('mark_mode', MODES), reason: oneOf('mark_degraded_by', REASONS), detail })),
  cost: money,
  queuedAt: long,
  startedAt: nullable(long),
  finishedAt: nullable(long),
  retryAfterMs: nullable(long),
  deadline: nullable(long),
  forgetAt: nullable(long),
});
export type Mark = Infer<typeof MARK>;

function canonical<T>(shape: RecordShape<T>): RowCodec<T> {
  const [write, read] = [encoder<T>(shape.avro), decoder<T>(shape.avro)];
  return { encode: (value) => write(value), decode: (bytes) => read(bytes, 0, bytes.byteLength) };
}

export const rows = { account: canonical(ACCOUNT), item: canonical(CONVERSATION), mark: canonical(MARK) };

export function newAccount(tenant: TenantId): Account {
  return {
    tenant,
    created: false,
    suspended: false,
    policyVersion: 0,
    policy: DEFAULT_POLICY,
    queued: 0,
    running: 0,
    toolCalls: 0,
    arrivals: 0,
    rateTat: 0,
    answered: 0,
    finished: 0,
    refused: 0,
    balances: [],
    errors: { since: 0, finished: 0, failed: 0, raised: false },
  };
}

type AsAccepted = Pick<Mark, 'conversation' | 'person' | 'bodyDigest' | 'deadline'>;
const NOTHING_ASKED: AsAccepted = { conversation: null, person: null, bodyDigest: '', deadline: null };

/** A mark with nothing known of it but who and what it is, and what was asked. */
export function newMark(kind: Mark['kind'], tenant: TenantId, id: string, queuedAt: Instant, asked = NOTHING_ASKED): Mark {
  return {
    kind,
    tenant,
    id,
    conversation: asked.conversation,
    person: asked.person,
    bodyDigest: asked.bodyDigest,
    stage: 'queued',
    outcome: null,
    reason: null,
    degraded: null,
    cost: ZERO,
    queuedAt,
    startedAt: null,
    finishedAt: null,
    retryAfterMs: null,
    deadline: asked.deadline,
    forgetAt: null,
  };
}
