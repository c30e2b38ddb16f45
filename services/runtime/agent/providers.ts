/**
 * What stands between the agent and a provider: a breaker and a bulkhead for each credential and model, so that a tenant's bad key closes
 * that tenant's way alone. Of effects, never of `decide`: they shape what is tried, the journal records what was.
 */
import {
  BrokenCircuitError,
  BulkheadRejectedError,
  bulkhead,
  type CircuitBreakerPolicy,
  CircuitState,
  CountBreaker,
  circuitBreaker,
  handleWhen,
  wrap,
} from 'cockatiel';
import type { Trouble } from '#schemas/events.ts';
import { failureOf, ProviderFailed, timedOut } from './provider-failure.ts';

/** Open when half of the last twenty calls failed, and at least five were made. */
const BREAKER = { threshold: 0.5, size: 20, minimumNumberOfCalls: 5 };
/** Of a provider's Retry-After: what it asks for beyond is not believed. */
const LONGEST_WAIT_MS = 60_000;
/** A trial call is on its way, and says soon how things stand. */
const TRIAL_MS = 1_000;
/** Ways that are kept; one that is let go is closed and unused. */
const MOST_WAYS = 2_000;

export type Credential = { readonly id: string; readonly shared: boolean };
export type Obstacle = { readonly trouble: Trouble; readonly retryAfterMs: number };
export type ProvidersConfig = { readonly concurrency: number; readonly timeoutMs: number; readonly breakerMs: number };
export type BreakerState = { readonly credential: string; readonly model: string; readonly open: boolean };

type Way = {
  readonly credential: string;
  readonly model: string;
  readonly breaker: CircuitBreakerPolicy;
  readonly run: <T>(call: () => Promise<T>) => Promise<T>;
  openUntil: number;
  waitUntil: number;
};

export class Providers {
  readonly #config: ProvidersConfig;
  readonly #ways = new Map<string, Way>();

  constructor(config: ProvidersConfig) {
    this.#config = config;
  }

  /** What a call would meet now; asked before its step starts. */
  obstacle(credential: Credential, model: string): Obstacle | undefined {
    const way = this.#ways.get(`${credential.id} ${model}`);
    if (!way) return undefined;
    const now = Date.now();
    if (way.breaker.state === CircuitState.HalfOpen) return { trouble: 'breaker_open', retryAfterMs: TRIAL_MS };
    if (way.breaker.state === CircuitState.Open && way.openUntil > now) return { trouble: 'breaker_open', retryAfterMs: way.openUntil - now };
    return way.waitUntil > now ? { trouble: 'provider_busy', retryAfterMs: way.waitUntil - now } : undefined;
  }

  /** One call within `withinMs`. @throws ProviderFailed; `signal`'s own reason when the turn is over */
  async call<T>(credential: Credential, model: string, withinMs: number, signal: AbortSignal, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const way = this.#way(credential, model);
    const { timeoutMs } = this.#config;
    const limit = AbortSignal.timeout(Math.max(1, Math.floor(Math.min(withinMs, timeoutMs))));
    try {
      return await way.run(() =>
        call(AbortSignal.any([signal, limit])).catch((error: unknown) => {
          if (signal.aborted) throw error;
          throw limit.aborted ? timedOut(withinMs >= timeoutMs, error) : failureOf(error);
        }),
      );
    } catch (error) {
      if (signal.aborted) throw error;
      throw refused(error, way);
    }
  }

  states(): readonly BreakerState[] {
    return [...this.#ways.values()].map(({ credential, model, breaker }) => ({ credential, model, open: breaker.state !== CircuitState.Closed }));
  }

  #way(credential: Credential, model: string): Way {
    const key = `${credential.id} ${model}`;
    const way = this.#ways.get(key) ?? this.#newWay(credential, model);
    this.#ways.delete(key);
    this.#ways.set(key, way);
    if (this.#ways.size > MOST_WAYS) {
      const idle = [...this.#ways].find(([, { breaker }]) => breaker.state === CircuitState.Closed);
      if (idle) this.#ways.delete(idle[0]);
    }
    return way;
  }

  #newWay({ id, shared }: Credential, model: string): Way {
    const { breakerMs, concurrency } = this.#config;
    const counted = (error: unknown) => error instanceof ProviderFailed && (error.counts === 'always' || (error.counts === 'own_key' && !shared));
    const breaker = circuitBreaker(handleWhen(counted), { halfOpenAfter: breakerMs, breaker: new CountBreaker(BREAKER) });
    const guarded = wrap(bulkhead(concurrency, 0), breaker);
    const way: Way = { credential: id, model, breaker, run: (call) => guarded.execute(call), openUntil: 0, waitUntil: 0 };
    breaker.onBreak(() => {
      way.openUntil = Date.now() + breakerMs;
    });
    return way;
  }
}

function refused(error: unknown, way: Way): ProviderFailed {
  const nothing = { counts: 'never', spent: false, cause: error } as const;
  if (error instanceof BulkheadRejectedError) return new ProviderFailed('bulkhead_full', { ...nothing, trouble: 'provider_busy' });
  if (error instanceof BrokenCircuitError) return new ProviderFailed('breaker_open', { ...nothing, trouble: 'breaker_open' });
  const failed = failureOf(error);
  if (failed.retryAfterMs !== undefined) way.waitUntil = Date.now() + Math.min(failed.retryAfterMs, LONGEST_WAIT_MS);
  return failed;
}
