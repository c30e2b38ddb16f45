/**
 * The broker's time, carried on by a monotonic clock: it never goes back, never stands still, and no process's own wall clock is asked
 * (a process booted during a clock step would believe it).
 */
import type { Instant } from '#schemas/ids.ts';
import type { Clock } from './ports.ts';

export class BrokerTime {
  readonly #clock: Clock;
  #base: Instant = 0;
  #since = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A time seen on the log: the last batch's, or a record's append time. */
  observe(time: Instant): void {
    if (time <= this.now()) return;
    this.#base = time;
    this.#since = this.#clock.monotonic();
  }

  now(): Instant {
    return Math.floor(this.#base + Math.max(0, this.#clock.monotonic() - this.#since));
  }
}
