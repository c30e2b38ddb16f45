/** Chance and time of a simulated world: every choice comes from the seed, and time jumps from one event to the next. */
/** A small fast generator (Mulberry32), enough for choices. 0 <= number < 1. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export class Chance {
  readonly next: () => number;
  constructor(seed: number) {
    this.next = random(seed);
  }

  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }
  /** `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }
  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)] as T;
  }
}

/** Of the processes' monotonic clocks, at most, in parts of one. */
export const DRIFT = 1 / 1_000;

type Timer = { readonly at: number; readonly order: number; readonly run: () => void; cancelled: boolean };

/** Virtual milliseconds. The next event is the earliest; ties fall in the order of their making. */
export class VirtualTime {
  now = 0;
  #order = 0;
  /** A binary heap of this file's own: the world must not stand on what it tests. */
  readonly #timers: Timer[] = [];

  after(ms: number, run: () => void): () => void {
    const timer: Timer = { at: this.now + Math.max(0, ms), order: this.#order++, run, cancelled: false };
    this.#push(timer);
    return () => {
      timer.cancelled = true;
    };
  }
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Runs until nothing is left to happen, `done`, or virtual time has reached `end`. */
  async run(end: number, done: () => boolean = () => false): Promise<void> {
    while (!done()) {
      // Every promise that can go on does so before time goes on.
      await new Promise((resolve) => setImmediate(resolve));
      while (this.#timers[0]?.cancelled) this.#pop();
      const next = this.#timers[0];
      if (!next || next.at > end) {
        this.now = Math.max(this.now, end);
        return;
      }
      this.#pop();
      this.now = next.at;
      next.run();
    }
  }

  #push(timer: Timer): void {
    const timers = this.#timers;
    let at = timers.push(timer) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!before(timer, timers[up])) break;
      timers[at] = timers[up] as Timer;
      at = up;
    }
    timers[at] = timer;
  }

  #pop(): void {
    const timers = this.#timers;
    const last = timers.pop();
    if (!last || timers.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= timers.length) break;
      if (child + 1 < timers.length && before(timers[child + 1] as Timer, timers[child])) child++;
      if (!before(timers[child] as Timer, last)) break;
      timers[at] = timers[child] as Timer;
      at = child;
    }
    timers[at] = last;
  }
}

function before(a: Timer, b: Timer | undefined): boolean {
  return b !== undefined && (a.at < b.at || (a.at === b.at && a.order < b.order));
}
