/**
 * The degradation ladder: full answer, cheaper model, cached answer, passages of the knowledge base, and below them a handoff or a refusal
 * with when to try again. Pure: `decide` asks where a request starts, the agent where it goes on when a rung does not hold.
 */
import { type Degradation, MODES, type Mode, type Reason, type Trouble } from '#schemas/events.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import { shortage, windowEnd, windowKeys } from './ledger.ts';
import type { Account } from './state.ts';

export type Rung = 'full' | Mode;
const RUNGS: readonly Rung[] = ['full', ...MODES];

const REASON_OF: Readonly<Record<Trouble, Reason>> = {
  budget_spent: 'budget',
  queue_long: 'overload',
  provider_busy: 'overload',
  deadline_near: 'deadline',
  breaker_open: 'tool_failure',
  provider_failed: 'tool_failure',
};

export const rungOf = (degraded: Degradation | null): Rung => degraded?.mode ?? 'full';

/** One rung down from `at`. What first stood in the way stays the reason. undefined: there is none below. */
export function below(at: Degradation | null, trouble: Trouble): Degradation | undefined {
  const mode = RUNGS[RUNGS.indexOf(rungOf(at)) + 1];
  if (mode === undefined || mode === 'full') return undefined;
  return at ? { ...at, mode } : { mode, reason: REASON_OF[trouble], detail: trouble };
}

/** What a request on that rung may spend: what is held for it. A rung without a model costs nothing. */
export function holdOf({ requestCeiling, cheaperCeiling, requestTokens }: Policy, rung: Rung): { readonly cost: MicroUsd; readonly tokens: number } {
  if (rung === 'full') return { cost: requestCeiling as MicroUsd, tokens: requestTokens };
  if (rung === 'cheaper_model') return { cost: Math.min(requestCeiling, cheaperCeiling) as MicroUsd, tokens: requestTokens };
  return { cost: 0 as MicroUsd, tokens: 0 };
}

/** Where a request starts that is dispatched now. Others' holds are waited for; what is settled, or time that is gone, is not. */
export function startingRung(account: Account, deadline: Instant, now: Instant): Degradation | null {
  let at: Degradation | null = null;
  for (;;) {
    const trouble = obstacle(account, rungOf(at), deadline, now);
    const next: Degradation | undefined = trouble && below(at, trouble);
    if (!next) return at;
    at = next;
  }
}

/** When the deadline alone will put a request a rung lower than now. */
export function lowerAt({ fullAnswerMs, cheaperAnswerMs }: Policy, deadline: Instant, now: Instant): Instant | undefined {
  const later = [fullAnswerMs, cheaperAnswerMs].map((ms) => deadline - ms + 1).filter((at) => at > now);
  return later.length === 0 ? undefined : Math.min(...later);
}

function obstacle(account: Account, rung: Rung, deadline: Instant, now: Instant): Trouble | undefined {
  if (rung !== 'full' && rung !== 'cheaper_model') return undefined;
  const { policy, queued } = account;
  const full = rung === 'full';
  if (deadline - now < (full ? policy.fullAnswerMs : policy.cheaperAnswerMs)) return 'deadline_near';
  // This request is one of the queued. Twice the percent, so that half-way to a full queue is a whole number.
  const most = full ? 2 * policy.overloadPercent : policy.overloadPercent + 100;
  if ((queued - 1) * 200 >= policy.maxQueued * most) return 'queue_long';
  const { cost, tokens } = holdOf(policy, rung);
  return shortage(account, windowKeys(now), { money: cost, tokens })?.spent ? 'budget_spent' : undefined;
}

/** When the budget that is spent begins anew, from now. undefined: it never does by itself. */
export function budgetBackMs(account: Account, now: Instant): number | undefined {
  const { cost, tokens } = holdOf(account.policy, 'cheaper_model');
  const short = shortage(account, windowKeys(now), { money: cost, tokens });
  const end = short && windowEnd(short.window, now);
  return end === undefined ? undefined : end - now;
}

/** Trouble that passes this soon is worth a client's own second try; a person is asked about what lasts longer. */
const SOON_MS = 60 * 60_000;

export type LastRung = { readonly outcome: 'handed_off' | 'refused'; readonly reason: Reason; readonly retryAfterMs: number | null };

/** Below the passages. `retryAfterMs`: when what stood in the way is expected to be over; undefined: nobody knows. */
export function lastRung(reason: Reason, retryAfterMs: number | undefined): LastRung {
  const refused = retryAfterMs !== undefined && retryAfterMs <= SOON_MS;
  return { outcome: refused ? 'refused' : 'handed_off', reason, retryAfterMs: retryAfterMs ?? null };
}
