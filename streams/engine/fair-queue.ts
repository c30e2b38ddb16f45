/**
 * Start-time fair queueing on cost (Goyal, Vin and Cheng, 1996), one head per tenant, synchronous and ephemeral.
 *
 * A cost is known only at its end, so a tenant's account has two parts: what it has `spent`, and what it is `held` to spend by what runs.
 * Its own invariants:
 * a. The ready tenant with the least (spent + held) ÷ weight is next; of equals, the one that has stood there longest.
 * b. Virtual time V is the least `spent` among the ready, and never goes back: no ready tenant is behind it. What the others are held for is no
 *    part of V: a tenant that joins has nothing running, and must not stand behind the running work of those who have.
 * c. A tenant that was idle or blocked gains no credit for that time: becoming ready lifts `spent` to V.
 * d. A settlement moves cost from held to spent. `spent` never shrinks, so nothing has to be clamped, and shares do not drift.
 * e. Work-conserving but for the last slots: they are kept for tenants that hold no more than their share of what is held (trunk reservation).
 *    Or a flood fills every slot at once, its effects end together, and whoever comes meanwhile waits for a whole effect, wave after wave. The
 *    order is never changed: where the first may not have such a slot, nobody goes until one more is free.
 *
 * Of many thousand tenants that wait at an opening, those whose turn it is not yet may be asked for their heads a little later. Until then V
 * stands still and only a tenant that stands at V is next: the order is the one in which all were asked at once, and who holds nothing is not over its share.
 */
import type { Instant, TenantId } from '#schemas/ids.ts';
import { Heap } from './heap.ts';
import { type Blocked, type Charge, type ItemId, isBlocked, type Ready } from './machine.ts';

export type Head = (Ready & { readonly item: ItemId }) | Blocked | undefined;
type Flow = {
  readonly tenant: TenantId;
  /** Virtual: micro-dollars ÷ the weight of their time. */
  spent: number;
  /** Micro-dollars. */
  held: number;
  weight: number;
  head: Head;
  /** The weight under which it is counted among those that hold or want a slot; 0: it does neither. */
  counted: number;
};

/**
 * How many of so many slots are kept. Arrivals cluster by about the square root of how many run (square-root staffing), and a slow transaction
 * makes clusters of its own: of 24 slots, 1 took the p95 of the others' wait from a whole effect to the next transaction, 3 also beside stalls.
 */
export const keptSlots = (cap: number): number => Math.floor((2 * Math.sqrt(cap)) / 3);

/** Sums of weights that were added and taken away are not exact: who holds as much as all others is not over its share. */
const ROUNDED = 1 + 1e-9;

export class FairQueue {
  readonly #flows = new Map<TenantId, Flow>();
  /** The ready by what they have spent and are held for: the order of dispatch. */
  readonly #ready = new Heap<Flow>();
  /** The ready by what they have spent: virtual time. */
  readonly #spent = new Heap<Flow>();
  /** The blocked by when to look again. */
  readonly #blocked = new Heap<Flow>();
  readonly #headOf: (tenant: TenantId, now: Instant) => Head;
  /** Tenants that wait and were not yet asked: the next of them, and the others. undefined: there are none, which has to be known (`#now`). */
  #unasked: readonly TenantId[] | undefined;
  readonly #others: Iterator<readonly TenantId[], undefined> | undefined;
  #virtual = 0;
  /** Of those that hold or want a slot: how many, their weights, and what they hold. */
  #active = 0;
  #weights = 0;
  #held = 0;

  constructor(headOf: (tenant: TenantId, now: Instant) => Head, unasked?: Iterator<readonly TenantId[], undefined>) {
    this.#headOf = headOf;
    this.#others = unasked;
    this.#unasked = unasked?.next().value;
  }

  /** Some have not been asked for their head yet: `askMore` is to be called, beside the dispatches. */
  get asking(): boolean {
    return this.#unasked !== undefined;
  }
  askMore(now: Instant): void {
    for (const tenant of this.#unasked ?? []) this.touch(tenant, now);
    if (this.asking) this.#unasked = this.#others?.next().value;
  }

  /** Looks the tenant's head up again: after its rows changed, or when its block is due. */
  touch(tenant: TenantId, now: Instant): void {
    const head = this.#headOf(tenant, now);
    const flow = this.#flow(tenant);
    if (isReady(head) && !isReady(flow.head)) flow.spent = Math.max(flow.spent, this.#now());
    flow.head = head;
    this.#place(flow);
    if (head === undefined && flow.held === 0 && flow.spent <= this.#now()) this.#flows.delete(tenant);
  }

  charge(tenant: TenantId, { held, spent }: Charge, weight: number): void {
    const flow = this.#flow(tenant);
    flow.held += held;
    this.#held += held;
    flow.spent += spent / weight;
    flow.weight = weight;
    this.#place(flow);
  }

  /**
   * The next row to dispatch, or when to ask again. The caller dispatches it, then charges and touches its tenant.
   * `kept`: only slots that are kept are free.
   */
  next(now: Instant, kept = false): { readonly tenant: TenantId; readonly item: ItemId } | { readonly wakeAt: Instant | undefined } {
    this.#unblock(now);
    while (this.asking && !this.#isFirst(this.#ready.peek())) this.askMore(now);
    const flow = this.#ready.peek();
    if (flow && isReady(flow.head) && !(kept && this.#isOver(flow))) return { tenant: flow.tenant, item: flow.head.item };
    const blocked = this.#blocked.peek();
    return { wakeAt: blocked && this.#blocked.rank(blocked) };
  }

  /** Whether the slots that are kept are not for this tenant. */
  isOver(tenant: TenantId): boolean {
    const flow = this.#flows.get(tenant);
    return flow !== undefined && this.#isOver(flow);
  }

  /**
   * Whether it holds more than its share by weight, and one request: shares are no whole numbers of requests, and where all hold theirs every
   * slot is to be used. One that is alone has its share as soon as it holds anything: somebody may come.
   */
  #isOver({ held, weight, head }: Flow): boolean {
    if (this.#active < 2) return held > 0;
    const one = isReady(head) ? head.cost : 0;
    return (held - one) * this.#weights > this.#held * weight * ROUNDED;
  }

  /** How many ready tenants stand before this one, and what blocks it. */
  explain(tenant: TenantId, now: Instant): { readonly ahead: number; readonly blocked: Blocked | undefined } {
    while (this.asking) this.askMore(now);
    const flow = this.#flows.get(tenant);
    if (!flow?.head) return { ahead: 0, blocked: undefined };
    return isBlocked(flow.head) ? { ahead: 0, blocked: flow.head } : { ahead: this.#ready.ahead(flow), blocked: undefined };
  }

  /** Whoever is asked later joins at V, and stands behind it. */
  #isFirst(flow: Flow | undefined): boolean {
    return flow !== undefined && (this.#ready.rank(flow) as number) <= this.#now();
  }

  #flow(tenant: TenantId): Flow {
    let flow = this.#flows.get(tenant);
    if (!flow) {
      flow = { tenant, spent: this.#now(), held: 0, weight: 1, head: undefined, counted: 0 };
      this.#flows.set(tenant, flow);
    }
    return flow;
  }

  #now(): number {
    // Who was not asked yet stands at V as it is.
    if (this.asking) return this.#virtual;
    const least = this.#spent.peek();
    if (least) this.#virtual = Math.max(this.#virtual, this.#spent.rank(least) as number);
    return this.#virtual;
  }

  #count(flow: Flow): void {
    const counted = flow.held > 0 || isReady(flow.head) ? flow.weight : 0;
    this.#active += Number(counted > 0) - Number(flow.counted > 0);
    this.#weights += counted - flow.counted;
    flow.counted = counted;
  }

  #place(flow: Flow): void {
    this.#now();
    this.#count(flow);
    const { head } = flow;
    if (isReady(head)) {
      this.#ready.set(flow, flow.spent + flow.held / flow.weight);
      this.#spent.set(flow, flow.spent);
    } else {
      this.#ready.delete(flow);
      this.#spent.delete(flow);
    }
    if (head && isBlocked(head) && head.until !== undefined) this.#blocked.set(flow, head.until);
    else this.#blocked.delete(flow);
  }

  #unblock(now: Instant): void {
    for (let due = this.#blocked.peek(); due && (this.#blocked.rank(due) as number) <= now; due = this.#blocked.peek()) {
      this.#blocked.delete(due);
      this.touch(due.tenant, now);
    }
  }
}

function isReady(head: Head): head is Ready & { readonly item: ItemId } {
  return head !== undefined && !isBlocked(head);
}
