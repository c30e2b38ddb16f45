/**
 * Start-time fair queueing on cost (Goyal, Vin and Cheng, 1996), one head per tenant, synchronous and ephemeral.
 *
 * Its own invariants:
 * a. A tenant is dispatched at the virtual start `max(V, finish)` it had when it became ready; V is the start of the last dispatch.
 * b. A charge moves `finish` by amount ÷ weight. It may be negative (the settlement was below the estimate) and is never clamped while
 *    the tenant stays ready: clamped refunds let shares drift.
 * c. A tenant that was idle or blocked gains no credit for that time: becoming ready lifts `finish` to V.
 * d. Work-conserving: while any tenant is ready, `next` names one.
 */
import type { Instant, TenantId } from '#schemas/ids.ts';
import { Heap } from './heap.ts';
import { type Blocked, type ItemId, isBlocked, type Ready } from './machine.ts';

export type Head = (Ready & { readonly item: ItemId }) | Blocked | undefined;
type Flow = {
  readonly tenant: TenantId;
  finish: number;
  head: Head;
  /** Raised at each change of place; a heap entry with another number is stale. */
  version: number;
};
type Entry = { readonly flow: Flow; readonly version: number };

export class FairQueue {
  readonly #flows = new Map<TenantId, Flow>();
  readonly #ready = new Heap<Entry>();
  readonly #blocked = new Heap<Entry>();
  readonly #headOf: (tenant: TenantId, now: Instant) => Head;
  #virtual = 0;
  #readyCount = 0;

  constructor(headOf: (tenant: TenantId, now: Instant) => Head) {
    this.#headOf = headOf;
  }

  /** Looks the tenant's head up again: after its rows changed, or when its block is due. */
  touch(tenant: TenantId, now: Instant): void {
    const head = this.#headOf(tenant, now);
    const flow = this.#flow(tenant);
    const wasReady = isReady(flow.head);
    flow.head = head;
    if (isReady(head) && !wasReady) flow.finish = Math.max(flow.finish, this.#virtual);
    else if (head === undefined && flow.finish <= this.#virtual) this.#flows.delete(tenant);
    this.#readyCount += Number(isReady(head)) - Number(wasReady);
    this.#place(flow);
  }

  /** `amount` in micro-dollars, may be negative. */
  charge(tenant: TenantId, amount: number, weight: number): void {
    if (amount === 0) return;
    const flow = this.#flow(tenant);
    flow.finish += amount / weight;
    this.#place(flow);
  }

  /** The next row to dispatch, or when to ask again. The caller dispatches it, then charges and touches its tenant. */
  next(now: Instant): { readonly tenant: TenantId; readonly item: ItemId } | { readonly wakeAt: Instant | undefined } {
    this.#unblock(now);
    for (let top = this.#ready.peek(); top; top = this.#ready.peek()) {
      const { flow, version } = top.value;
      if (version === flow.version && flow.head && !isBlocked(flow.head)) {
        this.#virtual = Math.max(this.#virtual, top.rank);
        return { tenant: flow.tenant, item: flow.head.item };
      }
      this.#ready.pop();
    }
    return { wakeAt: this.#blocked.peek()?.rank };
  }

  get hasReady(): boolean {
    return this.#readyCount > 0;
  }

  /** How many ready tenants stand before this one, and what blocks it. */
  explain(tenant: TenantId): { readonly ahead: number; readonly blocked: Blocked | undefined } {
    const flow = this.#flows.get(tenant);
    if (!flow?.head) return { ahead: 0, blocked: undefined };
    if (isBlocked(flow.head)) return { ahead: 0, blocked: flow.head };
    let ahead = 0;
    for (const other of this.#flows.values()) if (isReady(other.head) && other.finish < flow.finish) ahead++;
    return { ahead, blocked: undefined };
  }

  #flow(tenant: TenantId): Flow {
    let flow = this.#flows.get(tenant);
    if (!flow) {
      flow = { tenant, finish: this.#virtual, head: undefined, version: 0 };
      this.#flows.set(tenant, flow);
    }
    return flow;
  }

  #place(flow: Flow): void {
    flow.version++;
    const entry = { flow, version: flow.version };
    if (isReady(flow.head)) this.#ready.push(flow.finish, entry);
    else if (flow.head?.until !== undefined) this.#blocked.push(flow.head.until, entry);
  }

  #unblock(now: Instant): void {
    for (let top = this.#blocked.peek(); top; top = this.#blocked.peek()) {
      const stale = top.value.version !== top.value.flow.version;
      if (!stale && top.rank > now) return;
      this.#blocked.pop();
      if (!stale) this.touch(top.value.flow.tenant, now);
    }
  }
}

function isReady(head: Head): head is Ready & { readonly item: ItemId } {
  return head !== undefined && !isBlocked(head);
}
