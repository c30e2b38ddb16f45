// A parent that was killed leaves children behind: the next start finds them by their pid and their command line, and ends them.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readRun } from './home.mjs';

/** @param {number} pid */
export function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/** @param {number} pid @returns {string} empty when there is no such process */
export function commandOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return spawnSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? '';
  }
}

/** A pid may have been given to a stranger since. @param {string} name @param {string} command */
export function isOurs(name, command) {
  if (name === 'kafka') return command.includes('kafka.Kafka');
  if (name === 'registry') return command.includes('quarkus-run.jar');
  return command.includes(`services/${name.replace(/-\d+$/, '')}/main.ts`);
}

/** @param {string} home @returns {Promise<number>} how many were ended */
export async function endStale(home) {
  const left = readRun(home).processes.filter(({ name, pid }) => alive(pid) && isOurs(name, commandOf(pid)));
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  while (left.some(({ pid }) => alive(pid))) await new Promise((resolve) => setTimeout(resolve, 50));
  return left.length;
}
