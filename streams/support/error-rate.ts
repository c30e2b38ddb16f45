/** Of the requests that ended lately, how many failed: counted in windows of five minutes, that of the first end after the last window. */
import type { EventOf } from '#schemas/events.ts';
import type { Instant } from '#schemas/ids.ts';
import type { ErrorWindow } from './state.ts';

const WINDOW_MS = 5 * 60_000;
/** Of fewer requests no rate is made. */
export const LEAST_FINISHED = 20;

type Ended = Pick<EventOf<'request_finished'>, 'outcome' | 'reason' | 'degraded'>;
const FAILURES: ReadonlySet<string> = new Set(['tool_failure', 'overload', 'deadline']);

/** Ours, not the question's: no answer in time, or a lower rung because a part did not work. */
function failed({ outcome, reason, degraded }: Ended): boolean {
  return (outcome !== 'answered' && FAILURES.has(reason)) || degraded?.reason === 'tool_failure';
}

export const isOver = ({ since }: ErrorWindow, at: Instant): boolean => at - since >= WINDOW_MS;

export function countEnd(before: ErrorWindow, ended: Ended, at: Instant): ErrorWindow {
  const window = isOver(before, at) ? { ...before, since: at, finished: 0, failed: 0 } : before;
  return { ...window, finished: window.finished + 1, failed: window.failed + Number(failed(ended)) };
}
