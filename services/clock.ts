/** The real clock, as the engine asks for one. */
import { performance } from 'node:perf_hooks';
import type { Clock } from '#streams/engine/ports.ts';

const LONGEST_TIMER_MS = 2_147_483_647;
export const clock: Clock = {
  monotonic: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(Math.ceil(ms), LONGEST_TIMER_MS));
    return () => clearTimeout(timer);
  },
};
