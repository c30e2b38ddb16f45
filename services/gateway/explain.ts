/**
 * What a waiting request waits for, who is ahead and until when: its own rows from the projection, and its place from the partition's owner
 * (places.ts). Where the owner does not answer, that part is null.
 */
import type { RequestId } from '#schemas/ids.ts';
import { waitsFor } from '#streams/support/explain.ts';
import type { No } from '#streams/support/limits.ts';
import type { Mark } from '#streams/support/state.ts';
import type { GatewayParts } from './parts.ts';

export type Waiting = {
  readonly waits_for: string;
  readonly words: string;
  readonly ahead: { readonly in_conversation: number; readonly conversations: number | null; readonly tenants: number | null };
  readonly until: string | null;
  readonly deadline: string | null;
  readonly limit?: object;
  readonly offset: number | null;
};

const iso = (at: number | null | undefined): string | null => (at === null || at === undefined ? null : new Date(at).toISOString());

/** undefined when it does not wait. An end user is not told the tenant's sums. */
export async function explainWaiting(parts: GatewayParts, partition: number, mark: Mark, toldSums: boolean): Promise<Waiting | undefined> {
  const { tenant, conversation } = mark;
  if (mark.stage !== 'queued' || conversation === null) return undefined;
  const waits = waitsFor(parts.peek({ tenant, item: conversation }), mark.id as RequestId, parts.view.now);
  if (!waits) return undefined;
  const place = waits.for === 'conversation' ? undefined : await parts.placeOf(partition, tenant, conversation);
  const ahead = { in_conversation: waits.before, conversations: place?.conversations ?? null, tenants: place?.tenants ?? null };
  const about = { ahead, deadline: iso(mark.deadline), offset: parts.view.offset(tenant) ?? null };
  if (waits.for === 'limit') {
    const { limit, refusal } = waits.no;
    const sums = toldSums ? { limit: { name: limit.name, unit: limit.unit, limit: refusal.limit, observed: refusal.observed, budget: refusal.budget } } : {};
    return { waits_for: limit.name, words: wordsOf(waits.no), until: iso(refusal.until), ...sums, ...about };
  }
  if (waits.for === 'conversation') {
    const earlier = waits.before === 1 ? 'an earlier message' : `${waits.before} earlier messages`;
    const words = `for ${earlier} of its conversation: one is answered at a time`;
    return { waits_for: 'conversation', words, until: null, ...about };
  }
  if (place?.full)
    return {
      waits_for: 'partition',
      words: 'for a free place: as many requests run in its partition as may; the last places are kept for tenants that run less',
      until: null,
      ...about,
    };
  return { waits_for: 'turn', words: 'for its turn, in order of what each tenant is owed', until: null, ...about };
}

function wordsOf({ limit, refusal }: No): string {
  switch (limit.name) {
    case 'suspended':
      return 'for the tenant to be resumed: it is suspended';
    case 'in_flight':
      return 'for a running request of its tenant to end: as many run as may';
    case 'requests_per_second':
      return 'for the tenant’s rate: its burst is used up';
    case 'budget':
      return `for what is held for running requests of its tenant: with it the budget of the ${refusal.budget?.window ?? 'window'} is full`;
    default:
      return `for ${limit.name}`;
  }
}
