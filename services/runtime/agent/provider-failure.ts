/** What a provider's failure means: whether it was spent, whether a second call may help, and whose fault it is. */
import { APICallError } from '@ai-sdk/provider';
import type { Trouble } from '#schemas/events.ts';
import { CallFailed } from '../journal.ts';

/** Whose breaker a failure counts toward: a bad key or a bad question is never the fault of what others share. */
type Counts = 'always' | 'own_key' | 'never';

export class ProviderFailed extends CallFailed {
  readonly trouble: Trouble;
  readonly counts: Counts;
  /** The provider's own word, or undefined. */
  readonly retryAfterMs: number | undefined;
  constructor(
    code: string,
    what: { readonly trouble: Trouble; readonly counts: Counts; readonly spent: boolean; readonly retryAfterMs?: number | undefined; readonly cause?: unknown },
  ) {
    super(code, what.spent, { cause: what.cause });
    this.trouble = what.trouble;
    this.counts = what.counts;
    this.retryAfterMs = what.retryAfterMs;
  }
  /** A second call never pays twice: it is made only where the first was not spent, and where it may end otherwise. */
  get retryable(): boolean {
    return !this.spent && this.counts === 'always';
  }
}

/** Errors of a connection that was never made. */
const UNCONNECTED: ReadonlySet<unknown> = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

export function failureOf(error: unknown): ProviderFailed {
  if (error instanceof ProviderFailed) return error;
  const failed = { trouble: 'provider_failed', counts: 'always', spent: true, cause: error } as const;
  if (!APICallError.isInstance(error)) return new ProviderFailed('unreadable', failed);
  const { statusCode: status, responseHeaders } = error;
  if (status === undefined)
    return codesOf(error).some((code) => UNCONNECTED.has(code))
      ? new ProviderFailed('unconnected', { ...failed, spent: false })
      : new ProviderFailed('connection', failed);
  if (status < 400) return new ProviderFailed('unreadable', failed);
  const code = `http_${status}`;
  const retryAfterMs = retryAfterOf(responseHeaders);
  if (status === 429) return new ProviderFailed(code, { ...failed, trouble: 'provider_busy', spent: false, retryAfterMs });
  // A gateway that gave up does not know what went on behind it.
  if (status === 408 || status === 504) return new ProviderFailed(code, failed);
  if (status >= 500) return new ProviderFailed(code, { ...failed, spent: false, retryAfterMs });
  return new ProviderFailed(code, { ...failed, spent: false, counts: status === 401 || status === 403 ? 'own_key' : 'never' });
}

/** `patient`: the whole time that a provider is given, and not only what one request had left. */
export function timedOut(patient: boolean, cause: unknown): ProviderFailed {
  return new ProviderFailed('timeout', { trouble: patient ? 'provider_failed' : 'deadline_near', counts: patient ? 'always' : 'never', spent: true, cause });
}

function codesOf(error: unknown): readonly unknown[] {
  if (!(error instanceof Error)) return [];
  return [(error as { code?: unknown }).code, ...codesOf(error.cause)];
}

/** Seconds or a date (RFC 9110, 10.2.3). */
function retryAfterOf(headers: Readonly<Record<string, string>> | undefined): number | undefined {
  const value = headers?.['retry-after'];
  if (value === undefined) return undefined;
  const ms = /^\d+(\.\d+)?$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
