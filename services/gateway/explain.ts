/**
 * What a waiting request waits for, who is ahead and until when: its own rows from the projection, and its place in the fair queue from the
 * partition's owner, who alone knows it. Where the owner does not answer, that part is null.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { ConversationId, RequestId, TenantId } from '#schemas/ids.ts';
import { waitsFor } from '#streams/support/explain.ts';
import type { No } from '#streams/support/limits.ts';
import type { Mark } from '#streams/support/state.ts';
import { CALL_HEADER, signCall } from '../internal.ts';
import type { GatewayParts } from './parts.ts';

/** conversations: the tenant's own that are ready before this one, counted up to a thousand; tenants: others' that come first. */
export type Place = { readonly conversations: number; readonly tenants: number; readonly full: boolean };
export type Places = (partition: number, tenant: TenantId, conversation: ConversationId) => Promise<Place | undefined>;

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

/** Asked of a runtime at once for one tenant: more of its polling must not load the task that all share. */
const AT_ONCE = 2;
const ANSWERS_WITHIN_MS = 1_000;

export type OwnersOf = { addressOf(partition: number): Promise<string | undefined>; forget(): void };

/** Over HTTP, from the address that the owner gave the group; signed, so that only our own processes are answered. */
export function placesFrom(owners: OwnersOf, masterKey: Uint8Array, warn: (message: string) => void): Places {
  const asking = new Map<TenantId, number>();
  return async (partition, tenant, conversation) => {
    const now = asking.get(tenant) ?? 0;
    if (now >= AT_ONCE) return undefined;
    asking.set(tenant, now + 1);
    try {
      const address = await owners.addressOf(partition);
      if (address === undefined) return undefined;
      const target = `/explain?${new URLSearchParams({ partition: String(partition), tenant, conversation })}`;
      const headers = { [CALL_HEADER]: signCall(masterKey, target) };
      const response = await fetch(`http://${address}${target}`, { headers, signal: AbortSignal.timeout(ANSWERS_WITHIN_MS) });
      if (!response.ok) throw new EvenkeelError('unavailable', `the owner at ${address} answered ${response.status}`);
      const { before, ahead, full } = (await response.json()) as { before: number; ahead: number; full: boolean };
      return { conversations: before, tenants: ahead, full };
    } catch (error) {
      owners.forget();
      warn(`the owner of partition ${partition} did not say who is ahead: ${(error as Error).message}`);
      return undefined;
    } finally {
      const left = (asking.get(tenant) ?? 1) - 1;
      if (left === 0) asking.delete(tenant);
      else asking.set(tenant, left);
    }
  };
}
