/** The gateway's metrics, by tenant; above a number of tenants the rest counts as `other`. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ErrorCode } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Happened } from './lifecycle.ts';
import { budgetsOf, type View } from './view.ts';

const MOST_TENANTS = 200;
const BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export type Measured = { readonly happened: (happened: Happened) => void; readonly refused: (tenant: TenantId, code: ErrorCode) => void };

export function measure(registry: Registry, view: View): Measured {
  const registers = [registry];
  const named = new Set<TenantId>();
  const label = (tenant: TenantId): string => {
    if (named.size < MOST_TENANTS) named.add(tenant);
    return named.has(tenant) ? tenant : 'other';
  };
  const finished = new Counter({ name: 'evenkeel_requests_finished_total', help: 'Requests ended', labelNames: ['tenant', 'outcome', 'reason'], registers });
  const degraded = new Counter({
    name: 'evenkeel_requests_degraded_total',
    help: 'Requests that ended below the full answer, by rung and by what stood in the way',
    labelNames: ['tenant', 'mode', 'detail'],
    registers,
  });
  const refused = new Counter({ name: 'evenkeel_requests_refused_total', help: 'Requests refused at the door', labelNames: ['tenant', 'code'], registers });
  const turned = new Counter({
    name: 'evenkeel_gateway_refusals_total',
    help: 'Requests that the gateway refused before the log',
    labelNames: ['tenant', 'code'],
    registers,
  });
  const cost = new Counter({ name: 'evenkeel_cost_micro_usd_total', help: 'Money spent, micro-dollars', labelNames: ['tenant'], registers });
  const seconds = new Histogram({ name: 'evenkeel_request_seconds', help: 'From queued to finished', labelNames: ['tenant'], buckets: BUCKETS, registers });
  gauges(registry, view, label);
  alertGauge(registry, view, label);
  return {
    happened({ event }) {
      const tenant = label(event.tenant);
      if (event.type === 'request_finished') {
        finished.inc({ tenant, outcome: event.outcome, reason: event.reason });
        if (event.degraded) degraded.inc({ tenant, mode: event.degraded.mode, detail: event.degraded.detail ?? event.degraded.reason });
        seconds.observe({ tenant }, (event.queuedMs + event.ranMs) / 1_000);
      } else if (event.type === 'request_refused') refused.inc({ tenant, code: event.code });
      // A correction takes money back, a counter cannot: the balances have it exactly.
      else if (event.type === 'cost_recorded' || event.type === 'outside_cost_recorded') cost.inc({ tenant }, Math.max(0, event.amount));
    },
    refused: (tenant, code) => turned.inc({ tenant: label(tenant), code }),
  };
}

function alertGauge(registry: Registry, view: View, label: (tenant: TenantId) => string): void {
  new Gauge({
    name: 'evenkeel_alerts',
    help: 'Alerts of tenants that are out now',
    labelNames: ['tenant', 'alert'],
    registers: [registry],
    collect() {
      this.reset();
      for (const tenant of view.tenants()) for (const alert of view.alerts(tenant)) this.inc({ tenant: label(tenant), alert });
    },
  });
}

/** From the accounts, and so exact at once after a restart. */
function gauges(registry: Registry, view: View, label: (tenant: TenantId) => string): void {
  const gauge = (name: string, help: string, value: (tenant: TenantId) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ['tenant'],
      registers: [registry],
      collect() {
        this.reset();
        for (const tenant of view.tenants()) this.inc({ tenant: label(tenant) }, value(tenant));
      },
    });
  const today = (tenant: TenantId) => {
    const account = view.account(tenant);
    return account && budgetsOf(account, view.now)[0];
  };
  gauge('evenkeel_in_flight', 'Requests that run', (tenant) => view.account(tenant)?.running ?? 0);
  gauge('evenkeel_queued', 'Requests that wait', (tenant) => view.account(tenant)?.queued ?? 0);
  gauge('evenkeel_answered', 'Requests answered since the tenant was created', (tenant) => view.account(tenant)?.answered ?? 0);
  gauge('evenkeel_finished', 'Requests finished since the tenant was created', (tenant) => view.account(tenant)?.finished ?? 0);
  gauge('evenkeel_burn_today_micro_usd', 'Spent since midnight UTC', (tenant) => today(tenant)?.settled_micro_usd ?? 0);
  gauge('evenkeel_budget_day_micro_usd', 'The hard limit of the day', (tenant) => today(tenant)?.limit_micro_usd ?? 0);
}
