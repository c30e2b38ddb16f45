/** What the gateway says of a tenant over HTTP, as JSON: the gateway writes it, the command line and the dashboard read it. Money in micro-dollars. */
import type { AlertName, Window } from './events.ts';
import type { TenantId } from './ids.ts';

/** Of every tenant a caller may see. */
export type TenantNumbers = {
  readonly tenant: TenantId;
  readonly suspended: boolean;
  readonly in_flight: number;
  readonly most_in_flight: number;
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
  /** Those that are out now. */
  readonly alerts: readonly AlertName[];
  readonly policy_version: number;
  readonly offset: number;
};

/** `key`: the UTC day, the month, or `total`. */
export type BudgetNumbers = {
  readonly window: Window;
  readonly key: string;
  readonly settled_micro_usd: number;
  readonly held_micro_usd: number;
  readonly granted_micro_usd: number;
  readonly limit_micro_usd: number;
  readonly settled_tokens: number;
  readonly held_tokens: number;
  readonly granted_tokens: number;
  readonly limit_tokens: number;
};

/** Of one tenant. */
export type TenantPage = TenantNumbers & {
  readonly policy: Readonly<Record<string, unknown>>;
  readonly budgets: readonly BudgetNumbers[];
};
