/** What reaches `decide`: records, commands, results of effects, dispatches and wakes. Words come sealed. */
import type { Command } from '#schemas/commands.ts';
import type { Degradation, Outcome, Reason, StepCalls, StepKind } from '#schemas/events.ts';
import type { ConversationId, Instant, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';

type OfRequest = { readonly tenant: TenantId; readonly item: ConversationId; readonly mark: RequestId };
/** Of a turn. `arrival`: its order of arrival, for an id that was forgotten may come again, and is another request then. */
type OfTurn = OfRequest & { readonly arrival: number };

export type RequestInput = OfRequest & {
  readonly kind: 'request';
  readonly person: PersonId;
  readonly bodyDigest: string;
  readonly source: 'http' | 'kafka';
  /** The broker's append time; the deadline counts from it. */
  readonly appended: Instant;
  readonly deadlineMs: number | null;
  readonly sealed: Uint8Array;
};
export type CommandInput = { readonly kind: 'command'; readonly tenant: TenantId; readonly mark: string; readonly command: Command };
export type StepStart = OfTurn & {
  readonly kind: 'step_start';
  readonly step: string;
  /** 1, or one more than the attempt that ended without a result. */
  readonly attempt: number;
  readonly stepKind: StepKind;
  readonly calls: StepCalls;
  readonly worstCase: MicroUsd;
  readonly worstTokens: number;
  /** The price table by which the worst case was reckoned, and the cost will be; 0: none. */
  readonly priceVersion: number;
};
export type StepFinish = OfTurn & {
  readonly kind: 'step_finish';
  readonly step: string;
  readonly attempt: number;
  readonly cost: MicroUsd;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly model: string;
  readonly digest: string;
  readonly sealed: Uint8Array;
};
/** An attempt that ended without a result. `spent` is false where it is sure that the other side did nothing for it. */
export type StepFail = OfTurn & {
  readonly kind: 'step_fail';
  readonly step: string;
  readonly attempt: number;
  readonly code: string;
  readonly spent: boolean;
};
export type Finish = OfTurn & {
  readonly kind: 'finish';
  readonly outcome: Outcome;
  readonly reason: Reason;
  readonly degraded: Degradation | null;
  readonly retryAfterMs: number | null;
  readonly citations: number;
  readonly sealed: Uint8Array | null;
};
export type Dispatch = { readonly kind: 'dispatch'; readonly tenant: TenantId; readonly item: ConversationId };
export type Wake = { readonly kind: 'wake'; readonly tenant: TenantId; readonly item?: ConversationId; readonly mark?: string };

export type Input = RequestInput | CommandInput | StepStart | StepFinish | StepFail | Finish | Dispatch | Wake;
