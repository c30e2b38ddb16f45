/**
 * Balances keyed by window: nothing ever resets. Invariant 4: a hold is placed only if settled + held + new stays within the hard limit
 * in every window; it belongs to the windows it was placed in and ends exactly once.
 */
import { WINDOWS, type Window } from '#schemas/events.ts';
import { type Instant, type MicroUsd, ZERO } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import type { Account, Balance } from './state.ts';

export type WindowKeys = { readonly day: string; readonly month: string };
export type Shortage = { readonly window: Window; readonly hard: MicroUsd; readonly settled: MicroUsd; readonly held: MicroUsd; readonly spent: boolean };

const HARD = { day: 'budgetDay', month: 'budgetMonth', total: 'budgetTotal' } as const satisfies Record<Window, keyof Policy>;
/** Of each window this and the last are kept; older facts stand in the total. */
const KEPT = 2;

/** UTC day and month of an instant, without asking any clock. */
export function windowKeys(now: Instant): WindowKeys {
  const [year, month, day] = civil(Math.floor(now / 86_400_000));
  const pad = (n: number) => String(n).padStart(2, '0');
  return { day: `${year}-${pad(month)}-${pad(day)}`, month: `${year}-${pad(month)}` };
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
  return window === 'total' ? 'total' : keys[window];
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

export function balance(account: Account, window: Window, key: string): Balance {
  return (
    account.balances.find((each) => each.window === window && each.key === key) ?? {
      window,
      key,
      settled: ZERO,
      held: ZERO,
      granted: ZERO,
      alerted: 0,
    }
  );
}

export function hardLimit(account: Account, { window, granted }: Balance): MicroUsd {
  return (account.policy[HARD[window]] + granted) as MicroUsd;
}

/** The window in which `amount` does not fit. `spent`: by settled money alone, so waiting for holds to end would not help. */
export function shortage(account: Account, keys: WindowKeys, amount: MicroUsd): Shortage | undefined {
  const short = WINDOWS.map((window) => balance(account, window, keyOf(window, keys)))
    .map((each) => ({ ...each, hard: hardLimit(account, each) }))
    .filter(({ settled, held, hard }) => settled + held + amount > hard)
    .map(({ window, hard, settled, held }) => ({ window, hard, settled, held, spent: settled + amount > hard }));
  return short.find(({ spent }) => spent) ?? short[0];
}

type Change = { readonly settled?: number; readonly held?: number; readonly granted?: number; readonly alerted?: number };

/** Adds to the windows named by `keys`. @throws RangeError when a balance would hold less than nothing: a fold defect */
export function post(account: Account, keys: WindowKeys, change: Change, only?: Window): Account {
  let balances = account.balances;
  for (const window of WINDOWS) {
    if (only !== undefined && window !== only) continue;
    const before = balance(account, window, keyOf(window, keys));
    const after: Balance = {
      ...before,
      settled: (before.settled + (change.settled ?? 0)) as MicroUsd,
      held: (before.held + (change.held ?? 0)) as MicroUsd,
      granted: (before.granted + (change.granted ?? 0)) as MicroUsd,
      alerted: Math.max(before.alerted, change.alerted ?? 0),
    };
    if (after.held < 0) throw new RangeError(`${account.tenant}: ${window} ${before.key} would hold ${after.held}`);
    balances = [...balances.filter((each) => each.window !== window || each.key !== before.key), after];
  }
  return { ...account, balances: prune(balances) };
}

/** In one order, so that equal balances have equal bytes; a window with a hold on it is never dropped. */
function prune(balances: readonly Balance[]): readonly Balance[] {
  const sorted = [...balances].sort((a, b) => (a.window === b.window ? (a.key < b.key ? 1 : -1) : a.window < b.window ? -1 : 1));
  return sorted.filter((each) => each.held > 0 || sorted.filter((other) => other.window === each.window && other.key > each.key).length < KEPT);
}
