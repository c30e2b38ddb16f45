// Children and their ends: a child that dies is started again, and one that is asked to stop is not.
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { Failure } from './failure.mjs';
import { logFile, turnLog, writeRun } from './home.mjs';

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */
/**
 * `stopMs` is how long it may take to end by itself.
 * @typedef {{ name: string, port: number, stopMs: number, spawn: (stdio: import('node:child_process').StdioOptions) => ChildProcess,
 *   ready: () => Promise<boolean> }} Part
 */
/** @typedef {{ part: Part, child: ChildProcess, ready: boolean, readyAt: number, failures: number }} Entry */

/** Before each further start. A process killed by hand is back at once; one that cannot run does not use up the machine. */
const BACKOFF_MS = [100, 500, 1_000, 2_000, 5_000];
/** Who has run this long is not failing. */
const STEADY_MS = 30_000;
const LOOK_MS = 50;
const LOOK_AGAIN_MS = 2_000;
/** A part that ends so often before it was ever ready will not be ready. */
const TRIES_AT_START = 3;

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Supervisor {
  /** @type {Map<string, Entry>} */
  #running = new Map();
  #stopping = false;
  #home;
  #say;
  /** @type {NodeJS.Timeout | undefined} */
  #looking;

  /** @param {string} home @param {(line: string) => void} say */
  constructor(home, say) {
    this.#home = home;
    this.#say = say;
  }

  /** Starts it and waits until it is ready. @param {Part} part @param {number} withinMs @throws {Failure} with the end of its log */
  async start(part, withinMs) {
    turnLog(this.#home, part.name);
    this.#spawn(part, 0);
    const late = Date.now() + withinMs;
    while (!(await this.#look(part.name))) {
      const failures = this.#running.get(part.name)?.failures ?? 0;
      if (this.#stopping) return;
      if (failures >= TRIES_AT_START) throw new Failure(`${part.name} ended ${failures} times before it was ready. ${this.#why(part.name)}`);
      if (Date.now() > late) throw new Failure(`${part.name} did not become ready within ${withinMs / 1_000} s. ${this.#why(part.name)}`);
      await pause(LOOK_MS);
    }
  }

  /** From now on a child that is alive and does not answer is seen in run.json as not ready. */
  watch() {
    this.#looking = setInterval(() => {
      for (const name of this.#running.keys()) void this.#look(name);
    }, LOOK_AGAIN_MS);
  }

  /** Services first, then what they need, in the reverse of the order of their start. @param {boolean} [atOnce] */
  async stop(atOnce = false) {
    this.#stopping = true;
    clearInterval(this.#looking);
    const entries = [...this.#running.values()].reverse();
    if (atOnce) for (const { child } of entries) child.kill('SIGKILL');
    await Promise.all(entries.filter(({ part }) => !BASE.includes(part.name)).map(end));
    for (const name of BASE) for (const entry of entries.filter(({ part }) => part.name === name)) await end(entry);
    this.#running.clear();
    writeRun(this.#home, []);
  }

  /** @param {Part} part @param {number} failures */
  #spawn(part, failures) {
    const out = openSync(logFile(this.#home, part.name), 'a');
    const child = part.spawn(['ignore', out, out]);
    closeSync(out);
    const entry = { part, child, ready: false, readyAt: 0, failures };
    this.#running.set(part.name, entry);
    child.once('exit', (code, signal) => this.#ended(entry, signal ?? `exit ${code}`));
    child.once('error', (error) => child.pid === undefined && this.#ended(entry, error.message));
    this.#save();
  }

  /** @param {Entry} entry @param {string} how */
  #ended(entry, how) {
    const { part, ready, readyAt } = entry;
    if (this.#stopping || this.#running.get(part.name) !== entry) return;
    const steady = ready && Date.now() - readyAt > STEADY_MS;
    const failures = steady ? 0 : entry.failures;
    Object.assign(entry, { ready: false, failures: failures + 1 });
    this.#save();
    if (process.env.EVENKEEL_NO_RESTART === '1') return this.#say(`${part.name} ended (${how}) and stays so: EVENKEEL_NO_RESTART is set`);
    const wait = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)] ?? 0;
    const again = failures === 0 ? '' : ` in ${wait / 1_000} s, after ${failures + 1} ends, and as often as it takes`;
    this.#say(`${part.name} ended (${how}); it is started again${again}. Its log: ${logFile(this.#home, part.name)}`);
    setTimeout(() => {
      if (!this.#stopping) void this.#again(part, failures + 1);
    }, wait);
  }

  /** @param {Part} part @param {number} failures */
  async #again(part, failures) {
    try {
      this.#spawn(part, failures);
    } catch (error) {
      const entry = this.#running.get(part.name);
      if (entry) return this.#ended(entry, /** @type {Error} */ (error).message);
    }
    const { child } = /** @type {Entry} */ (this.#running.get(part.name));
    while (!this.#stopping && this.#running.get(part.name)?.child === child && child.exitCode === null && child.signalCode === null) {
      if (await this.#look(part.name)) return this.#say(`${part.name} is ready again`);
      await pause(LOOK_MS);
    }
  }

  /** @param {string} name @returns {Promise<boolean>} whether it is ready now */
  async #look(name) {
    const before = this.#running.get(name);
    const answer = before !== undefined && alive(before.child) && (await before.part.ready());
    const entry = this.#running.get(name);
    // Meanwhile it may have ended, and another have taken its place: that one has not been asked.
    const ready = answer && entry === before && alive(entry.child);
    if (entry === undefined || entry !== before || entry.ready === ready) return ready;
    Object.assign(entry, { ready, readyAt: Date.now() });
    this.#save();
    return ready;
  }

  /** @param {string} name */
  #why(name) {
    const file = logFile(this.#home, name);
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-3) : [];
    return `Its log is ${file}, and ends with:\n${lines.map((line) => `  ${line.slice(0, 400)}`).join('\n')}`;
  }

  #save() {
    if (this.#stopping) return;
    writeRun(
      this.#home,
      [...this.#running.values()].map(({ part, child, ready }) => ({ name: part.name, pid: child.pid ?? 0, port: part.port, ready })),
    );
  }
}

/** What services need, in the order in which it ends. */
const BASE = ['registry', 'kafka'];

/** @param {ChildProcess} child */
const alive = (child) => child.pid !== undefined && child.exitCode === null && child.signalCode === null;

/** @param {Entry} entry @returns {Promise<void>} */
function end({ part, child }) {
  if (!alive(child)) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), part.stopMs);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}
