/** What each event changes in the rows it names. Pure; never asks today's rules about yesterday. */
import { copier } from '#schemas/copier.ts';
import type { Event, EventOf, Unit, Window } from '#schemas/events.ts';
import type { Instant, MicroUsd, TenantId } from '#schemas/ids.ts';
import type { Row, State } from '#streams/engine/machine.ts';
import { countEnd } from './error-rate.ts';
import { post } from './ledger.ts';
import { nextTat } from './limits.ts';
import { ACCOUNT, type Account, CONVERSATION, type Conversation, MARK, type Mark, newMark, TURN, type Turn, type TurnStep } from './state.ts';

export type Rows = State<Account, Conversation, Mark>;
/** Longer than a command stands on its topic, and than a fact may come late (decide-command.ts). */
const COMMANDS_REMEMBERED_MS = 40 * 86_400_000;

export const commandMark = (command: string): string => `k_${command}`;

/** The rows that an event changes, or asks in order to change another. */
export function rowOf(event: Event): Row {
  const { tenant } = event;
  switch (event.type) {
    case 'request_queued':
    case 'hold_placed':
    case 'request_finished':
      return { tenant, item: event.conversation, mark: event.request };
    case 'step_started':
    case 'cost_recorded':
    case 'step_finished':
    case 'step_failed':
    case 'hold_settled':
      return { tenant, item: event.conversation, mark: undefined };
    case 'request_forgotten':
      return { tenant, item: undefined, mark: event.request };
    case 'step_refused':
    case 'request_refused':
    case 'refusals_reported':
    case 'request_conflicted':
    case 'alert_raised':
    case 'forecast_raised':
    case 'error_rate_raised':
    case 'alert_cleared':
      return { tenant, item: undefined, mark: undefined };
    default:
      return { tenant, item: undefined, mark: commandMark(event.command) };
  }
}

/** Of the rows that every request changes. */
const onArrival = copier(ACCOUNT, 'queued', 'arrivals');
const onDispatch = copier(ACCOUNT, 'queued', 'running', 'rateTat');
const onEnd = copier(ACCOUNT, 'queued', 'running', 'answered', 'finished', 'errors');
const withTurn = copier(CONVERSATION, 'turn');
const withTurns = copier(CONVERSATION, 'turn', 'waiting');
const withSpent = copier(TURN, 'left', 'spent', 'leftTokens', 'spentTokens');
const withLeft = copier(TURN, 'left', 'leftTokens');
const withSteps = copier(TURN, 'steps');
const startedMark = copier(MARK, 'stage', 'startedAt');
const endedMark = copier(MARK, 'stage', 'outcome', 'reason', 'degraded', 'cost', 'retryAfterMs', 'finishedAt', 'forgetAt');

type Fold<E> = (rows: Rows, event: E, at: Instant) => Rows;

const account = (rows: Rows, change: Partial<Account>): Rows => ({ ...rows, account: { ...rows.account, ...change } });

function turnOf(rows: Rows, event: { readonly request: string }): Turn {
  const turn = rows.item?.turn;
  if (turn?.request !== event.request) throw new RangeError(`${event.request} is not the running turn`);
  return turn;
}
const changeTurn = ({ account, item, mark }: Rows, turn: Turn): Rows => ({ account, item: item && withTurn(item, { turn }), mark });

/** A conversation with nothing in it leaves no row. */
function kept(item: Conversation): Conversation | undefined {
  return item.turn === null && item.waiting.length === 0 ? undefined : item;
}

function queued(rows: Rows, event: EventOf<'request_queued'>, at: Instant): Rows {
  const { tenant, request, conversation, person, bodyDigest, arrival, deadline } = event;
  const { item } = rows;
  const mark = newMark('request', tenant, request, at, { conversation, person, bodyDigest, deadline });
  const one = { request, person, arrival, deadline, queuedAt: at };
  const waiting = item ? [...item.waiting, one] : [one];
  return {
    account: onArrival(rows.account, { queued: rows.account.queued + 1, arrivals: arrival + 1 }),
    item: { tenant, conversation, turn: item?.turn ?? null, waiting },
    mark,
  };
}

function held(rows: Rows, event: EventOf<'hold_placed'>, at: Instant): Rows {
  const { request, day, month, amount, tokens, degraded } = event;
  const first = rows.item?.waiting[0];
  if (!rows.item || !rows.mark || first?.request !== request) throw new RangeError(`${request} is not first in its conversation`);
  const { person, arrival, deadline, queuedAt } = first;
  const turn: Turn = {
    request,
    person,
    arrival,
    deadline,
    queuedAt,
    startedAt: at,
    hold: amount,
    left: amount,
    spent: 0 as MicroUsd,
    holdTokens: tokens,
    leftTokens: tokens,
    spentTokens: 0,
    day,
    month,
    degraded,
    steps: [],
  };
  const { queued: before, running } = rows.account;
  const counted = onDispatch(rows.account, { queued: before - 1, running: running + 1, rateTat: nextTat(rows.account, at) });
  return {
    account: post(counted, event, { held: amount, heldTokens: tokens }),
    item: withTurns(rows.item, { turn, waiting: rows.item.waiting.slice(1) }),
    mark: startedMark(rows.mark, { stage: 'running', startedAt: at }),
  };
}

function stepStarted(rows: Rows, event: EventOf<'step_started'>): Rows {
  const turn = turnOf(rows, event);
  const { step, attempt, kind, worstCase, calls, worstTokens, priceVersion } = event;
  const open: TurnStep = { step, attempt, kind, worstCase, state: 'open', calls, worstTokens, priceVersion };
  const counted = calls === 'tool' ? account(rows, { toolCalls: rows.account.toolCalls + 1 }) : rows;
  return changeTurn(counted, withSteps(turn, { steps: [...turn.steps.filter((each) => each.step !== step), open] }));
}

/** It has its result, or ended without one. A tool call that was in flight no longer is. */
function closeStep(rows: Rows, turn: Turn, step: string, state: 'done' | 'failed'): Rows {
  const closed = turn.steps.filter((each) => each.step === step && each.state === 'open' && each.calls === 'tool').length;
  const counted = closed > 0 ? account(rows, { toolCalls: rows.account.toolCalls - closed }) : rows;
  return changeTurn(counted, withSteps(turn, { steps: turn.steps.map((each) => (each.step === step ? { ...each, state } : each)) }));
}

/** A cost moves money from held to settled, in the window its hold was placed in; beyond the hold it is a fact all the same. */
function costRecorded(rows: Rows, event: EventOf<'cost_recorded'>): Rows {
  const turn = turnOf(rows, event);
  const tokens = event.inputTokens + event.outputTokens;
  const released = Math.min(event.amount, turn.left);
  const releasedTokens = Math.min(tokens, turn.leftTokens);
  const next = withSpent(turn, {
    left: (turn.left - released) as MicroUsd,
    spent: (turn.spent + event.amount) as MicroUsd,
    leftTokens: turn.leftTokens - releasedTokens,
    spentTokens: turn.spentTokens + tokens,
  });
  const change = { settled: event.amount, held: -released, settledTokens: tokens, heldTokens: -releasedTokens };
  const posted: Rows = { account: post(rows.account, event, change), item: rows.item, mark: rows.mark };
  return event.presumed ? closeStep(posted, next, event.step, 'failed') : changeTurn(posted, next);
}

function settled(rows: Rows, event: EventOf<'hold_settled'>): Rows {
  const turn = turnOf(rows, event);
  const posted: Rows = { account: post(rows.account, event, { held: -turn.left, heldTokens: -turn.leftTokens }), item: rows.item, mark: rows.mark };
  return changeTurn(posted, withLeft(turn, { left: 0 as MicroUsd, leftTokens: 0 }));
}

function finished(rows: Rows, event: EventOf<'request_finished'>, at: Instant): Rows {
  const { request, outcome, reason, degraded, cost, ran, retryAfterMs } = event;
  if (!rows.item || !rows.mark) throw new RangeError(`${request} has no row to finish`);
  const { queued: waits, running, answered, finished: done, policy } = rows.account;
  return {
    account: onEnd(rows.account, {
      queued: waits - Number(!ran),
      running: running - Number(ran),
      answered: answered + Number(outcome === 'answered'),
      finished: done + 1,
      errors: countEnd(rows.account.errors, event, at),
    }),
    item: kept(withTurns(rows.item, { turn: ran ? null : rows.item.turn, waiting: rows.item.waiting.filter((each) => each.request !== request) })),
    mark: endedMark(rows.mark, {
      stage: 'finished',
      outcome,
      reason,
      degraded,
      cost,
      retryAfterMs,
      finishedAt: at,
      forgetAt: at + policy.rememberMs,
    }),
  };
}

/** A command id is remembered, so that its repeat changes nothing. */
function command(rows: Rows, event: Event & { readonly command: string; readonly tenant: TenantId; readonly digest: string }, at: Instant): Rows {
  const mark: Mark = {
    ...newMark('command', event.tenant, commandMark(event.command), at),
    bodyDigest: event.digest,
    stage: 'finished',
    finishedAt: at,
    forgetAt: at + COMMANDS_REMEMBERED_MS,
  };
  return { ...rows, mark };
}

const ALERT_LEVEL = { budget_soft: 1, budget_hard: 2 } as const;

type OfWindow = { readonly key: string; readonly unit: Unit | '' };

function alerted(rows: Rows, { key, unit }: OfWindow, window: Window, level: number): Rows {
  return { ...rows, account: post(rows.account, { day: key, month: key }, unit === 'tokens' ? { alertedTokens: level } : { alerted: level }, window) };
}

function forecast(rows: Rows, { key, unit }: OfWindow, window: Window, out: boolean): Rows {
  return { ...rows, account: post(rows.account, { day: key, month: key }, unit === 'tokens' ? { forecastTokens: out } : { forecast: out }, window) };
}

/** Exhaustive by event type: the compiler names what is missing. */
const FOLDS: { readonly [K in Event['type']]: Fold<EventOf<K>> } = {
  tenant_created: (rows, event, at) => account(command(rows, event, at), { created: true, policy: event.policy, policyVersion: 1 }),
  policy_set: (rows, event, at) => account(command(rows, event, at), { policy: event.policy, policyVersion: event.version }),
  tenant_suspended: (rows, event, at) => account(command(rows, event, at), { suspended: true }),
  tenant_resumed: (rows, event, at) => account(command(rows, event, at), { suspended: false }),
  budget_granted(rows, event, at) {
    const keys = { day: event.key, month: event.key };
    const after = command(rows, event, at);
    return { ...after, account: post(after.account, keys, { granted: event.amount, grantedTokens: event.tokens }, event.window) };
  },
  outside_cost_recorded(rows, event, at) {
    const after = command(rows, event, at);
    return { ...after, account: post(after.account, event, { settled: event.amount, settledTokens: event.tokens }) };
  },
  command_refused: (rows) => rows,
  request_queued: queued,
  request_refused: (rows) => account(rows, { refused: rows.account.refused + 1 }),
  refusals_reported: (rows, { count }) => account(rows, { refused: rows.account.refused + count }),
  request_conflicted: (rows) => rows,
  hold_placed: held,
  step_started: stepStarted,
  cost_recorded: costRecorded,
  step_finished: (rows, event) => closeStep(rows, turnOf(rows, event), event.step, 'done'),
  step_failed: (rows, event) => closeStep(rows, turnOf(rows, event), event.step, 'failed'),
  step_refused: (rows) => rows,
  hold_settled: settled,
  request_finished: finished,
  request_forgotten: (rows) => ({ ...rows, mark: undefined }),
  alert_raised: (rows, event) => alerted(rows, event, event.window, ALERT_LEVEL[event.alert]),
  forecast_raised: (rows, event) => forecast(rows, event, event.window, true),
  error_rate_raised: (rows) => account(rows, { errors: { ...rows.account.errors, raised: true } }),
  alert_cleared(rows, event) {
    const { alert, window } = event;
    if (alert === 'error_rate' || window === '') return account(rows, { errors: { ...rows.account.errors, raised: false } });
    // A hard alert that is cleared leaves the soft one: it is cleared by an event of its own.
    return alert === 'budget_forecast' ? forecast(rows, event, window, false) : alerted(rows, event, window, ALERT_LEVEL[alert] - 1);
  },
};

export function evolve(rows: Rows, event: Event, at: Instant): Rows {
  const fold = FOLDS[event.type] as Fold<Event>;
  return fold(rows, event, at);
}
