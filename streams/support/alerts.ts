/**
 * Alerts that one tenant's row can know, as events: each is raised once, and again only after it was cleared. A budget's alerts belong to
 * their window and end with it.
 */
import { type AlertName, type Event, UNITS, type Unit, WINDOWS, type Window } from '#schemas/events.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import { countEnd, isOver, LEAST_FINISHED } from './error-rate.ts';
import { balance, keyOf, post, type Standing, standing, windowEnd, windowKeys, windowStart } from './ledger.ts';
import type { Account, ErrorWindow } from './state.ts';

/** Money and tokens move by these events alone; the rows of an event may be more than a decision sees, its account is not. */
function spend(account: Account, event: Event): Account {
  if (event.type === 'cost_recorded') return post(account, event, { settled: event.amount, settledTokens: event.inputTokens + event.outputTokens });
  if (event.type === 'outside_cost_recorded') return post(account, event, { settled: event.amount, settledTokens: event.tokens });
  if (event.type === 'budget_granted')
    return post(account, { day: event.key, month: event.key }, { granted: event.amount, grantedTokens: event.tokens }, event.window);
  return event.type === 'policy_set' ? { ...account, policy: event.policy } : account;
}

/** What to say after `events`, which follow from `before`. */
export function alerts(before: Account, events: readonly Event[], now: Instant): readonly Event[] {
  const account = events.reduce(spend, before);
  const said: Event[] = [];
  for (const event of events) if (event.type === 'request_finished') said.push(...errorAlerts(account, event, now));
  if (account !== before) budgetAlerts(said, account, now);
  return said;
}

/** The alerts that are out now. */
export function raised(account: Account, now: Instant): readonly AlertName[] {
  const keys = windowKeys(now);
  const found = WINDOWS.flatMap((window) => UNITS.map((unit) => standing(account, balance(account, window, keyOf(window, keys)), unit)));
  const out: readonly (readonly [AlertName, boolean])[] = [
    ['budget_hard', found.some(({ alerted }) => alerted === 2)],
    ['budget_soft', found.some(({ alerted }) => alerted === 1)],
    ['budget_forecast', found.some(({ forecast: expected, alerted }) => expected && alerted < 2)],
    ['error_rate', account.errors.raised],
  ];
  return out.flatMap(([alert, is]) => (is ? [alert] : []));
}

type Of = { readonly account: Account; readonly window: Window; readonly key: string; readonly unit: Unit };

function budgetAlerts(said: Event[], account: Account, now: Instant): void {
  const keys = windowKeys(now);
  for (const window of WINDOWS) {
    const key = keyOf(window, keys);
    const found = balance(account, window, key);
    for (const unit of UNITS) {
      const stands = standing(account, found, unit);
      const level = levelOf(account, stands);
      // Nearly always nothing is to be said.
      if (level === stands.alerted && !mayForecast(stands)) continue;
      const of = { account, window, key, unit };
      said.push(...levels(of, stands, level), ...forecast(of, stands, now));
    }
  }
}

function cleared({ account, window, key, unit }: Of, alert: AlertName): Event {
  return { type: 'alert_cleared', tenant: account.tenant, alert, window, key, unit };
}

const softOf = ({ policy }: Account, hard: number): number => Math.floor((hard * policy.softPercent) / 100);

/** 0 none, 1 soft, 2 hard: a grant, a correction or a new policy may bring it down. */
function levelOf(account: Account, { hard, settled }: Standing): number {
  if (settled <= 0) return 0;
  return settled >= hard ? 2 : settled >= softOf(account, hard) ? 1 : 0;
}

function levels(of: Of, { hard, settled, alerted }: Standing, level: number): readonly Event[] {
  const { account, window, key, unit } = of;
  if (level === alerted) return [];
  if (level < alerted)
    return [...(alerted === 2 && level < 2 ? [cleared(of, 'budget_hard')] : []), ...(level < 1 && alerted > 0 ? [cleared(of, 'budget_soft')] : [])];
  const [alert, limit] = level === 2 ? (['budget_hard', hard] as const) : (['budget_soft', softOf(account, hard)] as const);
  return [{ type: 'alert_raised', tenant: account.tenant, alert, window, key, spent: settled as MicroUsd, limit: limit as MicroUsd, unit }];
}

/** No forecast before a twenty-fourth of the window has passed and a tenth of the budget is spent: a first burst is no trend. */
const LEAST_ELAPSED = 24;
const LEAST_SPENT = 10;
/** It stays out until the window is expected to end with a tenth of the budget left. */
const CLEARED_BELOW = 0.9;

/** One is out, or so much is spent that one may be due. */
function mayForecast({ hard, settled, alerted, forecast: out }: Standing): boolean {
  return out || (alerted < 2 && settled < hard && settled * LEAST_SPENT >= hard);
}

/** From the burn over the window's elapsed time. The total has no end, and so no forecast. */
function forecast(of: Of, stands: Standing, now: Instant): readonly Event[] {
  const { account, window, key, unit } = of;
  const { hard, settled, forecast: out } = stands;
  if (!mayForecast(stands)) return [];
  const [start, end] = [windowStart(window, now), windowEnd(window, now)];
  if (start === undefined || end === undefined) return [];
  const [elapsed, length] = [now - start, end - start];
  if (elapsed * LEAST_ELAPSED < length) return [];
  const expected = (settled * length) / elapsed;
  if (out) return expected < hard * CLEARED_BELOW ? [cleared(of, 'budget_forecast')] : [];
  if (expected < hard) return [];
  const exhaustedAt = Math.floor(start + (elapsed * hard) / settled);
  return [{ type: 'forecast_raised', tenant: account.tenant, window, key, unit, spent: settled, limit: hard, exhaustedAt }];
}

/** Raised at the tenant's percent of at least twenty requests, cleared at half of it, or by a quiet window that went well. */
function errorAlerts({ tenant, policy, errors: before }: Account, ended: Parameters<typeof countEnd>[1], now: Instant): readonly Event[] {
  const after = countEnd(before, ended, now);
  const { since, failed, finished } = after;
  const percent = policy.errorPercent;
  const well = (window: ErrorWindow): boolean => window.failed * 200 < window.finished * percent;
  if (before.raised) {
    const over = isOver(before, now) ? well(before) : finished >= LEAST_FINISHED && well(after);
    return over ? [{ type: 'alert_cleared', tenant, alert: 'error_rate', window: '', key: '', unit: '' }] : [];
  }
  if (finished < LEAST_FINISHED || failed * 100 < finished * percent) return [];
  return [{ type: 'error_rate_raised', tenant, since, failed, finished, percent }];
}
