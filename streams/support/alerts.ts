/** Alerts that one tenant's row can know, as events: each is said once a window. */
import type { Event } from '#schemas/events.ts';
import { WINDOWS } from '#schemas/events.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import { balance, hardLimit, keyOf, post, windowKeys } from './ledger.ts';
import type { Account } from './state.ts';

/** Money moves by these events alone; the rows of an event may be more than a decision sees, its account is not. */
function spend(account: Account, event: Event): Account {
  if (event.type === 'cost_recorded' || event.type === 'outside_cost_recorded') return post(account, event, { settled: event.amount });
  return event.type === 'policy_set' ? { ...account, policy: event.policy } : account;
}

/** What to say after `events`, which follow from `before`. */
export function budgetAlerts(before: Account, events: readonly Event[], now: Instant): readonly Event[] {
  const account = events.reduce(spend, before);
  if (account === before) return [];
  const keys = windowKeys(now);
  return WINDOWS.flatMap((window) => {
    const found = balance(account, window, keyOf(window, keys));
    const hard = hardLimit(account, found);
    const soft = Math.floor((hard * account.policy.softPercent) / 100) as MicroUsd;
    const raise = (alert: 'budget_soft' | 'budget_hard', limit: MicroUsd): Event[] => [
      { type: 'alert_raised', tenant: account.tenant, alert, window, key: found.key, spent: found.settled, limit },
    ];
    if (found.settled === 0) return [];
    if (found.alerted < 2 && found.settled >= hard) return raise('budget_hard', hard);
    return found.alerted < 1 && found.settled >= soft ? raise('budget_soft', soft) : [];
  });
}
