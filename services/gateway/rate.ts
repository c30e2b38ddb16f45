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

/** What a tenant may still send. `remaining` requests at once; its whole burst again after `fullAfterMs`. */
export type Allowance = Rate & { readonly remaining: number; readonly fullAfterMs: number; readonly retryAfterMs: number | undefined };

function allowanceOf(tat: number, now: number, { requestsPerSecond, burst }: Rate, retryAfterMs: number | undefined): Allowance {
  const fullAfterMs = Math.max(0, tat - now);
  const remaining = Math.max(0, Math.floor(burst - (fullAfterMs * requestsPerSecond) / 1_000));
  return { requestsPerSecond, burst, remaining, fullAfterMs, retryAfterMs };
}

export class RateCounter {
  readonly #tats = new Map<TenantId, number>();

  /** With `retryAfterMs` it is refused, and nothing was taken. */
  take(tenant: TenantId, rate: Rate, now: number): Allowance {
    const tat = this.#tats.get(tenant) ?? 0;
    const verdict = gcra(tat, now, rate);
    if (!verdict.conforms) return allowanceOf(tat, now, rate, verdict.retryAfterMs);
    if (this.#tats.size >= MOST_TENANTS) for (const [other, tat] of this.#tats) if (tat < now) this.#tats.delete(other);
    this.#tats.set(tenant, verdict.tat);
    return allowanceOf(verdict.tat, now, rate, undefined);
  }
}
