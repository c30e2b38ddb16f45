/**
 * The gateway's picture of all tenants, a projection of the log: balances and counters are the account's own and so exact, at once after a
 * restart; percentiles, burn by the minute and the last requests come from bounded windows of events, and after a restart from the marks.
 */
import { type AlertName, type Event, WINDOWS } from '#schemas/events.ts';
import type { Instant, RequestId, TenantId } from '#schemas/ids.ts';
import type { BudgetNumbers, TenantNumbers } from '#schemas/tenant-page.ts';
import { raised } from '#streams/support/alerts.ts';
import type { Rows } from '#streams/support/evolve.ts';
import { balance, hardLimit, keyOf, standing, windowKeys } from '#streams/support/ledger.ts';
import type { Account, Mark } from '#streams/support/state.ts';
import type { Happened } from './lifecycle.ts';

/** `offset` is unknown for what a mark tells after a restart. */
export type Stage = {
  readonly stage: string;
  readonly at: Instant;
  readonly offset: number | null;
  readonly step?: string;
  readonly outcome?: string | null;
  readonly reason?: string | null;
};
export type Recent = {
  readonly request_id: RequestId;
  readonly stages: Stage[];
  outcome: string | null;
  reason: string | null;
  degraded: string | null;
  cost_micro_usd: number;
};

const LATENCIES = 1_000;
/** Tenants of which more than the account is kept: those that were active last, at most about 50 KB each. */
const DETAILED = 1_000;
const RECENT = 50;
const RECENT_AT_DOOR = 10;
const STAGES = 64;
const MINUTES = 60;
const MINUTE = 60_000;

class Desk {
  account: Account | undefined;
  offset = 0;
  touched: Instant = 0;
  /** The last ones, the oldest overwritten first. */
  readonly #latencies: number[] = [];
  #taken = 0;
  #p95: number | null | undefined;
  readonly burn = new Map<number, number>();
  readonly recent = new Map<RequestId, Recent>();

  took(ms: number): void {
    this.#latencies[this.#taken++ % LATENCIES] = ms;
    this.#p95 = undefined;
  }
  /** Sorted only when it is asked for and something has changed. */
  get p95(): number | null {
    this.#p95 ??= percentile(this.#latencies, 0.95);
    return this.#p95;
  }
  spent(at: Instant, amount: number): void {
    const minute = Math.floor(at / MINUTE);
    const before = this.burn.get(minute);
    this.burn.set(minute, (before ?? 0) + amount);
    if (before === undefined) for (const old of this.burn.keys()) if (old < minute - MINUTES) this.burn.delete(old);
  }
  /** All that is not the account. */
  clear(): void {
    this.#latencies.length = 0;
    this.#taken = 0;
    this.#p95 = undefined;
    this.burn.clear();
    this.recent.clear();
  }
  request(id: RequestId): Recent {
    const found = this.recent.get(id) ?? { request_id: id, stages: [], outcome: null, reason: null, degraded: null, cost_micro_usd: 0 };
    this.recent.set(id, found);
    if (this.recent.size > RECENT) this.#letGo();
    return found;
  }
  /** A flood at the door must not push out what runs and what has ended. */
  #letGo(): void {
    let [atDoor, oldest]: [number, RequestId | undefined] = [0, undefined];
    for (const { request_id, stages } of this.recent.values()) {
      if (stages.length > 1 && stages.at(-1)?.stage !== 'refused') continue;
      oldest ??= request_id;
      atDoor++;
    }
    if (atDoor <= RECENT_AT_DOOR) oldest = this.recent.keys().next().value;
    if (oldest) this.recent.delete(oldest);
  }
}

export class View {
  readonly #desks = new Map<TenantId, Desk>();
  /** The desks that hold more than an account, the longest quiet first. */
  readonly #detailed = new Set<Desk>();
  /** The last of them. */
  #latest: Desk | undefined;
  readonly #clock: () => Instant;
  readonly #most: number;
  #logged: Instant = 0;

  constructor(clock: () => Instant = Date.now, most = DETAILED) {
    this.#clock = clock;
    this.#most = most;
  }

  take(happened: Happened, { account, mark }: Pick<Rows, 'account' | 'mark'>): void {
    const { event, offset, at } = happened;
    const desk = this.#desk(event.tenant);
    desk.account = account;
    desk.offset = offset;
    desk.touched = at;
    this.#detail(desk);
    this.#logged = Math.max(this.#logged, at);
    if (event.type === 'cost_recorded') desk.spent(at, event.amount);
    if (event.type === 'outside_cost_recorded') desk.spent(event.incurredAt ?? at, event.amount);
    remember(desk, happened, mark);
  }

  /** What rows still tell of a tenant after a restart. Costs stand at their request's end. A tenant with news since is left as it is. */
  recall(account: Account, marks: readonly Mark[]): void {
    const desk = this.#desk(account.tenant);
    if (desk.account) return;
    desk.account = account;
    this.#detail(desk);
    const requests = marks.filter((mark) => mark.kind === 'request').sort((a, b) => lastOf(a) - lastOf(b));
    for (const mark of requests) {
      desk.touched = lastOf(mark);
      if (mark.finishedAt === null) continue;
      desk.took(mark.finishedAt - mark.queuedAt);
      if (mark.cost > 0) desk.spent(mark.finishedAt, mark.cost);
    }
    for (const mark of requests.slice(-RECENT)) {
      const recent = desk.request(mark.id as RequestId);
      recent.stages.push(...stagesOfMark(mark));
      [recent.outcome, recent.reason, recent.degraded, recent.cost_micro_usd] = [mark.outcome, mark.reason, mark.degraded?.mode ?? null, mark.cost];
    }
  }

  tenants(): readonly TenantId[] {
    return [...this.#desks.keys()].sort();
  }

  /** The `most` tenants that were active last. */
  liveliest(most: number): readonly TenantId[] {
    if (this.#desks.size <= most) return this.tenants();
    return [...this.#desks]
      .sort(([, a], [, b]) => b.touched - a.touched)
      .slice(0, most)
      .map(([tenant]) => tenant);
  }

  account(tenant: TenantId): Account | undefined {
    return this.#desks.get(tenant)?.account;
  }

  /** Of the tenant's newest event that was folded here; undefined until one was, after a restart. */
  offset(tenant: TenantId): number | undefined {
    return this.#desks.get(tenant)?.offset || undefined;
  }

  numbers(tenant: TenantId): TenantNumbers | undefined {
    const desk = this.#desks.get(tenant);
    return desk?.account?.created ? numbersOf(desk, desk.account, this.now) : undefined;
  }

  alerts(tenant: TenantId): readonly AlertName[] {
    const account = this.account(tenant);
    return account ? raised(account, this.now) : [];
  }

  /** Newest first. */
  recent(tenant: TenantId): readonly Recent[] {
    return [...(this.#desks.get(tenant)?.recent.values() ?? [])].reverse();
  }

  /** undefined unless all of them are known. */
  stages(tenant: TenantId, request: RequestId): readonly Stage[] | undefined {
    const stages = this.#desks.get(tenant)?.recent.get(request)?.stages;
    return stages?.[0]?.stage === 'queued' && stages.length < STAGES ? stages : undefined;
  }

  /** A quiet night must not keep yesterday's burn on the page: here, and only here, the process's own clock is asked too. */
  get now(): Instant {
    return Math.max(this.#logged, this.#clock());
  }

  #detail(desk: Desk): void {
    if (desk === this.#latest) return;
    this.#latest = desk;
    this.#detailed.delete(desk);
    this.#detailed.add(desk);
    if (this.#detailed.size <= this.#most) return;
    const [quietest] = this.#detailed;
    if (!quietest) return;
    this.#detailed.delete(quietest);
    quietest.clear();
  }

  #desk(tenant: TenantId): Desk {
    const desk = this.#desks.get(tenant) ?? new Desk();
    this.#desks.set(tenant, desk);
    return desk;
  }
}

const lastOf = ({ finishedAt, startedAt, queuedAt }: Mark): Instant => finishedAt ?? startedAt ?? queuedAt;

export function budgetsOf(account: Account, now: Instant): readonly BudgetNumbers[] {
  return WINDOWS.map((window) => {
    const found = balance(account, window, keyOf(window, windowKeys(now)));
    const { key, settled, held, granted, settledTokens, heldTokens, grantedTokens } = found;
    return {
      window,
      key,
      settled_micro_usd: settled,
      held_micro_usd: held,
      granted_micro_usd: granted,
      limit_micro_usd: hardLimit(account, found),
      settled_tokens: settledTokens,
      held_tokens: heldTokens,
      granted_tokens: grantedTokens,
      limit_tokens: standing(account, found, 'tokens').hard,
    };
  });
}

function numbersOf(desk: Desk, account: Account, now: Instant): TenantNumbers {
  const today = balance(account, 'day', windowKeys(now).day);
  const total = balance(account, 'total', 'total');
  const { answered, finished, policy } = account;
  const minute = Math.floor(now / MINUTE);
  return {
    tenant: account.tenant,
    suspended: account.suspended,
    in_flight: account.running,
    most_in_flight: policy.maxInFlight,
    queued: account.queued,
    answered,
    finished,
    refused: account.refused,
    success_rate: finished === 0 ? null : answered / finished,
    p95_ms: desk.p95,
    cost_per_success_micro_usd: answered === 0 ? null : Math.round(total.settled / answered),
    burn_today_micro_usd: today.settled,
    held_micro_usd: today.held,
    budget_day_micro_usd: hardLimit(account, today),
    soft_percent: policy.softPercent,
    spent_total_micro_usd: total.settled,
    burn: Array.from({ length: MINUTES }, (_, at) => desk.burn.get(minute - MINUTES + 1 + at) ?? 0),
    alerts: raised(account, now),
    policy_version: account.policyVersion,
    offset: desk.offset,
  };
}

function percentile(values: readonly number[], p: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)] ?? null;
}

const NAMES: Partial<Record<Event['type'], string>> = {
  request_queued: 'queued',
  request_refused: 'refused',
  request_conflicted: 'conflict',
  hold_placed: 'running',
  step_started: 'step',
  step_finished: 'step_done',
  step_failed: 'step_failed',
  step_refused: 'step_refused',
  request_finished: 'finished',
};

/** undefined: no stage that a client sees. */
export function stageOf({ event, at, offset }: Happened): Stage | undefined {
  const stage = NAMES[event.type];
  if (stage === undefined) return undefined;
  if (event.type === 'request_finished') return { stage, at, offset, outcome: event.outcome, reason: event.reason };
  return 'step' in event ? { stage, at, offset, step: event.step } : { stage, at, offset };
}

export function stagesOfMark(mark: Mark | undefined): readonly Stage[] {
  if (!mark) return [];
  const { queuedAt, startedAt, finishedAt, outcome, reason } = mark;
  return [
    { stage: 'queued', at: queuedAt, offset: null },
    ...(startedAt === null ? [] : [{ stage: 'running', at: startedAt, offset: null }]),
    ...(finishedAt === null ? [] : [{ stage: 'finished', at: finishedAt, offset: null, outcome, reason }]),
  ];
}

function remember(desk: Desk, happened: Happened, mark: Mark | undefined): void {
  const { event } = happened;
  const stage = stageOf(happened);
  if (!stage || !('request' in event)) return;
  if (event.type === 'request_finished') desk.took(event.queuedMs + event.ranMs);
  const begins = event.type === 'request_queued' || event.type === 'request_refused';
  const turns = event.type === 'hold_placed' || event.type === 'request_finished';
  const known = desk.recent.get(event.request);
  // One that has left the list comes back when it runs or ends, with what its mark tells; not with half of its life.
  if (!known && !begins && !turns) return;
  if (turns) desk.recent.delete(event.request);
  if (known && turns) desk.recent.set(event.request, known);
  const found = desk.request(event.request);
  if (!known && turns) found.stages.push(...stagesOfMark(mark));
  else if (found.stages.length < STAGES) found.stages.push(stage);
  if (event.type === 'request_refused') [found.outcome, found.reason] = ['refused', event.code];
  if (event.type === 'hold_placed') found.degraded = event.degraded?.mode ?? null;
  if (event.type !== 'request_finished') return;
  [found.outcome, found.reason, found.degraded, found.cost_micro_usd] = [event.outcome, event.reason, event.degraded?.mode ?? null, event.cost];
}
