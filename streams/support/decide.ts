/**
 * What follows from an input: pure and synchronous. It sees one tenant's account, at most one conversation and one mark.
 * Invariant 1: a request ends once; invariant 4: a hold only within every hard limit, settled exactly once.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Degradation, Event, EventOf, Reason } from '#schemas/events.ts';
import { type Instant, type MicroUsd, ZERO } from '#schemas/ids.ts';
import type { Blocked, Ready } from '#streams/engine/machine.ts';
import { alerts } from './alerts.ts';
import { decideCommand } from './decide-command.ts';
import { holdOf, lowerAt, rungOf, startingRung } from './degradation.ts';
import type { Rows } from './evolve.ts';
import type { Dispatch, Finish, Input, RequestInput, StepFail, StepFinish, StepStart, Wake } from './input.ts';
import { windowKeys } from './ledger.ts';
import { type Ask, type No, refusal } from './limits.ts';
import type { Account, Conversation, Turn, TurnStep, Waiting } from './state.ts';

type OfRequest = Pick<EventOf<'request_finished'>, 'tenant' | 'request' | 'conversation'>;

/** The worst case of a whole request: what is held for it, and what no call of it can exceed. */
const estimate = ({ policy }: Account): Pick<Ask, 'cost' | 'tokens'> => holdOf(policy, 'full');

export function decide(rows: Rows, input: Input, now: Instant): readonly Event[] {
  const events = decideInput(rows, input, now);
  if (events.length === 0) return events;
  const said = alerts(rows.account, events, now);
  return said.length === 0 ? events : [...events, ...said];
}

function decideInput(rows: Rows, input: Input, now: Instant): readonly Event[] {
  switch (input.kind) {
    case 'request':
      return accept(rows, input, now);
    case 'command':
      return decideCommand(rows, input.command, now);
    case 'dispatch':
      return dispatch(rows, input, now);
    case 'step_start':
      return startStep(rows, input, now);
    case 'step_finish':
      return finishStep(rows, input);
    case 'step_fail':
      return failStep(rows, input);
    case 'finish':
      return finish(rows, input, now);
    case 'wake':
      return wake(rows, input, now);
  }
}

/** queued, refused at the door, duplicate (nothing), or a conflict. */
function accept({ account, item, mark }: Rows, input: RequestInput, now: Instant): readonly Event[] {
  const { tenant, item: conversation, mark: request, person, bodyDigest, source } = input;
  if (!account.created) throw new EvenkeelError('tenant_unknown', `there is no tenant ${tenant}`);
  const ids = { tenant, request, conversation };
  if (mark) return mark.bodyDigest === bodyDigest ? [] : [{ type: 'request_conflicted', ...ids, bodyDigest }];
  const { policy } = account;
  const deadline = input.appended + Math.min(input.deadlineMs ?? policy.deadlineMs, policy.maxDeadlineMs);
  const ask = { ...estimate(account), waiting: item?.waiting.length ?? 0, deadline };
  const no = refusal('accept', account, ask, now);
  if (no) {
    const { code, limit, observed, until } = no.refusal;
    const retryAfterMs = until === undefined ? null : until - now;
    return [{ type: 'request_refused', ...ids, person, source, code, limit, observed, retryAfterMs, limitName: no.limit.name }];
  }
  return [{ type: 'request_queued', ...ids, person, bodyDigest, source, arrival: account.arrivals, deadline, estimate: ask.cost }];
}

type Start = { readonly degraded: Degradation | null; readonly no: No | undefined } & Pick<Ask, 'cost' | 'tokens'>;

/** Where a dispatch would start now, and the limit that it would meet there. */
function start(account: Account, item: Conversation, now: Instant): Start {
  const deadline = item.waiting[0]?.deadline ?? now;
  const degraded = startingRung(account, deadline, now);
  const hold = holdOf(account.policy, rungOf(degraded));
  return { degraded, ...hold, no: refusal('dispatch', account, { ...hold, waiting: item.waiting.length, deadline }, now) };
}

/** The limit that a dispatch would meet now, on the rung where it would start. */
export const inTheWay = (account: Account, item: Conversation, now: Instant): No | undefined => start(account, item, now).no;

/** Asked by the fair queue, by `dispatch` and by `explain`. What is settled never blocks: the ladder is next. */
export function ready(account: Account, item: Conversation, now: Instant): Ready | Blocked {
  const { cost, no } = start(account, item, now);
  if (!no) return { cost };
  // With less time left it starts lower, where it may need no hold at all.
  const lower = no.limit.name === 'budget' ? lowerAt(account.policy, item.waiting[0]?.deadline ?? now, now) : undefined;
  const { until } = no.refusal;
  return { limit: no.limit.name, until: lower === undefined || until === undefined ? (lower ?? until) : Math.min(lower, until) };
}

/** Places the hold of the rung on which the request starts. */
function dispatch({ account, item }: Rows, { tenant }: Dispatch, now: Instant): readonly Event[] {
  const first = item?.waiting[0];
  if (!item || item.turn || !first) return [];
  const { degraded, cost: amount, tokens, no } = start(account, item, now);
  if (no) return [];
  const { request } = first;
  return [
    {
      type: 'hold_placed',
      tenant,
      request,
      conversation: item.conversation,
      ...windowKeys(now),
      amount,
      tokens,
      degraded,
    },
  ];
}

function running({ item }: Rows, { mark, arrival }: { readonly mark: string; readonly arrival: number }): Turn | undefined {
  return item?.turn?.request === mark && item.turn.arrival === arrival ? item.turn : undefined;
}
const ids = ({ tenant, item, mark }: StepStart | StepFinish | StepFail | Finish) => ({ tenant, request: mark, conversation: item });
const windows = ({ day, month }: Turn) => ({ day, month });

/** A step that started and has no result is presumed spent at its worst case. */
function presumed(turn: Turn, step: TurnStep, request: OfRequest): EventOf<'cost_recorded'> {
  const { step: name, attempt, worstCase: amount, worstTokens: inputTokens, priceVersion } = step;
  const spent = { step: name, attempt, amount, inputTokens, outputTokens: 0, model: '', presumed: true, priceVersion };
  return { type: 'cost_recorded', ...request, ...windows(turn), ...spent };
}

const sum = (steps: readonly TurnStep[], of: 'worstCase' | 'worstTokens'): number => steps.reduce((total, each) => total + each[of], 0);

/** What a hold of `left` has for one more step: an overrun takes all of it and no more, so that a step that costs nothing always fits. */
const leftOf = (left: number, lost: number, promised: number): number => Math.max(0, Math.max(0, left - lost) - promised);

/** The limit that this step meets; what its own lost attempt has spent is spent. */
function stepRefusal(account: Account, turn: Turn, { step, calls, worstCase, worstTokens }: StepStart, known: TurnStep | undefined, now: Instant) {
  const isLost = known?.state === 'open';
  const lost = { money: isLost ? known.worstCase : 0, tokens: isLost ? known.worstTokens : 0 };
  const open = turn.steps.filter((each) => each.state === 'open' && each.step !== step);
  const left = leftOf(turn.left, lost.money, sum(open, 'worstCase'));
  const leftTokens = leftOf(turn.leftTokens, lost.tokens, sum(open, 'worstTokens'));
  const steps = turn.steps.length - Number(known !== undefined);
  const lostCalls = Number(isLost && known.calls === 'tool');
  const toolCalls = open.filter((each) => each.calls === 'tool').length;
  const after = lostCalls === 0 ? account : { ...account, toolCalls: account.toolCalls - lostCalls };
  return refusal('step', after, { calls, worstCase, worstTokens, left, leftTokens, steps, toolCalls }, now);
}

/** Its start commits before the call is made; the same attempt asked again changes nothing. */
function startStep(rows: Rows, input: StepStart, now: Instant): readonly Event[] {
  const turn = running(rows, input);
  if (!turn) return [];
  const { step, attempt, stepKind: kind, calls, worstCase, worstTokens, priceVersion } = input;
  const known = turn.steps.find((each) => each.step === step);
  if (known && (known.state === 'done' || known.attempt >= attempt)) return [];
  const lost = known?.state === 'open' ? [presumed(turn, known, ids(input))] : [];
  const refused = { type: 'step_refused', ...ids(input), step } as const;
  if (known && known.kind === 'unsafe') return [...lost, { ...refused, code: 'unsafe_repeat', limitName: '', limit: 0, observed: 0 }];
  const no = stepRefusal(rows.account, turn, input, known, now);
  if (no) return [...lost, { ...refused, code: no.refusal.code, limitName: no.limit.name, limit: no.refusal.limit, observed: no.refusal.observed }];
  return [...lost, { type: 'step_started', ...ids(input), step, attempt, kind, worstCase, calls, worstTokens, priceVersion }];
}

const openAttempt = (turn: Turn | undefined, step: string, attempt: number) =>
  turn?.steps.find((each) => each.state === 'open' && each.step === step && each.attempt === attempt);

/** An attempt without a result is presumed spent, unless it is sure that nothing was done for it. */
function failStep(rows: Rows, input: StepFail): readonly Event[] {
  const turn = running(rows, input);
  const { step, attempt, code, spent } = input;
  const open = openAttempt(turn, step, attempt);
  if (!turn || !open) return [];
  return [...(spent ? [presumed(turn, open, ids(input))] : []), { type: 'step_failed', ...ids(input), step, attempt, code }];
}

/** A result counts once, and only for the attempt that is open. */
function finishStep(rows: Rows, input: StepFinish): readonly Event[] {
  const turn = running(rows, input);
  const { step, attempt, cost: amount, inputTokens, outputTokens, model, digest } = input;
  const open = openAttempt(turn, step, attempt);
  if (!turn || !open) return [];
  const spent = { step, attempt, amount, inputTokens, outputTokens, model, presumed: false, priceVersion: open.priceVersion };
  const cost: Event = { type: 'cost_recorded', ...ids(input), ...windows(turn), ...spent };
  return [...(amount > 0 || inputTokens + outputTokens > 0 ? [cost] : []), { type: 'step_finished', ...ids(input), step, attempt, digest }];
}

type Ending = Pick<EventOf<'request_finished'>, 'outcome' | 'reason' | 'degraded' | 'citations' | 'retryAfterMs'>;

/** Result, settlement and lifecycle event, in one commit. */
function endTurn(turn: Turn, request: OfRequest, ending: Ending, now: Instant): readonly Event[] {
  const lost = turn.steps.filter((each) => each.state === 'open').map((step) => presumed(turn, step, request));
  const settled = (turn.spent + lost.reduce((total, each) => total + each.amount, 0)) as MicroUsd;
  const settledTokens = turn.spentTokens + lost.reduce((total, each) => total + each.inputTokens, 0);
  return [
    ...lost,
    { type: 'hold_settled', ...request, ...windows(turn), held: turn.hold, settled, heldTokens: turn.holdTokens, settledTokens },
    {
      type: 'request_finished',
      ...request,
      ...ending,
      cost: settled,
      queuedMs: Math.max(0, turn.startedAt - turn.queuedAt),
      ranMs: Math.max(0, now - turn.startedAt),
      ran: true,
    },
  ];
}

function finish(rows: Rows, input: Finish, now: Instant): readonly Event[] {
  const turn = running(rows, input);
  const { outcome, reason, degraded, citations, retryAfterMs } = input;
  return turn ? endTurn(turn, ids(input), { outcome, reason, degraded, citations, retryAfterMs }, now) : [];
}

/** A deadline fell, or a mark may be forgotten. */
function wake({ item, mark }: Rows, { tenant }: Wake, now: Instant): readonly Event[] {
  if (mark) return mark.forgetAt !== null && mark.forgetAt <= now ? [{ type: 'request_forgotten', tenant, request: mark.id as Turn['request'] }] : [];
  if (!item) return [];
  const { conversation, turn, waiting } = item;
  const ended = waiting
    .filter((each) => each.deadline <= now)
    .flatMap((each) => [endWaiting(each, { tenant, request: each.request, conversation }, 'deadline', now)]);
  const late: Ending = { outcome: 'refused', reason: 'deadline', degraded: turn?.degraded ?? null, citations: 0, retryAfterMs: null };
  return turn && turn.deadline <= now ? [...endTurn(turn, { tenant, request: turn.request, conversation }, late, now), ...ended] : ended;
}

function endWaiting(turn: Waiting, request: OfRequest, reason: Reason, now: Instant): Event {
  return {
    type: 'request_finished',
    ...request,
    outcome: 'refused',
    reason,
    degraded: null,
    citations: 0,
    retryAfterMs: null,
    cost: ZERO,
    queuedMs: Math.max(0, now - turn.queuedAt),
    ranMs: 0,
    ran: false,
  };
}
