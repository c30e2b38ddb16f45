/**
 * Balances keyed by window, in money and in tokens: nothing ever resets. Invariant 4: a hold is placed only if settled + held + new stays
 * within both hard limits in every window; it belongs to the windows it was placed in and ends exactly once.
 */
import { copier } from '#schemas/copier.ts';
import { UNITS, type Unit, WINDOWS, type Window } from '#schemas/events.ts';
import { type Instant, type MicroUsd, ZERO } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import { ACCOUNT, type Account, type Balance } from './state.ts';

export type WindowKeys = { readonly day: string; readonly month: string };
/** Micro-dollars and tokens. */
export type Amount = { readonly money: number; readonly tokens: number };
/** In `unit`. `spent`: by what is settled alone, so waiting for holds to end would not help. */
export type Shortage = {
  readonly window: Window;
  readonly unit: Unit;
  readonly hard: number;
  readonly settled: number;
  readonly held: number;
  readonly spent: boolean;
};

const HARD = {
  micro_usd: { day: 'budgetDay', month: 'budgetMonth', total: 'budgetTotal' },
  tokens: { day: 'budgetTokensDay', month: 'budgetTokensMonth', total: 'budgetTokensTotal' },
} as const satisfies Record<Unit, Record<Window, keyof Policy>>;
/** Of each window this and the last are kept; older facts stand in the total. */
const KEPT = 2;

let lastDay: { readonly number: number; readonly keys: WindowKeys } | undefined;

/** UTC day and month of an instant, without asking any clock. The last day's are kept: every decision asks for today's. */
export function windowKeys(now: Instant): WindowKeys {
  const number = Math.floor(now / 86_400_000);
  if (lastDay?.number === number) return lastDay.keys;
  const [year, month, day] = civil(number);
  const pad = (n: number) => String(n).padStart(2, '0');
  const keys = { day: `${year}-${pad(month)}-${pad(day)}`, month: `${year}-${pad(month)}` };
  lastDay = { number, keys };
  return keys;
}

/** Days since 1970-01-01 to year, month, day (Hinnant, "chrono-compatible low-level date algorithms", civil_from_days). */
function civil(days: number): readonly [number, number, number] {
  const z = days + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor((dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  return [yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1];
}

export function keyOf(window: Window, keys: WindowKeys): string {
  return window === 'total' ? 'total' : window === 'day' ? keys.day : keys.month;
}

/** Start of the next UTC day or month: when a spent window is over. undefined for the total. */
export function windowEnd(window: Window, now: Instant): Instant | undefined {
  if (window === 'total') return undefined;
  const day = Math.floor(now / 86_400_000);
  if (window === 'day') return (day + 1) * 86_400_000;
  const { month } = windowKeys(now);
  let next = day + 1;
  while (windowKeys(next * 86_400_000).month === month) next++;
  return next * 86_400_000;
}

/** Start of the UTC day or month. undefined for the total. */
export function windowStart(window: Window, now: Instant): Instant | undefined {
  if (window === 'total') return undefined;
  const day = Math.floor(now / 86_400_000);
  return (window === 'day' ? day : day - civil(day)[2] + 1) * 86_400_000;
}

const NO_BALANCE = { settled: ZERO, held: ZERO, granted: ZERO, alerted: 0, settledTokens: 0, heldTokens: 0, grantedTokens: 0, alertedTokens: 0 } as const;
const NO_FORECAST = { forecast: false, forecastTokens: false };

export function balance(account: Account, window: Window, key: string): Balance {
  return account.balances[placeOf(account.balances, window, key)] ?? { window, key, ...NO_BALANCE, ...NO_FORECAST };
}

/** A balance in one unit. */
export type Standing = {
  readonly hard: number;
  readonly settled: number;
  readonly held: number;
  readonly granted: number;
  readonly alerted: number;
  readonly forecast: boolean;
};

export function standing({ policy }: Account, of: Balance, unit: Unit): Standing {
  const hard = policy[HARD[unit][of.window]];
  return unit === 'tokens'
    ? {
        hard: hard + of.grantedTokens,
        settled: of.settledTokens,
        held: of.heldTokens,
        granted: of.grantedTokens,
        alerted: of.alertedTokens,
        forecast: of.forecastTokens,
      }
    : { hard: hard + of.granted, settled: of.settled, held: of.held, granted: of.granted, alerted: of.alerted, forecast: of.forecast };
}

export function hardLimit(account: Account, of: Balance): MicroUsd {
  return standing(account, of, 'micro_usd').hard as MicroUsd;
}

/** The window and unit in which `ask` does not fit; one that is spent comes before one that others' holds fill. */
export function shortage(account: Account, keys: WindowKeys, ask: Amount): Shortage | undefined {
  let first: Shortage | undefined;
  for (const window of WINDOWS) {
    const of = balance(account, window, keyOf(window, keys));
    for (const unit of UNITS) {
      const short = shortIn(account, of, unit, unit === 'tokens' ? ask.tokens : ask.money);
      if (short?.spent) return short;
      first ??= short;
    }
  }
  return first;
}

/** Asked six times for each dispatch, and nearly always in vain: nothing is made for it. */
function shortIn({ policy }: Account, of: Balance, unit: Unit, amount: number): Shortage | undefined {
  const inTokens = unit === 'tokens';
  const hard = policy[HARD[unit][of.window]] + (inTokens ? of.grantedTokens : of.granted);
  const settled = inTokens ? of.settledTokens : of.settled;
  const held = inTokens ? of.heldTokens : of.held;
  return settled + held + amount <= hard ? undefined : { window: of.window, unit, hard, settled, held, spent: settled + amount > hard };
}

type Alerts = Pick<Balance, 'alerted' | 'alertedTokens' | 'forecast' | 'forecastTokens'>;
type Sums = Exclude<keyof typeof NO_BALANCE, keyof Alerts>;
/** Sums are added, alerts are set. */
export type Change = { readonly [K in Sums]?: number } & Partial<Alerts>;

const withBalances = copier(ACCOUNT, 'balances');

/** In the windows named by `keys`. @throws RangeError when a balance would hold less than nothing, or a sum be no whole number: a fold defect */
export function post(account: Account, keys: WindowKeys, change: Change, only?: Window): Account {
  const balances = account.balances.slice();
  // Most events change balances that stay: the order and what is kept are the same as before.
  let same = true;
  for (const window of WINDOWS) {
    if (only !== undefined && window !== only) continue;
    const key = keyOf(window, keys);
    const at = placeOf(balances, window, key);
    const before = balances[at] ?? balance(account, window, key);
    const after = changed(before, change);
    if (!isSound(after)) throw new RangeError(`${account.tenant}: no balance may be ${JSON.stringify(after)}`);
    balances[at < 0 ? balances.length : at] = after;
    same &&= at >= 0 && holds(before) === holds(after);
  }
  return withBalances(account, { balances: same ? balances : prune(balances) });
}

/** -1: not there. Asked for each window by most events: without a closure. */
function placeOf(balances: readonly Balance[], window: Window, key: string): number {
  for (let at = 0; at < balances.length; at++) {
    const { window: its, key: has } = balances[at] as Balance;
    if (has === key && its === window) return at;
  }
  return -1;
}

/** Found while it is decided, it costs its input alone; once committed, no task could write the account. */
function isSound({ held, heldTokens, settled, settledTokens, granted, grantedTokens }: Balance): boolean {
  const whole = Number.isSafeInteger(settled) && Number.isSafeInteger(settledTokens) && Number.isSafeInteger(granted) && Number.isSafeInteger(grantedTokens);
  return whole && Number.isSafeInteger(held) && Number.isSafeInteger(heldTokens) && held >= 0 && heldTokens >= 0;
}

const holds = ({ held, heldTokens }: Balance): boolean => held > 0 || heldTokens > 0;

function changed(before: Balance, change: Change): Balance {
  return {
    window: before.window,
    key: before.key,
    settled: (before.settled + (change.settled ?? 0)) as MicroUsd,
    held: (before.held + (change.held ?? 0)) as MicroUsd,
    granted: (before.granted + (change.granted ?? 0)) as MicroUsd,
    alerted: change.alerted ?? before.alerted,
    settledTokens: before.settledTokens + (change.settledTokens ?? 0),
    heldTokens: before.heldTokens + (change.heldTokens ?? 0),
    grantedTokens: before.grantedTokens + (change.grantedTokens ?? 0),
    alertedTokens: change.alertedTokens ?? before.alertedTokens,
    forecast: change.forecast ?? before.forecast,
    forecastTokens: change.forecastTokens ?? before.forecastTokens,
  };
}

/** In one order, so that equal balances have equal bytes; a window with a hold on it is never dropped. */
function prune(balances: readonly Balance[]): readonly Balance[] {
  const sorted = [...balances].sort((a, b) => (a.window === b.window ? (a.key < b.key ? 1 : -1) : a.window < b.window ? -1 : 1));
  return sorted.filter((each) => holds(each) || sorted.filter((other) => other.window === each.window && other.key > each.key).length < KEPT);
}
