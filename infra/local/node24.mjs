// Runs a TypeScript file of the house on Node 24, says what it says, and fails with what it complained of.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Failure } from './failure.mjs';

const LONGEST_COMPLAINT = 1_500;

export class Node24 {
  /** @type {Set<import('node:child_process').ChildProcess>} */
  #running = new Set();
  #root;
  #say;

  /** @param {string} root @param {(line: string) => void} say */
  constructor(root, say) {
    this.#root = root;
    this.#say = say;
  }

  /** @param {string} script @param {NodeJS.ProcessEnv} env @returns {Promise<void>} @throws {Failure} */
  run(script, env) {
    const child = spawn(join(this.#root, 'node_modules/.bin/node'), [script], { cwd: this.#root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#running.add(child);
    let complaint = '';
    createInterface({ input: child.stdout }).on('line', (line) => this.#say(`  ${line}`));
    child.stderr.on('data', (data) => {
      complaint = (complaint + data).slice(-LONGEST_COMPLAINT);
    });
    return new Promise((resolve, reject) => {
      child.once('error', (error) => reject(new Failure(`${script} could not be run: ${error.message}`)));
      child.once('close', (code, signal) => {
        this.#running.delete(child);
        if (code === 0) resolve();
        else reject(new Failure(`${script} failed (${signal ?? `exit ${code}`}):\n${complaint.trim()}`));
      });
    });
  }

  stop() {
    for (const child of this.#running) child.kill('SIGTERM');
  }
}
