/**
 * How long a task goes on trying while its disk takes no writes. A disk that was full for seconds costs nobody their partitions; one that stays
 * full must, for another process's disk may take them.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Clock } from './ports.ts';

/** Longer than what cleans up after itself, and short enough for whoever waits for an answer. */
const PATIENCE_MS = 15_000;

export class DiskPatience {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #ms: number;
  #since: number | undefined;

  constructor(clock: Pick<Clock, 'monotonic'>, ms = PATIENCE_MS) {
    this.#clock = clock;
    this.#ms = ms;
  }

  wrote(): void {
    this.#since = undefined;
  }

  /** Of whatever has failed. @throws EvenkeelError `disk_failed` when the store has taken no writes for too long */
  failed(error: unknown): void {
    if (!(error instanceof EvenkeelError) || error.code !== 'store_unwritable') return;
    const now = this.#clock.monotonic();
    this.#since ??= now;
    if (now - this.#since < this.#ms) return;
    throw new EvenkeelError('disk_failed', `the disk has taken no writes for ${Math.round((now - this.#since) / 1_000)} s: ${error.message}`, { cause: error });
  }
}
