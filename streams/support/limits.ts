/**
 * Every limit, in one table: gateway, `decide` and `explain` read it. A refusal consumes nothing.
 * accept: asked when a request arrives, refuses at the door. dispatch: asked by the fair queue and again by `decide`; a request waits
 * until `until` or until its tenant is touched. step: asked before a call of a running request is made; the step does not start.
 * Invariant 7: nothing starts beyond a cap.
 */
import type { ErrorCode } from '#schemas/errors.ts';
import type { StepCalls } from '#schemas/events.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import { type Shortage, shortage, windowEnd, windowKeys } from './ledger.ts';
import type { Account } from './state.ts';

/** What a request asks for, at its arrival and at its dispatch. */
export type Ask = {
  readonly cost: MicroUsd;
  readonly tokens: number;
  /** Waiting messages of the same conversation. */
  readonly waiting: number;
  readonly deadline: Instant;
};
/** What a step of a running request asks for. */
export type StepAsk = {
  readonly calls: StepCalls;
  readonly worstCase: MicroUsd;
  readonly worstTokens: number;
  /** What of the request's hold is neither spent nor promised to another open step. */
  readonly left: number;
  readonly leftTokens: number;
  /** Of the same request: its steps so far, without this one, and its tool calls in flight. */
  readonly steps: number;
  readonly toolCalls: number;
};
export type Refusal = {
  readonly code: ErrorCode;
  readonly limit: number;
  readonly observed: number;
  /** When to try again; undefined: not before something else changes. */
  readonly until: Instant | undefined;
  /** No waiting for others' holds would help: the ladder is next. */
  readonly spent?: boolean;
  /** Which budget, and what stands in it. */
  readonly budget?: Pick<Shortage, 'window' | 'unit' | 'settled' | 'held'>;
};
type Asks = { readonly accept: Ask; readonly dispatch: Ask; readonly step: StepAsk };
export type LimitAt<At extends keyof Asks> = {
  readonly name: string;
  readonly at: At;
  readonly unit: string;
  check(account: Account, ask: Asks[At], now: Instant): Refusal | undefined;
};
export type Limit = { readonly [At in keyof Asks]: LimitAt<At> }[keyof Asks];

/** The emission interval of a rate, in microseconds. */
const interval = (account: Account): number => Math.ceil(1_000_000 / account.policy.requestsPerSecond);

/** GCRA (ITU-T I.371): when the next request conforms, ms. */
export function conformsAt(account: Account): Instant {
  return Math.ceil((account.rateTat - (account.policy.burst - 1) * interval(account)) / 1_000);
}

/** The theoretical arrival time after one request at `now`, microseconds. */
export function nextTat(account: Account, now: Instant): number {
  return Math.max(account.rateTat, now * 1_000) + interval(account);
}

const suspended = (account: Account): Refusal | undefined =>
  account.suspended ? { code: 'tenant_suspended', limit: 0, observed: 1, until: undefined } : undefined;

const over = (code: ErrorCode, limit: number, observed: number): Refusal => ({ code, limit, observed, until: undefined });

export const LIMITS: readonly Limit[] = [
  {
    name: 'deadline',
    at: 'accept',
    unit: 'ms since 1970',
    check: (_account, { deadline }, now) => (deadline <= now ? over('deadline_expired', deadline, now) : undefined),
  },
  { name: 'suspended', at: 'accept', unit: '', check: suspended },
  {
    name: 'queue_length',
    at: 'accept',
    unit: 'requests',
    check: ({ queued, policy }) => (queued >= policy.maxQueued ? over('queue_full', policy.maxQueued, queued) : undefined),
  },
  {
    name: 'conversation_length',
    at: 'accept',
    unit: 'requests',
    check: ({ policy }, { waiting }) =>
      waiting >= policy.maxQueuedPerConversation ? over('conversation_full', policy.maxQueuedPerConversation, waiting) : undefined,
  },
  { name: 'suspended', at: 'dispatch', unit: '', check: suspended },
  {
    name: 'in_flight',
    at: 'dispatch',
    unit: 'requests',
    check: ({ running, policy }) => (running >= policy.maxInFlight ? over('overloaded', policy.maxInFlight, running) : undefined),
  },
  {
    name: 'requests_per_second',
    at: 'dispatch',
    unit: 'requests/s',
    check(account, _ask, now) {
      const at = conformsAt(account);
      return at > now ? { code: 'rate_limited', limit: account.policy.requestsPerSecond, observed: at - now, until: at } : undefined;
    },
  },
  {
    name: 'budget',
    at: 'dispatch',
    unit: 'micro-dollars, tokens',
    check(account, { cost, tokens }, now) {
      // The rungs that cost nothing run whatever was spent.
      if (cost === 0 && tokens === 0) return undefined;
      const short = shortage(account, windowKeys(now), { money: cost, tokens });
      if (!short) return undefined;
      const { window, unit, hard, settled, held, spent } = short;
      const budget = { window, unit, settled, held };
      return { code: 'budget_exhausted', limit: hard, observed: settled + (spent ? 0 : held), until: windowEnd(window, now), spent, budget };
    },
  },
  {
    name: 'request_steps',
    at: 'step',
    unit: 'steps',
    check: ({ policy }, { steps }) => (steps >= policy.maxSteps ? over('too_many_steps', policy.maxSteps, steps) : undefined),
  },
  {
    name: 'request_budget',
    at: 'step',
    unit: 'micro-dollars',
    check: (_account, { worstCase, left }) => (worstCase > left ? over('budget_exhausted', left, worstCase) : undefined),
  },
  {
    name: 'request_tokens',
    at: 'step',
    unit: 'tokens',
    check: (_account, { worstTokens, leftTokens }) => (worstTokens > leftTokens ? over('budget_exhausted', leftTokens, worstTokens) : undefined),
  },
  {
    name: 'tool_fan_out',
    at: 'step',
    unit: 'tool calls',
    check: ({ policy }, { calls, toolCalls }) =>
      calls === 'tool' && toolCalls >= policy.maxToolFanOut ? over('overloaded', policy.maxToolFanOut, toolCalls) : undefined,
  },
  {
    name: 'tool_calls_in_flight',
    at: 'step',
    unit: 'tool calls',
    check: ({ policy, toolCalls }, { calls }) =>
      calls === 'tool' && toolCalls >= policy.maxToolCalls ? over('overloaded', policy.maxToolCalls, toolCalls) : undefined,
  },
];

export type No = { readonly limit: Limit; readonly refusal: Refusal };

const BY_PLACE = Map.groupBy(LIMITS, ({ at }) => at);

/** The first limit that says no. */
export function refusal<At extends Limit['at']>(at: At, account: Account, ask: Asks[At], now: Instant): No | undefined {
  for (const limit of BY_PLACE.get(at) ?? []) {
    const no = (limit as LimitAt<At>).check(account, ask, now);
    if (no) return { limit, refusal: no };
  }
  return undefined;
}
