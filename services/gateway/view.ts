/**
 * The gateway's picture of all tenants, a projection of the log: balances and counters are the account's own and so exact; rates and
 * percentiles come from the events seen, in bounded windows.
 */
import type { Event, EventOf } from '#schemas/events.ts';
import type { Instant, MicroUsd, RequestId, TenantId } from '#schemas/ids.ts';
import { balance, hardLimit, windowKeys } from '#streams/support/ledger.ts';
import type { Account } from '#streams/support/state.ts';
import type { Happened } from './lifecycle.ts';

export type TenantNumbers = {
  readonly tenant: TenantId;
  readonly suspended: boolean;
  readonly in_flight: number;
  readonly queued: number;
  readonly answered: number;
  readonly finished: number;
  readonly refused: number;
  readonly success_rate: number | null;
  readonly p95_ms: number | null;
  readonly cost_per_success_micro_usd: number | null;
  readonly burn_today_micro_usd: number;
  readonly held_micro_usd: number;
  readonly budget_day_micro_usd: number;
  readonly soft_percent: number;
  readonly spent_total_micro_usd: number;
  /** Micro-dollars in each of the last minutes, oldest first. */
  readonly burn: readonly number[];
  readonly policy_version: number;
  readonly offset: number;
};
export type Stage = { readonly stage: string; readonly at: Instant; readonly offset: number; readonly detail?: string };
export type Recent = { readonly request_id: RequestId; readonly stages: Stage[]; outcome: string | null; reason: string | null; cost_micro_usd: number };

const LATENCIES = 1_000;
const RECENT = 50;
const MINUTES = 30;
const MINUTE = 60_000;

class Desk {
  account: Account | undefined;
  offset = 0;
  readonly latencies: number[] = [];
  readonly burn = new Map<number, number>();
  readonly recent = new Map<RequestId, Recent>();
}

export class View {
  readonly #desks = new Map<TenantId, Desk>();
  now: Instant = 0;

  take({ event, offset, at }: Happened, account: Account): void {
    const desk = this.#desks.get(event.tenant) ?? new Desk();
    this.#desks.set(event.tenant, desk);
    desk.account = account;
    desk.offset = offset;
    this.now = Math.max(this.now, at);
    if (event.type === 'cost_recorded' || event.type === 'outside_cost_recorded') burn(desk, at, event.amount);
    if ('request' in event) remember(desk, event, at, offset);
  }

  /** A tenant that the log has told nothing new about since the start of this process. */
  seed(account: Account): void {
    const desk = this.#desks.get(account.tenant) ?? new Desk();
    desk.account = account;
    this.#desks.set(account.tenant, desk);
  }

  tenants(): readonly TenantId[] {
    return [...this.#desks.keys()].sort();
  }

  numbers(tenant: TenantId): TenantNumbers | undefined {
    const desk = this.#desks.get(tenant);
    return desk?.account?.created ? numbersOf(desk, desk.account, this.now) : undefined;
  }

  recent(tenant: TenantId): readonly Recent[] {
    return [...(this.#desks.get(tenant)?.recent.values() ?? [])].reverse();
  }
}

function numbersOf(desk: Desk, account: Account, now: Instant): TenantNumbers {
  const today = balance(account, 'day', windowKeys(now).day);
  const total = balance(account, 'total', 'total');
  const { answered, finished } = account;
  const minute = Math.floor(now / MINUTE);
  return {
    tenant: account.tenant,
    suspended: account.suspended,
    in_flight: account.running,
    queued: account.queued,
    answered,
    finished,
    refused: account.refused,
    success_rate: finished === 0 ? null : answered / finished,
    p95_ms: percentile(desk.latencies, 0.95),
    cost_per_success_micro_usd: answered === 0 ? null : Math.round(total.settled / answered),
    burn_today_micro_usd: today.settled,
    held_micro_usd: today.held,
    budget_day_micro_usd: hardLimit(account, today),
    soft_percent: account.policy.softPercent,
    spent_total_micro_usd: total.settled,
    burn: Array.from({ length: MINUTES }, (_, at) => desk.burn.get(minute - MINUTES + 1 + at) ?? 0),
    policy_version: account.policyVersion,
    offset: desk.offset,
  };
}

function percentile(values: readonly number[], p: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)] ?? null;
}

function burn(desk: Desk, at: Instant, amount: MicroUsd): void {
  const minute = Math.floor(at / MINUTE);
  desk.burn.set(minute, (desk.burn.get(minute) ?? 0) + amount);
  for (const old of desk.burn.keys()) if (old < minute - MINUTES) desk.burn.delete(old);
}

const STAGES: Partial<Record<Event['type'], string>> = {
  request_queued: 'queued',
  request_refused: 'refused',
  request_conflicted: 'conflict',
  hold_placed: 'running',
  step_started: 'step',
  step_finished: 'step_done',
  step_refused: 'step_refused',
  request_finished: 'finished',
};

/** undefined: no stage that a client sees. */
export function stageOf(event: Event): string | undefined {
  return STAGES[event.type];
}

function remember(desk: Desk, event: Extract<Event, { readonly request: RequestId }>, at: Instant, offset: number): void {
  const stage = stageOf(event);
  if (stage === undefined) return;
  const found = desk.recent.get(event.request) ?? { request_id: event.request, stages: [], outcome: null, reason: null, cost_micro_usd: 0 };
  desk.recent.set(event.request, found);
  found.stages.push({ stage, at, offset, ...('step' in event ? { detail: event.step } : {}) });
  if (event.type === 'request_finished') finish(desk, found, event);
  if (event.type === 'request_refused') found.outcome = 'refused';
  for (const old of desk.recent.keys()) {
    if (desk.recent.size <= RECENT) break;
    desk.recent.delete(old);
  }
}

function finish(desk: Desk, found: Recent, event: EventOf<'request_finished'>): void {
  found.outcome = event.outcome;
  found.reason = event.reason;
  found.cost_micro_usd = event.cost;
  desk.latencies.push(event.queuedMs + event.ranMs);
  if (desk.latencies.length > LATENCIES) desk.latencies.shift();
}
