/** A tenant's rows for given/when/then: events are folded as the engine does, each into the rows that it names. */
import type { Event } from '#schemas/events.ts';
import type { ConversationId, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { DEFAULT_POLICY, type Policy } from '#schemas/policy.ts';
import { decide } from '#streams/support/decide.ts';
import { evolve, type Rows } from '#streams/support/evolve.ts';
import type { Input } from '#streams/support/input.ts';
import { newAccount } from '#streams/support/state.ts';

export const TENANT = 'acme' as TenantId;
/** 2026-11-24T12:00Z: half of the day, and most of the month, has passed. */
export const NOON = 1_795_521_600_000;

/** One conversation and one request at a time. */
export class Desk {
  rows: Rows;
  now = NOON;
  #made = 0;

  constructor(policy: Partial<Policy> = {}) {
    this.rows = {
      account: { ...newAccount(TENANT), created: true, policy: { ...DEFAULT_POLICY, burst: 100_000, ...policy } },
      item: undefined,
      mark: undefined,
    };
  }

  take(input: Input): readonly Event[] {
    const events = decide(this.rows, input, this.now);
    for (const event of events) this.rows = evolve(this.rows, event, this.now);
    return events;
  }

  /** Queues a request and dispatches it. */
  start(deadlineMs = 60_000): readonly Event[] {
    const ids = { tenant: TENANT, item: 'c_1' as ConversationId, mark: `r_${++this.#made}` as RequestId };
    this.rows = { ...this.rows, item: undefined, mark: undefined };
    const from = { person: 'p_1' as PersonId, bodyDigest: '', source: 'http' as const, appended: this.now, deadlineMs, sealed: new Uint8Array() };
    this.take({ kind: 'request', ...ids, ...from });
    return this.take({ kind: 'dispatch', tenant: TENANT, item: ids.item });
  }
  get ids() {
    const arrival = this.rows.item?.turn?.arrival ?? -1;
    return { tenant: TENANT, item: 'c_1' as ConversationId, mark: `r_${this.#made}` as RequestId, arrival };
  }

  step(attempt: number, worstCase: number): readonly Event[] {
    const asked = { step: 'model-1', attempt, stepKind: 'read', calls: 'model', worstCase, worstTokens: 10, priceVersion: 1 } as const;
    return this.take({ kind: 'step_start', ...this.ids, ...asked } as Input);
  }
  result(attempt: number, cost: number): readonly Event[] {
    const said = { inputTokens: 1, outputTokens: 1, model: 'm', digest: '', sealed: new Uint8Array() };
    return this.take({ kind: 'step_finish', ...this.ids, step: 'model-1', attempt, cost, ...said } as Input);
  }
  fail(attempt: number, spent: boolean): readonly Event[] {
    return this.take({ kind: 'step_fail', ...this.ids, step: 'model-1', attempt, code: 'http_500', spent });
  }
  end(more: object = {}): readonly Event[] {
    const said = { outcome: 'answered', reason: 'answered', degraded: null, retryAfterMs: null, citations: 1, sealed: null, ...more };
    return this.take({ kind: 'finish', ...this.ids, ...said } as Input);
  }
  /** Money spent elsewhere: no hold stands in its way. */
  spend(amount: number): readonly Event[] {
    return this.command({ type: 'record_cost', amount, tokens: 0, kind: 'outside', reference: '', incurredAt: null });
  }
  command(command: object): readonly Event[] {
    const head = { tenantId: TENANT, commandId: `${++this.#made}`, by: 'op', role: 'operator' };
    this.rows = { ...this.rows, mark: undefined };
    return this.take({ kind: 'command', tenant: TENANT, mark: `k_${this.#made}`, command: { ...head, ...command } } as Input);
  }
}
