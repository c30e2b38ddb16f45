/**
 * The broker's time, carried on by a monotonic clock: it never goes back, never stands still, and no process's own wall clock is asked
 * (a process booted during a clock step would believe it).
 */
import type { Instant } from '#schemas/ids.ts';
import type { Clock } from './ports.ts';

/** Clocks of brokers differ by less. */
const CLOCK_SET_BACK_MS = 60_000;

export class BrokerTime {
  readonly #clock: Clock;
  #base: Instant = 0;
  #since = 0;
  /** How far the broker's clock was behind this time when it last replied. */
  #behind = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A time seen on the log: the last batch's, or a record's append time. */
  observe(time: Instant): void {
    if (time <= this.now()) return;
    this.#base = time;
    this.#since = this.#clock.monotonic();
  }

  /** The broker's own time, as of the reply to a commit. */
  replied(time: Instant): void {
    this.observe(time);
    this.#behind = this.now() - time;
  }

  /**
   * When a record was appended, on this time. After the broker's clock was set back, each new record's time looks as old as the step, and
   * would be past its deadline: so what the broker is behind is added.
   */
  appendedAt(at: Instant): Instant {
    return this.#behind > CLOCK_SET_BACK_MS ? Math.min(this.now(), at + this.#behind) : at;
  }

  now(): Instant {
    return Math.floor(this.#base + Math.max(0, this.#clock.monotonic() - this.#since));
  }
}
