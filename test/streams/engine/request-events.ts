/** Events of requests `n` of one tenant, each in a conversation of its own. */
import type { EventOf } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';

export const tenant = 'acme' as TenantId;

export const queued = (n: number, deadline = 9e12): EventOf<'request_queued'> => ({
  type: 'request_queued',
  tenant,
  request: `r_${n}` as RequestId,
  conversation: `c_${n}` as ConversationId,
  person: 'p_1' as PersonId,
  bodyDigest: 'd',
  source: 'http',
  arrival: n,
  deadline,
  estimate: 50 as MicroUsd,
});

export const held = (n: number): EventOf<'hold_placed'> => ({
  type: 'hold_placed',
  tenant,
  request: `r_${n}` as RequestId,
  conversation: `c_${n}` as ConversationId,
  day: '2026-11-24',
  month: '2026-11',
  amount: 50 as MicroUsd,
  degraded: null,
  tokens: 100,
});

/** It ended at its deadline, without having run. */
export const expired = (n: number): EventOf<'request_finished'> => ({
  type: 'request_finished',
  tenant,
  request: `r_${n}` as RequestId,
  conversation: `c_${n}` as ConversationId,
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
