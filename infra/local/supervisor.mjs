// Children and their ends: a child that dies is started again, and one that is asked to stop is not.
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { writeRun } from './home.mjs';

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */
/** @typedef {{ name: string, port: number, spawn: (stdio: import('node:child_process').StdioOptions) => ChildProcess, ready: () => Promise<boolean> }} Part */

const BACKOFF_MS = [100, 500, 1_000, 2_000, 5_000];
const STOP_WITHIN_MS = 8_000;

export class Supervisor {
  /** @type {Map<string, { part: Part, child: ChildProcess, ready: boolean, failures: number }>} */
  #running = new Map();
  #stopping = false;
  #home;
  #say;

  /** @param {string} home @param {(line: string) => void} say */
  constructor(home, say) {
    this.#home = home;
    this.#say = say;
  }

  /** Starts it and waits until it is ready. @param {Part} part @param {number} withinMs */
  async start(part, withinMs) {
    this.#spawn(part, 0);
    await this.#untilReady(part, withinMs);
  }

  /** Services first, then what they need. */
  async stop() {
    this.#stopping = true;
    const names = [...this.#running.keys()].reverse();
    for (const group of [names.filter((name) => !isBase(name)), names.filter(isBase)]) await Promise.all(group.map((name) => this.#end(name)));
    writeRun(this.#home, [], undefined);
  }

  /** @param {Part} part @param {number} failures */
  #spawn(part, failures) {
    const out = openSync(join(this.#home, 'logs', `${part.name}.log`), 'a');
    const child = part.spawn(['ignore', out, out]);
    this.#running.set(part.name, { part, child, ready: false, failures });
    child.once('exit', (code, signal) => this.#exited(part, code, signal));
    child.once('error', (error) => this.#say(`${part.name} could not be started: ${error.message}`));
    this.#save();
  }

  /** @param {Part} part @param {number | null} code @param {string | null} signal */
  #exited(part, code, signal) {
    const entry = this.#running.get(part.name);
    if (this.#stopping || !entry) return;
    entry.ready = false;
    this.#save();
    if (process.env.EVENKEEL_NO_RESTART === '1') {
      this.#say(`${part.name} ended (${signal ?? code})`);
      return;
    }
    const wait = BACKOFF_MS[Math.min(entry.failures, BACKOFF_MS.length - 1)];
    this.#say(`${part.name} ended (${signal ?? `exit ${code}`}), starting it again; its log is .evenkeel/logs/${part.name}.log`);
    setTimeout(() => {
      if (this.#stopping) return;
      this.#spawn(part, entry.failures + 1);
      this.#untilReady(part, 60_000).catch((error) => this.#say(error.message));
    }, wait);
  }

  /** @param {Part} part @param {number} withinMs */
  async #untilReady(part, withinMs) {
    for (const end = Date.now() + withinMs; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50))) {
      if (this.#stopping || !(await part.ready())) continue;
      const entry = this.#running.get(part.name);
      if (entry) Object.assign(entry, { ready: true, failures: 0 });
      this.#save();
      return;
    }
    throw new Error(`${part.name} did not become ready within ${withinMs / 1_000} s; its log is .evenkeel/logs/${part.name}.log`);
  }

  /** @param {string} name */
  #end(name) {
    const entry = this.#running.get(name);
    this.#running.delete(name);
    if (!entry || entry.child.exitCode !== null || entry.child.signalCode !== null) return Promise.resolve();
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = setTimeout(() => entry.child.kill('SIGKILL'), STOP_WITHIN_MS);
        entry.child.once('exit', () => {
          clearTimeout(timer);
          resolve();
        });
        entry.child.kill('SIGTERM');
      })
    );
  }

  #save() {
    const processes = [...this.#running.values()].map(({ part, child, ready }) => ({ name: part.name, pid: child.pid ?? 0, port: part.port, ready }));
    writeRun(this.#home, processes, process.pid);
  }
}

/** @param {string} name */
const isBase = (name) => name === 'kafka' || name === 'registry';
