/** What the gateway says of a request, checked: a field of another type is an error here and not `undefined` on the screen. */
import { CommandError } from './command.ts';

export type Citation = { readonly document: string; readonly heading: string; readonly version: string };
export type Answer = {
  readonly request_id: string | null;
  readonly outcome: string;
  readonly answer: string | null;
  readonly citations: readonly Citation[];
  readonly cost_micro_usd: number;
  /** `detail`: what stood in the way of a full answer. */
  readonly degraded: { readonly mode: string; readonly reason: string; readonly detail: string } | null;
  /** When it is worth to ask again; null: nobody knows. */
  readonly retry_at?: string | null;
  readonly reason: string | null;
  /** A refusal at the door says in words which limit it was. */
  readonly detail?: string;
};
export type Verdict = { readonly request: string; readonly stage: string };

type Fields = Readonly<Record<string, unknown>>;
const fields = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {});
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

export function parseVerdict(body: unknown): Verdict {
  const { request_id, stage } = fields(body);
  if (typeof request_id === 'string') return { request: request_id, stage: text(stage) || 'queued' };
  throw new CommandError('The gateway accepted the request, but gave it no id.', 'Is EVENKEEL_GATEWAY_URL the address of an Evenkeel gateway?');
}

/** undefined while the request has not finished. */
export function parseAnswer(body: unknown): Answer | undefined {
  const { request_id, outcome, answer, citations, cost_micro_usd, degraded, reason, retry_at, problem } = fields(body);
  if (typeof outcome !== 'string') return undefined;
  const { mode, reason: degradedBy, detail } = fields(degraded);
  return {
    request_id: text(request_id) || null,
    outcome,
    answer: typeof answer === 'string' ? answer : null,
    citations: Array.isArray(citations) ? citations.map(citation) : [],
    cost_micro_usd: typeof cost_micro_usd === 'number' ? cost_micro_usd : 0,
    degraded: typeof mode === 'string' ? { mode, reason: text(degradedBy), detail: text(detail) } : null,
    reason: typeof reason === 'string' ? reason : null,
    retry_at: text(retry_at) || null,
    ...(problem === undefined ? {} : { detail: text(fields(problem).detail) }),
  };
}

function citation(value: unknown): Citation {
  const { document, heading, version } = fields(value);
  return { document: text(document), heading: text(heading), version: text(version) };
}

/** The platform's own verdicts; anything else is a failure of the call. */
const REFUSALS = new Set([409, 429, 503]);
const REFUSAL_CODES = new Set(['tenant_suspended', 'tenant_unknown', 'deadline_expired']);

export function refusedAtTheDoor(status: number, body: unknown): Answer | undefined {
  const { request_id, code, title, detail } = fields(body);
  if (!REFUSALS.has(status) && !REFUSAL_CODES.has(text(code))) return undefined;
  const words = [text(title), text(detail)].filter(Boolean).join(': ');
  return {
    request_id: text(request_id) || null,
    outcome: 'refused',
    answer: null,
    citations: [],
    cost_micro_usd: 0,
    degraded: null,
    reason: text(code) || `http_${status}`,
    ...(words ? { detail: words } : {}),
  };
}

/** The object of `--json`, with these fields and no others, in every case. */
export function answerJson({ request_id, outcome, answer, citations, cost_micro_usd, degraded, reason }: Answer): string {
  return JSON.stringify({ request_id, outcome, answer, citations, cost_micro_usd, degraded, reason });
}

/** Nobody knows yet, or ever will, what it came to. */
export function failed(request: string | undefined, reason: string): Answer {
  return { request_id: request ?? null, outcome: 'failed', answer: null, citations: [], cost_micro_usd: 0, degraded: null, reason };
}
