/**
 * Whether those who follow a log get to its end. The log is asked over a connection of its own, for a reading that has stopped cannot say
 * where the end is. Only a committed record lags: commit markers and what was aborted do not. Who lags and does not move is wedged
 * (invariant 11).
 */
import { Gauge, type Registry } from 'prom-client';
import type { Offset } from '#schemas/ids.ts';
import type { Reader } from '#streams/kafka/reader.ts';
import type { Watchdog } from './watchdog.ts';

export type Following = { readonly topic: string; readonly partition: number; readonly position: () => Offset };
type Followed = Following & {
  /** The end at the first look: who has reached it has caught up. */
  target: Offset | undefined;
  caughtUp: boolean;
  /** Up to here there is nothing committed after the position. */
  clean: Offset;
  /** Position and time of the last look. */
  seen: Offset;
  lookedAt: number;
  lags: boolean;
  removed: boolean;
};
export type LagParts = {
  readonly reader: Pick<Reader, 'end' | 'read'>;
  readonly watchdog: Watchdog;
  readonly metrics: Registry;
  readonly warn: (message: string) => void;
};

/** Between two looks; well below what the watchdog allows. */
const LOOK_MS = 5_000;
/** Until it has caught up. */
const SOON_MS = 100;
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref());

export class LagWatch {
  readonly #parts: LagParts;
  readonly #followed = new Set<Followed>();
  readonly #gauge: Gauge;
  readonly #everyMs: number;
  #answers = true;

  constructor(parts: LagParts) {
    this.#parts = parts;
    this.#everyMs = Math.min(LOOK_MS, parts.watchdog.afterMs / 6);
    this.#gauge = new Gauge({
      name: 'evenkeel_lag_offsets',
      help: 'Offsets between what is read and the end of its log',
      labelNames: ['topic', 'partition'],
      registers: [parts.metrics],
    });
  }

  /** Until the returned function is called. */
  add(following: Following): () => void {
    const followed: Followed = { ...following, target: undefined, caughtUp: false, clean: 0, seen: -1, lookedAt: 0, lags: false, removed: false };
    const { topic, partition } = following;
    const unwatch = this.#parts.watchdog.watch(nameOf(following), () => this.#progress(followed));
    this.#followed.add(followed);
    void this.#look(followed);
    return () => {
      followed.removed = true;
      unwatch();
      this.#followed.delete(followed);
      this.#gauge.remove({ topic, partition: String(partition) });
    };
  }

  close(): void {
    for (const followed of this.#followed) followed.removed = true;
  }

  /** For readiness. */
  get waitingFor(): readonly string[] {
    const behind = [...this.#followed].filter(({ caughtUp }) => !caughtUp).map((each) => `${nameOf(each)} to be caught up`);
    return this.#answers ? behind : ['Kafka to answer', ...behind];
  }

  /** An old look says nothing: then it is not known whether there is anything to do. */
  #progress(followed: Followed): number | undefined {
    const known = performance.now() - followed.lookedAt < 3 * this.#everyMs;
    return followed.lags && known ? followed.position() : undefined;
  }

  async #look(followed: Followed): Promise<void> {
    while (!followed.removed) {
      try {
        await this.#lookOnce(followed);
        this.#answers = true;
      } catch (error) {
        if (this.#answers && !followed.removed) this.#parts.warn(`the end of ${nameOf(followed)} is not known: ${(error as Error).message}`);
        this.#answers = false;
        followed.lags = false;
      }
      await sleep(followed.caughtUp ? this.#everyMs : Math.min(SOON_MS, this.#everyMs));
    }
  }

  async #lookOnce(followed: Followed): Promise<void> {
    const { topic, partition } = followed;
    const end = await this.#parts.reader.end(topic, partition);
    const position = followed.position();
    // Whoever moves is not asked further. Whoever stands may stand before markers alone: only reading tells.
    if (position === followed.seen && Math.max(position, followed.clean) < end) await this.#readOn(followed, end);
    followed.seen = position;
    followed.lookedAt = performance.now();
    const at = Math.max(position, followed.clean);
    followed.lags = at < end;
    followed.target ??= end;
    followed.caughtUp ||= at >= followed.target;
    if (!followed.removed) this.#gauge.set({ topic, partition: String(partition) }, Math.max(0, end - at));
  }

  async #readOn(followed: Followed, end: Offset): Promise<void> {
    const { topic, partition } = followed;
    for await (const { records, next } of this.#parts.reader.read(topic, partition, Math.max(followed.seen, followed.clean))) {
      if (records.length > 0) return;
      followed.clean = next;
    }
    followed.clean = Math.max(followed.clean, end);
  }
}

const nameOf = ({ topic, partition }: Following): string => `partition ${partition} of ${topic}`;
