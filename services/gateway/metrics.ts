/** The gateway's metrics, by tenant; above a number of tenants the rest counts as `other`. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { TenantId } from '#schemas/ids.ts';
import type { Happened } from './lifecycle.ts';
import type { View } from './view.ts';

const MOST_TENANTS = 200;

export function measure(registry: Registry, view: View): (happened: Happened) => void {
  const registers = [registry];
  const named = new Set<TenantId>();
  const label = (tenant: TenantId): string => {
    if (named.size < MOST_TENANTS) named.add(tenant);
    return named.has(tenant) ? tenant : 'other';
  };
  const finished = new Counter({ name: 'evenkeel_requests_finished_total', help: 'Requests ended', labelNames: ['tenant', 'outcome', 'reason'], registers });
  const refused = new Counter({ name: 'evenkeel_requests_refused_total', help: 'Requests refused at the door', labelNames: ['tenant', 'code'], registers });
  const cost = new Counter({ name: 'evenkeel_cost_micro_usd_total', help: 'Money spent, micro-dollars', labelNames: ['tenant'], registers });
  const buckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
  const seconds = new Histogram({ name: 'evenkeel_request_seconds', help: 'From queued to finished', labelNames: ['tenant'], buckets, registers });
  const gauges = [
    ['evenkeel_in_flight', 'Requests that run', 'in_flight'],
    ['evenkeel_queued', 'Requests that wait', 'queued'],
    ['evenkeel_burn_today_micro_usd', 'Spent since midnight UTC', 'burn_today_micro_usd'],
    ['evenkeel_budget_day_micro_usd', 'The hard limit of the day', 'budget_day_micro_usd'],
  ] as const;
  for (const [name, help, field] of gauges)
    new Gauge({
      name,
      help,
      labelNames: ['tenant'],
      registers,
      collect() {
        this.reset();
        for (const tenant of view.tenants()) this.inc({ tenant: label(tenant) }, view.numbers(tenant)?.[field] ?? 0);
      },
    });
  return ({ event }) => {
    const tenant = label(event.tenant);
    if (event.type === 'request_finished') {
      finished.inc({ tenant, outcome: event.outcome, reason: event.reason });
      seconds.observe({ tenant }, (event.queuedMs + event.ranMs) / 1_000);
    } else if (event.type === 'request_refused') refused.inc({ tenant, code: event.code });
    else if (event.type === 'cost_recorded' || event.type === 'outside_cost_recorded') cost.inc({ tenant }, Math.max(0, event.amount));
  };
}
