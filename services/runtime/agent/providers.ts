/**
 * What stands between the agent and a provider: a breaker and a bulkhead for each credential and model, so that a tenant's bad key closes
 * that tenant's way alone. On a credential that tenants share each has a breaker of its own too, and the shared one counts a failure only
 * where another tenant's came shortly before: questions that break a provider close their own tenant's way, an outage everyone's.
 * Of effects, never of `decide`: they shape what is tried, the journal records what was.
 */
import {
  BrokenCircuitError,
  type BulkheadPolicy,
  BulkheadRejectedError,
  bulkhead,
  type CircuitBreakerPolicy,
  CircuitState,
  CountBreaker,
  circuitBreaker,
  handleWhen,
} from 'cockatiel';
import type { Trouble } from '#schemas/events.ts';
import type { TenantId } from '#schemas/ids.ts';
import { failureOf, ProviderFailed, timedOut } from './provider-failure.ts';

/** Open when half of the last twenty calls failed, and at least five were made. */
const BREAKER = { threshold: 0.5, size: 20, minimumNumberOfCalls: 5 };
/** Of a provider's Retry-After: what it asks for beyond is not believed. */
const LONGEST_WAIT_MS = 60_000;
/** A trial call is on its way, and says soon how things stand. */
const TRIAL_MS = 1_000;
/** Of the calls at once that a shared credential may make, one tenant has at most this part. */
const MOST_OF_SHARED = 0.5;
/** Another tenant's failure is of the same outage within this time. */
const OTHERS_MS = 60_000;
const MOST_FAILED = 100;
/** Breakers that are kept; one that is let go is closed. */
const MOST_GATES = 2_000;

export type Credential = { readonly id: string; readonly shared: boolean };
export type Obstacle = { readonly trouble: Trouble; readonly retryAfterMs: number };
export type ProvidersConfig = { readonly concurrency: number; readonly timeoutMs: number; readonly breakerMs: number };
export type BreakerState = { readonly credential: string; readonly model: string; readonly open: boolean };

/** A breaker and how it stands, and the calls that may pass at once. */
type Gate = { readonly of: string; readonly model: string; readonly breaker: CircuitBreakerPolicy; readonly bulkhead: BulkheadPolicy; openUntil: number };
/** Of one credential and model. */
type Way = { readonly gate: Gate; readonly failed: Map<TenantId, number>; waitUntil: number };
type Of = { readonly tenant: TenantId; readonly credential: Credential; readonly model: string };

export class Providers {
  readonly #config: ProvidersConfig;
  readonly #ways = new Map<string, Way>();
  /** Of tenants on a shared credential. */
  readonly #gates = new Map<string, Gate>();

  constructor(config: ProvidersConfig) {
    this.#config = config;
  }

  /** What a call would meet now; asked before its step starts. */
  obstacle({ tenant, credential, model }: Of): Obstacle | undefined {
    const now = Date.now();
    const way = this.#ways.get(`${credential.id} ${model}`);
    for (const gate of [way?.gate, this.#gates.get(`${tenant} ${credential.id} ${model}`)]) {
      if (gate?.breaker.state === CircuitState.HalfOpen) return { trouble: 'breaker_open', retryAfterMs: TRIAL_MS };
      if (gate?.breaker.state === CircuitState.Open && gate.openUntil > now) return { trouble: 'breaker_open', retryAfterMs: gate.openUntil - now };
    }
    return way && way.waitUntil > now ? { trouble: 'provider_busy', retryAfterMs: way.waitUntil - now } : undefined;
  }

  /** One call within `withinMs`. @throws ProviderFailed; `signal`'s own reason when the turn is over */
  async call<T>(of: Of, withinMs: number, signal: AbortSignal, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const way = this.#way(of);
    const { timeoutMs } = this.#config;
    const limit = AbortSignal.timeout(Math.max(1, Math.floor(Math.min(withinMs, timeoutMs))));
    const timed = () =>
      call(AbortSignal.any([signal, limit])).catch((error: unknown) => {
        if (signal.aborted) throw error;
        throw limit.aborted ? timedOut(withinMs >= timeoutMs, error) : failureOf(error);
      });
    try {
      return await this.#guarded(of, way, timed);
    } catch (error) {
      if (signal.aborted) throw error;
      throw refused(error, way);
    }
  }

  states(): readonly BreakerState[] {
    const gates = [...[...this.#ways.values()].map(({ gate }) => gate), ...this.#gates.values()];
    return gates.map(({ of, model, breaker }) => ({ credential: of, model, open: breaker.state !== CircuitState.Closed }));
  }

  /** The tenant's own gate, where it shares the credential; then the credential's. */
  #guarded<T>(of: Of, way: Way, call: () => Promise<T>): Promise<T> {
    const { tenant, credential } = of;
    const counted = () =>
      call().catch((error: unknown) => {
        if (!isCounted(error, credential)) throw error;
        const others = !credential.shared || [...way.failed].some(([other, at]) => other !== tenant && Date.now() - at < OTHERS_MS);
        remember(way.failed, tenant, Date.now(), MOST_FAILED);
        throw others ? new Shared(error) : error;
      });
    const inner = () => pass(way.gate, counted);
    return credential.shared ? pass(this.#gate(of), inner) : inner();
  }

  #way({ credential, model }: Of): Way {
    const key = `${credential.id} ${model}`;
    const made = (): Way => {
      const gate = this.#newGate(credential.id, model, this.#config.concurrency, (error) => error instanceof Shared);
      return { gate, failed: new Map(), waitUntil: 0 };
    };
    const way = this.#ways.get(key) ?? made();
    remember(this.#ways, key, way, MOST_GATES, ({ gate }) => gate.breaker.state === CircuitState.Closed);
    return way;
  }

  #gate({ tenant, credential, model }: Of): Gate {
    const key = `${tenant} ${credential.id} ${model}`;
    const share = Math.ceil(this.#config.concurrency * MOST_OF_SHARED);
    const counts = (error: unknown) => isCounted(error instanceof Shared ? error.failed : error, credential);
    const made = () => this.#newGate(`${credential.id} for ${tenant}`, model, share, counts);
    const gate = this.#gates.get(key) ?? made();
    remember(this.#gates, key, gate, MOST_GATES, ({ breaker }) => breaker.state === CircuitState.Closed);
    return gate;
  }

  #newGate(of: string, model: string, concurrency: number, counts: (error: unknown) => boolean): Gate {
    const { breakerMs } = this.#config;
    const breaker = circuitBreaker(handleWhen(counts), { halfOpenAfter: breakerMs, breaker: new CountBreaker(BREAKER) });
    const gate: Gate = { of, model, breaker, bulkhead: bulkhead(concurrency, 0), openUntil: 0 };
    breaker.onBreak(() => {
      gate.openUntil = Date.now() + breakerMs;
    });
    return gate;
  }
}

const pass = <T>({ bulkhead, breaker }: Gate, call: () => Promise<T>): Promise<T> => bulkhead.execute(() => breaker.execute(call));

/** A failure that counts toward what others share. */
class Shared extends Error {
  readonly failed: unknown;
  constructor(failed: unknown) {
    super('counted');
    this.failed = failed;
  }
}

function isCounted(error: unknown, { shared }: Credential): boolean {
  return error instanceof ProviderFailed && (error.counts === 'always' || (error.counts === 'own_key' && !shared));
}

/** The least lately used that may be let go makes room. */
function remember<K, V>(map: Map<K, V>, key: K, value: V, most: number, mayGo: (value: V) => boolean = () => true): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= most) return;
  const oldest = [...map].find(([, each]) => each !== value && mayGo(each));
  if (oldest) map.delete(oldest[0]);
}

function refused(error: unknown, way: Way): ProviderFailed {
  const nothing = { counts: 'never', spent: false, cause: error } as const;
  if (error instanceof BulkheadRejectedError) return new ProviderFailed('bulkhead_full', { ...nothing, trouble: 'provider_busy' });
  if (error instanceof BrokenCircuitError) return new ProviderFailed('breaker_open', { ...nothing, trouble: 'breaker_open' });
  const failed = failureOf(error instanceof Shared ? error.failed : error);
  if (failed.retryAfterMs !== undefined) way.waitUntil = Date.now() + Math.min(failed.retryAfterMs, LONGEST_WAIT_MS);
  return failed;
}
