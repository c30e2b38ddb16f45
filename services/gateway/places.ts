/** A waiting request's place in the fair queue, from the owner of its partition, who alone knows it. */
import { EvenkeelError } from '#schemas/errors.ts';
import type { ConversationId, TenantId } from '#schemas/ids.ts';
import { CALL_HEADER, signCall } from '../internal.ts';

/** conversations: the tenant's own that are ready before this one, counted up to a thousand; tenants: others' that come first. */
export type Place = { readonly conversations: number; readonly tenants: number; readonly full: boolean };
export type Places = (partition: number, tenant: TenantId, conversation: ConversationId) => Promise<Place | undefined>;

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
