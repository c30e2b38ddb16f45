/** Events of requests `n` of one tenant, each in a conversation of its own. */
import type { EventOf } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';

export const tenant = 'acme' as TenantId;

const of = (n: number) => ({ tenant, request: `r_${n}` as RequestId, conversation: `c_${n}` as ConversationId });

export const queued = (n: number, deadline = 9e12): EventOf<'request_queued'> => ({
  type: 'request_queued',
  ...of(n),
  person: 'p_1' as PersonId,
  bodyDigest: 'd',
  source: 'http',
  arrival: n,
  deadline,
  estimate: 50 as MicroUsd,
});

export const held = (n: number): EventOf<'hold_placed'> => ({
  type: 'hold_placed',
  ...of(n),
  day: '2026-11-24',
  month: '2026-11',
  amount: 50 as MicroUsd,
  degraded: null,
  tokens: 100,
});

/** It ended at its deadline, without having run. */
export const expired = (n: number): EventOf<'request_finished'> => ({
  type: 'request_finished',
  ...of(n),
  outcome: 'refused',
  reason: 'deadline',
  degraded: null,
  cost: 0 as MicroUsd,
  ran: false,
  retryAfterMs: null,
  queuedMs: 1,
  ranMs: 0,
  citations: 0,
});
