/** Alerts that one tenant's row can know, as events: each is said once a window. */
import type { Event } from '#schemas/events.ts';
import { UNITS, WINDOWS } from '#schemas/events.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import { balance, keyOf, post, standing, windowKeys } from './ledger.ts';
import type { Account } from './state.ts';

/** Money and tokens move by these events alone; the rows of an event may be more than a decision sees, its account is not. */
function spend(account: Account, event: Event): Account {
  if (event.type === 'cost_recorded') return post(account, event, { settled: event.amount, settledTokens: event.inputTokens + event.outputTokens });
  if (event.type === 'outside_cost_recorded') return post(account, event, { settled: event.amount, settledTokens: event.tokens });
  return event.type === 'policy_set' ? { ...account, policy: event.policy } : account;
}

/** What to say after `events`, which follow from `before`. */
export function budgetAlerts(before: Account, events: readonly Event[], now: Instant): readonly Event[] {
  const account = events.reduce(spend, before);
  if (account === before) return [];
  const keys = windowKeys(now);
  return WINDOWS.flatMap((window) => {
    const found = balance(account, window, keyOf(window, keys));
    return UNITS.flatMap((unit): Event[] => {
      const { hard, settled, alerted } = standing(account, found, unit);
      if (settled === 0) return [];
      const soft = Math.floor((hard * account.policy.softPercent) / 100);
      const raise = (alert: 'budget_soft' | 'budget_hard', limit: number): Event[] => [
        { type: 'alert_raised', tenant: account.tenant, alert, window, key: found.key, spent: settled as MicroUsd, limit: limit as MicroUsd, unit },
      ];
      if (alerted < 2 && settled >= hard) return raise('budget_hard', hard);
      return alerted < 1 && settled >= soft ? raise('budget_soft', soft) : [];
    });
  });
}
