/**
 * What is refused before it reaches the log: by the same table of limits that the task asks, from the projection, and by a rate counter of
 * the gateway's own. Several gateways each count for themselves, so this keeps a flood off the log and no more: the task is exact.
 */
import type { ErrorCode } from '#schemas/errors.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { EventOf } from '#schemas/events.ts';
import type { Offset, TenantId } from '#schemas/ids.ts';
import { type Ask, type No, refusal } from '#streams/support/limits.ts';
import type { Account } from '#streams/support/state.ts';
import type { GatewayParts } from './parts.ts';
import { isErrorCode, Problem } from './problems.ts';
import type { Allowance } from './rate.ts';

const RATE_LIMIT = 'requests_per_second';

/** Unknown, or too fast. The allowance goes into the answer's headers. */
export function checkRate({ peek, rate, refused, view }: GatewayParts, tenant: TenantId): Allowance {
  const { account } = peek({ tenant });
  if (!account.created) throw new EvenkeelError('tenant_unknown', `there is no tenant ${tenant}: an operator may create it`);
  const { requestsPerSecond, burst } = account.policy;
  const allowance = rate.take(tenant, account.policy, Date.now());
  if (allowance.retryAfterMs === undefined) return allowance;
  refused(tenant, 'rate_limited', RATE_LIMIT);
  const wait = Math.ceil(allowance.retryAfterMs);
  const detail = `${tenant} may send ${requestsPerSecond} requests/s with a burst of ${burst}, which is used up; try again in ${wait} ms`;
  const refusedBy = {
    limitName: RATE_LIMIT,
    limit: requestsPerSecond,
    observed: burst,
    balance: 0,
    retryAfterMs: wait,
    offset: view.offset(tenant),
    allowance,
  };
  throw new Problem('rate_limited', detail, refusedBy);
}

/** Of whom, and how many wait in the conversation that it is for. */
type Asks = { readonly tenant: TenantId; readonly account: Account; readonly waiting: number };

/** A request that is known already is answered before this: a full queue does not refuse its repeat. */
export function checkLimits({ refused, view, submissions }: GatewayParts, { tenant, account: folded, waiting }: Asks, deadlineMs: number | undefined): void {
  // What is on its way to the queue stands in it as far as we know.
  const onTheirWay = submissions.undecided(tenant);
  const { policy } = folded;
  const account = folded.queued + onTheirWay < policy.maxQueued ? folded : { ...folded, queued: folded.queued + onTheirWay };
  const now = view.now;
  const deadline = now + Math.min(deadlineMs ?? policy.deadlineMs, policy.maxDeadlineMs);
  const ask: Ask = { cost: 0 as Ask['cost'], tokens: 0, waiting, deadline };
  const no = refusal('accept', account, ask, now);
  if (!no) return;
  refused(tenant, no.refusal.code, no.limit.name);
  throw limited(no, tenant, view.offset(tenant), now);
}

function limited({ limit: { name }, refusal: { code, limit, observed, until } }: No, tenant: TenantId, offset: Offset | undefined, now: number): Problem {
  const retryAfterMs = until === undefined ? null : until - now;
  return new Problem(code, wordsOf(code, limit, observed, tenant), { limitName: name, limit, observed, balance: left(limit, observed), retryAfterMs, offset });
}

/** The task's verdict. */
export function refusedByTask({ tenant, code, limit, observed, retryAfterMs, limitName }: EventOf<'request_refused'>, offset: Offset): Problem {
  const known = isErrorCode(code) ? code : 'overloaded';
  return new Problem(known, wordsOf(known, limit, observed, tenant), {
    ...(limitName === '' ? {} : { limitName }),
    limit,
    observed,
    balance: left(limit, observed),
    retryAfterMs,
    offset,
  });
}

const left = (limit: number, observed: number): number => Math.max(0, limit - observed);

function wordsOf(code: ErrorCode, limit: number, observed: number, tenant: TenantId): string {
  switch (code) {
    case 'deadline_expired':
      return 'its deadline had passed when it arrived: send it with a later one';
    case 'tenant_suspended':
      return `${tenant} is suspended: an operator may resume it`;
    case 'queue_full':
      return `${observed} requests of ${tenant} wait, and ${limit} may; nothing was consumed, try again when some are answered`;
    case 'conversation_full':
      return `${observed} messages of this conversation wait, and ${limit} may; nothing was consumed, try again when some are answered`;
    default:
      return `${observed} of ${limit}: nothing was consumed, and the same request may be sent again`;
  }
}
