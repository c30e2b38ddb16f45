/**
 * The closed list of errors. A class says what becomes of the work:
 * retryable: the same call may succeed later; terminal: this input never will (dead letter, 4xx);
 * fatal: the process cannot go on and exits non-zero, so that it is restarted.
 */
export const ERRORS = {
  // what a caller sent
  body_invalid: { class: 'terminal', title: 'The body is not what this call takes' },
  tenant_id_invalid: { class: 'terminal', title: 'Not a tenant id' },
  amount_invalid: { class: 'terminal', title: 'Not an amount of micro-dollars' },
  credential_missing: { class: 'terminal', title: 'No credential was sent' },
  credential_invalid: { class: 'terminal', title: 'The credential is not valid' },
  forbidden: { class: 'terminal', title: 'This credential may not do that' },
  not_found: { class: 'terminal', title: 'There is no such thing here' },
  conflict: { class: 'terminal', title: 'The same id was used for another body' },
  policy_invalid: { class: 'terminal', title: 'A policy field is unknown or out of bounds' },
  policy_version_conflict: { class: 'terminal', title: 'The policy has changed since that version' },
  tenant_exists: { class: 'terminal', title: 'The tenant exists already' },
  // what a record on Kafka may be
  record_tombstone: { class: 'terminal', title: 'A record without a value' },
  record_too_large: { class: 'terminal', title: 'The record is larger than its bound' },
  record_unreadable: { class: 'terminal', title: 'The bytes are not a record that this topic takes' },
  record_hostile: { class: 'terminal', title: 'The bytes announce more than they hold' },
  schema_unknown: { class: 'terminal', title: 'The schema id is not registered for this topic' },
  signature_missing: { class: 'terminal', title: 'The record is not signed' },
  signature_invalid: { class: 'terminal', title: 'The signature does not match the record' },
  tenant_unknown: { class: 'terminal', title: 'There is no such tenant' },
  tenant_mismatch: { class: 'terminal', title: 'The key and the record name different tenants' },
  sealed_unreadable: { class: 'terminal', title: 'The sealed words cannot be opened' },
  decision_failed: { class: 'terminal', title: 'The input could not be decided' },
  // refusals: a limit said no, and nothing was consumed
  tenant_suspended: { class: 'retryable', title: 'The tenant is suspended' },
  rate_limited: { class: 'retryable', title: 'Too many requests a second' },
  queue_full: { class: 'retryable', title: 'The queue is full' },
  conversation_full: { class: 'retryable', title: 'The conversation has too many waiting messages' },
  deadline_expired: { class: 'terminal', title: 'The deadline had passed' },
  budget_exhausted: { class: 'retryable', title: 'The budget is spent' },
  too_many_steps: { class: 'terminal', title: 'The request has taken all its steps' },
  overloaded: { class: 'retryable', title: 'The platform is at its bound' },
  // the platform itself
  unavailable: { class: 'retryable', title: 'A part of the platform does not answer' },
  fenced: { class: 'retryable', title: 'Another process owns the partition now' },
  commit_failed: { class: 'retryable', title: 'A transaction did not commit' },
  store_unwritable: { class: 'retryable', title: 'The disk does not take what the store writes' },
  fold_failed: { class: 'fatal', title: 'The history cannot be folded' },
  store_ahead: { class: 'fatal', title: 'The local store does not match its log' },
  disk_failed: { class: 'fatal', title: 'The disk has taken no writes for too long' },
  partitions_changed: { class: 'fatal', title: 'The number of partitions is not that of the history' },
  setting_invalid: { class: 'fatal', title: 'A setting is missing or wrong' },
  wedged: { class: 'fatal', title: 'The process no longer makes progress' },
} as const satisfies Record<string, { class: 'retryable' | 'terminal' | 'fatal'; title: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** Says what happened (`code`, `title`) and why (`message`). */
export class EvenkeelError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'EvenkeelError';
    this.code = code;
  }
  get class(): (typeof ERRORS)[ErrorCode]['class'] {
    return ERRORS[this.code].class;
  }
  get title(): string {
    return ERRORS[this.code].title;
  }
}
