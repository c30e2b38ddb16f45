/** A rate counter of the gateway's own: cheap and first. The task decides exactly; this keeps a flood off the log. */
import type { TenantId } from '#schemas/ids.ts';

export type Rate = { readonly requestsPerSecond: number; readonly burst: number };
export type Verdict = { readonly conforms: true; readonly tat: number } | { readonly conforms: false; readonly retryAfterMs: number };

/** GCRA (ITU-T I.371): `tat` is the theoretical arrival time, ms with fractions. */
export function gcra(tat: number, now: number, { requestsPerSecond, burst }: Rate): Verdict {
  const interval = 1_000 / requestsPerSecond;
  const earliest = Math.max(tat, now) - (burst - 1) * interval;
  if (earliest > now) return { conforms: false, retryAfterMs: earliest - now };
  return { conforms: true, tat: Math.max(tat, now) + interval };
}

const MOST_TENANTS = 100_000;

export class RateCounter {
  readonly #tats = new Map<TenantId, number>();

  /** undefined: let it pass. */
  take(tenant: TenantId, rate: Rate, now: number): { readonly retryAfterMs: number } | undefined {
    const verdict = gcra(this.#tats.get(tenant) ?? 0, now, rate);
    if (!verdict.conforms) return verdict;
    if (this.#tats.size >= MOST_TENANTS) for (const [other, tat] of this.#tats) if (tat < now) this.#tats.delete(other);
    this.#tats.set(tenant, verdict.tat);
    return undefined;
  }
}
