/**
 * A wedged process dies loudly (invariant 11), so that it is started again: an event loop that stands still, an operation that does not
 * end, a part that has something to do and does not move. Beats are counted and no clocks compared, so that a process that was suspended
 * as a whole is not taken for wedged.
 */
import { Worker } from 'node:worker_threads';
import { EXIT } from './exit.ts';

/** How far something has come: a value that changes when it moves. undefined: it has nothing to do. */
type Progress = () => number | string | undefined;
type Watched = { readonly name: string; readonly progress: Progress; last: number | string | undefined; beats: number };

/** Beats in the time that something may stand still. */
const BEATS = 30;
const BEAT_MS = 1_000;
/** From here on /healthz says so. */
const STANDING = 0.5;

export class Watchdog {
  readonly #watched = new Set<Watched>();
  readonly afterMs: number;
  readonly #most: number;
  readonly #wedged: (what: readonly string[]) => void;
  readonly #timer: NodeJS.Timeout;

  /** `wedged` is told once, when something has stood still for `afterMs`: that, and what else stands. */
  constructor(afterMs: number, wedged: (what: readonly string[]) => void) {
    const beatMs = Math.min(BEAT_MS, afterMs / BEATS);
    this.afterMs = afterMs;
    this.#most = Math.ceil(afterMs / beatMs);
    this.#wedged = wedged;
    this.#timer = setInterval(() => this.#beat(), beatMs).unref();
  }

  /** Until the returned function is called. */
  watch(name: string, progress: Progress): () => void {
    const watched: Watched = { name, progress, last: undefined, beats: 0 };
    this.#watched.add(watched);
    return () => this.#watched.delete(watched);
  }

  /** One operation, which must end. */
  async during<T>(name: string, operation: () => Promise<T>): Promise<T> {
    const end = this.watch(name, () => 0);
    try {
      return await operation();
    } finally {
      end();
    }
  }

  /** What has stood still for half of what it may. */
  get standing(): readonly string[] {
    return [...this.#watched].filter(({ beats }) => beats >= this.#most * STANDING).map(({ name }) => name);
  }

  #beat(): void {
    let most = 0;
    for (const watched of this.#watched) {
      const now = watched.progress();
      watched.beats = now !== undefined && now === watched.last ? watched.beats + 1 : 0;
      watched.last = now;
      most = Math.max(most, watched.beats);
    }
    if (most < this.#most) return;
    clearInterval(this.#timer);
    this.#wedged(this.standing);
  }
}

/**
 * From a thread of its own: a blocked event loop cannot watch itself. The exit is asked for through the inspector, which interrupts running
 * JavaScript; what blocks in native code, or has a debugger's port open, does not go that way, and is killed.
 */
export function watchEventLoop(afterMs: number): void {
  const beatMs = Math.min(BEAT_MS, afterMs / BEATS);
  const beat = new Int32Array(new SharedArrayBuffer(4));
  setInterval(() => Atomics.add(beat, 0, 1), beatMs).unref();
  const watch = `
    const { workerData: { beat, beatMs, most, code } } = require('node:worker_threads');
    const { Session } = require('node:inspector');
    let [seen, missed] = [-1, 0];
    const watching = setInterval(() => {
      const now = Atomics.load(beat, 0);
      missed = now === seen ? missed + 1 : 0;
      seen = now;
      if (missed < most) return;
      clearInterval(watching);
      require('node:fs').writeSync(2, '{"level":60,"msg":"wedged: the event loop has stood still, exiting"}\\n');
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2_000);
      const session = new Session();
      session.connectToMainThread();
      session.post('Runtime.evaluate', { expression: 'process.reallyExit(' + code + ')' });
    }, beatMs);`;
  new Worker(watch, { eval: true, workerData: { beat, beatMs, most: Math.ceil(afterMs / beatMs), code: EXIT.wedged } }).unref();
}
