/**
 * Invariant 12: retries are at most a tenth of the first calls, of the platform and of each tenant, at every moment since the process's
 * start: a token bucket that first calls fill and retries empty. A provider in trouble is not given more load than before.
 */
import type { TenantId } from '#schemas/ids.ts';

const CALLS_A_RETRY = 10;
/** Saved up at most: a long calm does not pay for a long storm. */
const MOST_SAVED = { platform: 1_000, tenant: 100 } as const;
/** One that is forgotten begins with nothing. */
const MOST_TENANTS = 10_000;

export class RetryBudget {
  /** In calls. */
  #platform = 0;
  readonly #tenants = new Map<TenantId, number>();

  /** A first call is made. */
  called(tenant: TenantId): void {
    this.#platform = Math.min(this.#platform + 1, MOST_SAVED.platform);
    const saved = Math.min((this.#tenants.get(tenant) ?? 0) + 1, MOST_SAVED.tenant);
    this.#tenants.delete(tenant);
    this.#tenants.set(tenant, saved);
    if (this.#tenants.size > MOST_TENANTS) this.#tenants.delete(this.#tenants.keys().next().value as TenantId);
  }

  /** Whether a call may be made a second time; it is paid for at once. */
  take(tenant: TenantId): boolean {
    const saved = this.#tenants.get(tenant) ?? 0;
    if (this.#platform < CALLS_A_RETRY || saved < CALLS_A_RETRY) return false;
    this.#platform -= CALLS_A_RETRY;
    this.#tenants.set(tenant, saved - CALLS_A_RETRY);
    return true;
  }
}
