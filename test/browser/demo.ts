/** Plausible traffic of a morning, for the README's picture: rows and events as the log would tell them, told to a real gateway. */
import { keyedDigest } from '#schemas/digest.ts';
import type { Event, Outcome, Reason } from '#schemas/events.ts';
import { hmacKey } from '#schemas/hmac.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { DEFAULT_POLICY } from '#schemas/policy.ts';
import type { Lifecycle } from '#services/gateway/lifecycle.ts';
import type { View } from '#services/gateway/view.ts';
import { evolve, type Rows } from '#streams/support/evolve.ts';
import { windowKeys } from '#streams/support/ledger.ts';
import { newAccount } from '#streams/support/state.ts';
import { random } from '../simulation/time.ts';

export type DemoDesk = {
  readonly tenant: string;
  /** Requests an hour, at most. */
  readonly requests: number;
  readonly budget: number;
  readonly runMs: number;
  readonly cost: number;
  /** Of a hundred: handed off, refused by a deadline. */
  readonly handed: number;
  readonly late: number;
  readonly waiting: number;
  readonly running: number;
  readonly inFlight: number;
  readonly suspended?: boolean;
  readonly refused?: number;
  /** Brings the day's burn to its budget. */
  readonly spent?: boolean;
};

export const DEMO: readonly DemoDesk[] = [
  { tenant: 'fastify', requests: 640, budget: 5, runMs: 310, cost: 3_900, handed: 2, late: 0.3, waiting: 2, running: 5, inFlight: 16 },
  { tenant: 'harbor-bank', requests: 380, budget: 12, runMs: 820, cost: 11_400, handed: 4, late: 0.2, waiting: 0, running: 6, inFlight: 24 },
  { tenant: 'lumen-energy', requests: 410, budget: 2.4, runMs: 540, cost: 8_100, handed: 5, late: 1, waiting: 9, running: 8, inFlight: 8, refused: 31 },
  { tenant: 'northwind-air', requests: 260, budget: 8, runMs: 460, cost: 6_900, handed: 3, late: 0.5, waiting: 1, running: 3, inFlight: 12 },
  { tenant: 'pino', requests: 190, budget: 2, runMs: 280, cost: 2_700, handed: 1, late: 0, waiting: 0, running: 1, inFlight: 8 },
  {
    tenant: 'saltmarsh-games',
    requests: 520,
    budget: 1,
    runMs: 390,
    cost: 3_840,
    handed: 9,
    late: 2,
    waiting: 23,
    running: 4,
    inFlight: 4,
    refused: 412,
    spent: true,
  },
  { tenant: 'undici', requests: 150, budget: 1, runMs: 350, cost: 3_300, handed: 2, late: 0, waiting: 0, running: 2, inFlight: 8 },
  { tenant: 'willow-clinic', requests: 90, budget: 3, runMs: 610, cost: 5_200, handed: 6, late: 0, waiting: 0, running: 0, inFlight: 6, suspended: true },
];

const HOUR = 3_600_000;
const NO_SECRET = hmacKey(Buffer.alloc(32));

const WORST = { worstCase: 9_000 as MicroUsd, worstTokens: 4_000, calls: 'model', priceVersion: 1 } as const;

export class Storyteller {
  readonly #view: View;
  readonly #lifecycle: Lifecycle;
  readonly #rows = new Map<string, Rows>();
  readonly #random: () => number;
  #offset = 1_000;
  #made = 0;

  constructor(view: View, lifecycle: Lifecycle, seed = 7) {
    this.#view = view;
    this.#lifecycle = lifecycle;
    this.#random = random(seed);
  }

  /** A morning of one desk, ending now. */
  tell(desk: DemoDesk, now: number): void {
    const tenant = desk.tenant as TenantId;
    const policy = { ...DEFAULT_POLICY, budgetDay: desk.budget * 1e6, maxInFlight: desk.inFlight, requestsPerSecond: 50, burst: 100 };
    this.event({ type: 'tenant_created', tenant, command: 'c', by: 'op', digest: '', policy }, now - 4 * HOUR);
    for (let at = 0; at < (desk.refused ?? 0); at++) this.refuse(tenant, now - HOUR * this.#random());
    const times = Array.from({ length: desk.requests }, () => now - 3_000 - HOUR * this.#random() ** 1.15);
    // Traffic comes in waves.
    const waves = times.filter((at) => this.#random() < 0.55 + 0.45 * Math.sin((now - at) / 260_000 + desk.requests));
    for (const at of waves.sort((a, b) => a - b)) this.life(desk, at);
    const rest = policy.budgetDay - (this.account(tenant).account.balances.find(({ window }) => window === 'day')?.settled ?? 0);
    const fact = { tokens: 0, kind: 'outside', reference: '', incurredAt: null } as const;
    if (desk.spent)
      this.event(
        { type: 'outside_cost_recorded', tenant, command: 'o', by: 'op', digest: '', ...windowKeys(now), ...fact, amount: rest as MicroUsd },
        now - 1.6e6,
      );
    for (let left = desk.running; left > 0; left--) this.begin(desk, now - 900 * this.#random(), true);
    for (let left = desk.waiting; left > 0; left--) this.begin(desk, now - 1_500 * this.#random(), false);
    if (desk.suspended) this.event({ type: 'tenant_suspended', tenant, command: 's', by: 'op', digest: '' }, now - 60_000);
  }

  /** One request from its beginning to its end. */
  life(desk: DemoDesk, at: number): void {
    const chance = this.#random() * 100;
    const slow = 0.55 + this.#random() ** 3 * 2.2;
    const ids = this.queue(desk, at);
    const waited = Math.round(4 + (desk.waiting + 1) * 14 * this.#random() ** 2);
    if (chance < desk.late) return this.finish(ids, at + 60_000, { outcome: 'refused', reason: 'deadline', ran: false, waited: 60_000, cost: 0, citations: 0 });
    const ran = Math.round(desk.runMs * slow);
    this.hold(ids, at + waited);
    const found = Math.round(ran * 0.12);
    this.step(ids, 'retrieve', at + waited + 4, found, 0);
    const cost = Math.round(desk.cost * (0.6 + 0.8 * this.#random()));
    this.step(ids, 'answer', at + waited + found + 8, ran - found - 14, cost);
    const handed = chance > 100 - desk.handed;
    const reason: Reason = handed ? (this.#random() < 0.6 ? 'missing_knowledge' : 'low_confidence') : 'answered';
    this.finish(ids, at + waited + ran, { outcome: handed ? 'handed_off' : 'answered', reason, ran: true, waited, cost, citations: handed ? 0 : 2 });
  }

  begin(desk: DemoDesk, at: number, runs: boolean): void {
    const ids = this.queue(desk, at);
    if (!runs) return;
    this.hold(ids, at + 12);
    this.event({ type: 'step_started', ...ids, step: 'answer', attempt: 1, kind: 'read', ...WORST }, at + 40);
  }

  queue({ tenant }: Pick<DemoDesk, 'tenant'>, at: number) {
    const number = this.#made++;
    const id = keyedDigest(NO_SECRET, tenant, String(number));
    const ids = { tenant: tenant as TenantId, request: `r_${id}` as RequestId, conversation: `c_${number}` as ConversationId };
    const rest = { person: 'p_ann' as PersonId, bodyDigest: '', source: 'http', arrival: number, deadline: at + 60_000, estimate: 20_000 as MicroUsd } as const;
    this.event({ type: 'request_queued', ...ids, ...rest }, at);
    return ids;
  }

  hold(ids: ReturnType<Storyteller['queue']>, at: number): void {
    this.event({ type: 'hold_placed', ...ids, ...windowKeys(at), amount: 20_000 as MicroUsd, tokens: 64_000, degraded: null }, at);
  }

  step(ids: ReturnType<Storyteller['queue']>, step: string, at: number, ms: number, cost: number): void {
    this.event({ type: 'step_started', ...ids, step, attempt: 1, kind: 'read', ...WORST }, at);
    const spent = { amount: cost as MicroUsd, inputTokens: 900, outputTokens: 200, model: 'offline', presumed: false, priceVersion: 1 };
    if (cost > 0) this.event({ type: 'cost_recorded', ...ids, ...windowKeys(at), step, attempt: 1, ...spent }, at + ms);
    this.event({ type: 'step_finished', ...ids, step, attempt: 1, digest: '' }, at + ms);
  }

  finish(
    ids: ReturnType<Storyteller['queue']>,
    at: number,
    end: {
      readonly outcome: Outcome;
      readonly reason: Reason;
      readonly ran: boolean;
      readonly waited: number;
      readonly cost: number;
      readonly citations: number;
    },
  ): void {
    const { outcome, reason, ran, waited, cost, citations } = end;
    const settled = { held: 20_000 as MicroUsd, heldTokens: 64_000, settledTokens: 1_100 };
    if (ran) this.event({ type: 'hold_settled', ...ids, ...windowKeys(at), ...settled, settled: cost as MicroUsd }, at);
    const queuedAt = this.#state(ids.tenant, ids.request, ids.conversation).mark?.queuedAt ?? at;
    this.event(
      {
        type: 'request_finished',
        ...ids,
        outcome,
        reason,
        degraded: null,
        cost: cost as MicroUsd,
        queuedMs: waited,
        ranMs: Math.max(0, at - queuedAt - waited),
        ran,
        citations,
        retryAfterMs: null,
      },
      at,
    );
  }

  refuse(tenant: TenantId, at: number): void {
    const ids = { tenant, request: `r_${this.#made++}` as RequestId, conversation: 'c' as ConversationId };
    this.event(
      {
        type: 'request_refused',
        ...ids,
        person: 'p_ann' as PersonId,
        source: 'http',
        code: 'rate_limited',
        limitName: 'requests_per_second',
        limit: 50,
        observed: 51,
        retryAfterMs: 20,
      },
      at,
    );
  }

  event(event: Event, at: number): void {
    const [request, conversation] = ['request' in event ? event.request : '', 'conversation' in event ? event.conversation : ''];
    const before = this.#state(event.tenant, request, conversation);
    const after = evolve(before, event, Math.round(at));
    this.#rows.set(event.tenant, { ...after, item: undefined, mark: undefined });
    if (request) this.#rows.set(`${event.tenant}/${request}`, after);
    const happened = { event, offset: this.#offset++, at: Math.round(at) };
    this.#view.take(happened, after);
    this.#lifecycle.happened(happened);
  }

  #state(tenant: TenantId, request: string, conversation: string): Rows {
    const account = this.#rows.get(tenant)?.account ?? newAccount(tenant);
    const own = this.#rows.get(`${tenant}/${request}`);
    return { account, item: conversation ? own?.item : undefined, mark: own?.mark };
  }

  account(tenant: TenantId): Rows {
    return this.#state(tenant, '', '');
  }
}
