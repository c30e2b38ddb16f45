/**
 * Every limit, in one table: gateway, `decide` and `explain` read it. A refusal consumes nothing.
 * accept: asked when a request arrives, refuses at the door. dispatch: asked by the fair queue and again by `decide`; a request waits
 * until `until` or until its tenant is touched. Invariant 7: nothing starts beyond a cap.
 */
import type { ErrorCode } from '#schemas/errors.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import { shortage, windowEnd, windowKeys } from './ledger.ts';
import type { Account } from './state.ts';

export type Ask = {
  readonly cost: MicroUsd;
  /** Waiting messages of the same conversation. */
  readonly waiting: number;
};
export type Refusal = {
  readonly code: ErrorCode;
  readonly limit: number;
  readonly observed: number;
  /** When to try again; undefined: not before something else changes. */
  readonly until: Instant | undefined;
  /** No waiting for others' holds would help: the ladder is next. */
  readonly spent?: boolean;
};
export type Limit = {
  readonly name: string;
  readonly at: 'accept' | 'dispatch';
  readonly unit: string;
  check(account: Account, ask: Ask, now: Instant): Refusal | undefined;
};

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

const suspended: Limit['check'] = (account) => (account.suspended ? { code: 'tenant_suspended', limit: 0, observed: 1, until: undefined } : undefined);

export const LIMITS: readonly Limit[] = [
  { name: 'suspended', at: 'accept', unit: '', check: suspended },
  {
    name: 'queue_length',
    at: 'accept',
    unit: 'requests',
    check: ({ queued, policy }) =>
      queued >= policy.maxQueued ? { code: 'queue_full', limit: policy.maxQueued, observed: queued, until: undefined } : undefined,
  },
  {
    name: 'conversation_length',
    at: 'accept',
    unit: 'requests',
    check: ({ policy }, { waiting }) =>
      waiting >= policy.maxQueuedPerConversation
        ? { code: 'conversation_full', limit: policy.maxQueuedPerConversation, observed: waiting, until: undefined }
        : undefined,
  },
  { name: 'suspended', at: 'dispatch', unit: '', check: suspended },
  {
    name: 'in_flight',
    at: 'dispatch',
    unit: 'requests',
    check: ({ running, policy }) =>
      running >= policy.maxInFlight ? { code: 'overloaded', limit: policy.maxInFlight, observed: running, until: undefined } : undefined,
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
    unit: 'micro-dollars',
    check(account, { cost }, now) {
      const short = shortage(account, windowKeys(now), cost);
      if (!short) return undefined;
      const observed = short.settled + (short.spent ? 0 : short.held);
      return { code: 'budget_exhausted', limit: short.hard, observed, until: windowEnd(short.window, now), spent: short.spent };
    },
  },
];

/** The first limit that says no. */
export function refusal(at: Limit['at'], account: Account, ask: Ask, now: Instant): { readonly limit: Limit; readonly refusal: Refusal } | undefined {
  for (const limit of LIMITS) {
    const no = limit.at === at ? limit.check(account, ask, now) : undefined;
    if (no) return { limit, refusal: no };
  }
  return undefined;
}
