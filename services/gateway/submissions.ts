/**
 * Requests that were answered `submitted`, until the history says what became of them: the log has their records, and no row has them yet.
 * And what the task said of those that it refused, for a refused request has no row ever. Of this gateway alone, bounded by number and age.
 */
import type { EventOf } from '#schemas/events.ts';
import type { Instant, Offset, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import type { Happened } from './lifecycle.ts';
import { Problem } from './problems.ts';

/** `at`: by this process's clock, ms. `acknowledged`: until its record is; another that sends the same waits for it too. */
export type Undecided = {
  readonly person: PersonId;
  readonly fingerprint: number;
  readonly at: number;
  acknowledged: Promise<unknown> | undefined;
  decided: boolean;
};
/** `at`: when the task refused it, by the broker's clock. `until`: kept so long, by this process's. */
export type Refused = { readonly event: EventOf<'request_refused'>; readonly offset: Offset; readonly at: Instant; readonly until: number };
type OfTenant = { readonly undecided: Map<RequestId, Undecided>; readonly refused: Map<RequestId, Refused> };

export type Bounds = typeof BOUNDS;
/** About 400 bytes each. One tenant has a quarter at most: its flood must not take what others need. */
const BOUNDS = {
  undecided: 400_000,
  undecidedOfTenant: 100_000,
  /** A record that became a dead letter is never decided. */
  undecidedMs: 3_600_000,
  refused: 50_000,
  refusedOfTenant: 1_000,
  refusedMs: 600_000,
};

export class Submissions {
  /** Whose refusals are the oldest comes first. */
  readonly #tenants = new Map<TenantId, OfTenant>();
  readonly #bounds: Bounds;
  readonly #now: () => number;
  #undecided = 0;
  #refused = 0;

  constructor(now: () => number = Date.now, bounds: Partial<Bounds> = {}) {
    this.#now = now;
    this.#bounds = { ...BOUNDS, ...bounds };
  }

  /** Of a tenant, or of all. */
  undecided(tenant?: TenantId): number {
    return tenant === undefined ? this.#undecided : (this.#tenants.get(tenant)?.undecided.size ?? 0);
  }

  /** @throws Problem `overloaded` when as many as may are undecided: who is told `submitted` can ask what became of it */
  checkRoom(tenant: TenantId): void {
    const { undecidedOfTenant, undecided: most } = this.#bounds;
    if (this.#undecided < most && this.undecided(tenant) < undecidedOfTenant) return;
    for (const { undecided } of this.#tenants.values()) this.#expire(undecided);
    const own = this.undecided(tenant) >= undecidedOfTenant;
    if (!own && this.#undecided < most) return;
    const [limit, observed] = own ? [undecidedOfTenant, this.undecided(tenant)] : [most, this.#undecided];
    const words = `${observed} requests${own ? ` of ${tenant}` : ''} were submitted and are not decided yet, and ${limit} may; try again when some are`;
    throw new Problem('overloaded', words, { limit, observed });
  }

  /** Before its record is sent: the verdict may be here before the acknowledgement. */
  add(tenant: TenantId, id: RequestId, person: PersonId, fingerprint: number): Undecided {
    const { undecided } = this.#of(tenant);
    const at = this.#now();
    const added: Undecided = { person, fingerprint, at, acknowledged: undefined, decided: false };
    const before = undecided.size;
    undecided.set(id, added);
    this.#undecided += undecided.size - before;
    return added;
  }

  /** It may not be in the log: nobody was told that it is. */
  drop(tenant: TenantId, id: RequestId): void {
    if (this.#tenants.get(tenant)?.undecided.delete(id)) this.#undecided--;
  }

  /** undefined: decided, forgotten or never seen here. */
  find(tenant: TenantId, id: RequestId): Undecided | undefined {
    const found = this.#tenants.get(tenant)?.undecided.get(id);
    return found && found.at + this.#bounds.undecidedMs > this.#now() ? found : undefined;
  }

  /** undefined: it was not refused, or long ago. */
  refusal(tenant: TenantId, id: RequestId): Refused | undefined {
    const found = this.#tenants.get(tenant)?.refused.get(id);
    return found && found.until > this.#now() ? found : undefined;
  }

  /** Whatever gateway took the request. */
  happened({ event, offset, at }: Happened): void {
    if (event.type === 'request_queued') {
      const of = this.#tenants.get(event.tenant);
      this.#decide(event.tenant, event.request);
      if (of?.refused.delete(event.request)) this.#refused--;
    } else if (event.type === 'request_refused') {
      this.#decide(event.tenant, event.request);
      this.#keep({ event, offset, at, until: this.#now() + this.#bounds.refusedMs });
    }
  }

  #decide(tenant: TenantId, id: RequestId): void {
    const undecided = this.#tenants.get(tenant)?.undecided.get(id);
    if (!undecided) return;
    undecided.decided = true;
    this.drop(tenant, id);
  }

  #of(tenant: TenantId): OfTenant {
    const of = this.#tenants.get(tenant) ?? { undecided: new Map(), refused: new Map() };
    this.#tenants.set(tenant, of);
    return of;
  }

  /** The oldest stand first. */
  #expire(undecided: Map<RequestId, Undecided>): void {
    const now = this.#now();
    for (const [id, { at }] of undecided) {
      if (at + this.#bounds.undecidedMs > now) return;
      undecided.delete(id);
      this.#undecided--;
    }
  }

  #keep(refused: Refused): void {
    const { tenant, request } = refused.event;
    const of = this.#of(tenant);
    if (of.refused.delete(request)) this.#refused--;
    of.refused.set(request, refused);
    this.#refused++;
    this.#tenants.delete(tenant);
    this.#tenants.set(tenant, of);
    if (of.refused.size > this.#bounds.refusedOfTenant) this.#forgetOldest(of);
    for (const [other, each] of this.#tenants) {
      if (this.#refused <= this.#bounds.refused) break;
      while (each.refused.size > 0 && this.#refused > this.#bounds.refused) this.#forgetOldest(each);
      if (each.undecided.size === 0 && each.refused.size === 0) this.#tenants.delete(other);
    }
  }

  #forgetOldest({ refused }: OfTenant): void {
    const oldest = refused.keys().next().value;
    if (oldest !== undefined && refused.delete(oldest)) this.#refused--;
  }
}
