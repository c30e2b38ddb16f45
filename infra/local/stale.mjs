// A parent that was killed leaves children behind: the next start finds them by their pid and their command line, and ends them.
import { spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from './failure.mjs';
import { readRun } from './home.mjs';

const KAFKA_ENDS_WITHIN_MS = 5_000;

/** @param {number} pid */
export function alive(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
  // One that has ended and was not reaped yet, as in a container without an init, still takes signals.
  return statOf(pid)[0] !== 'Z';
}

/** The fields of /proc/<pid>/stat after the name, which may hold spaces; none where there is no /proc. @param {number} pid */
function statOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}

/** @param {number} pid @returns {string} empty when there is no such process */
export function commandOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? '';
  }
}

/** A pid may have been given to a stranger since, or to another checkout's child. @param {string} name @param {string} command @param {string} home */
export function isOurs(name, command, home) {
  if (!command.includes(home)) return false;
  if (name === 'kafka') return command.includes('kafka.Kafka') || command.includes('compose');
  if (name === 'registry') return command.includes('quarkus-run.jar') || command.includes('compose');
  return command.includes(`services/${name.replace(/-\d+$/, '')}/main.ts`);
}

/** @param {string} home @returns {Promise<string[]>} the names of those that were ended */
export async function endStale(home) {
  const left = readRun(home).processes.filter(({ name, pid }) => pid > 0 && alive(pid) && isOurs(name, commandOf(pid), home));
  // A broker that says good-bye is taken back at once; one that was killed has to wait for its old session to run out.
  for (const { name, pid } of left) signal(pid, name === 'kafka' ? 'SIGTERM' : 'SIGKILL');
  const patience = Date.now() + KAFKA_ENDS_WITHIN_MS;
  while (left.some(({ pid }) => alive(pid))) {
    if (Date.now() > patience) for (const { pid } of left) signal(pid, 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return left.map(({ name }) => name);
}

/** It may have ended meanwhile. @param {number} pid @param {NodeJS.Signals} name */
function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error;
  }
}

/** When a process began, as text: with its pid it is known for good. @param {number} pid */
function birthOf(pid) {
  const START_TIME = 19;
  return statOf(pid)[START_TIME] ?? (spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? '').trim();
}

/** @param {string} home @returns {number | undefined} the process that runs this home now */
export function parentOf(home) {
  try {
    const { pid, birth } = JSON.parse(readFileSync(join(home, 'start.lock'), 'utf8'));
    return alive(pid) && birthOf(pid) === birth ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** One parent for one home. @param {string} home @returns {() => void} gives it back @throws {Failure} when it runs already */
export function takeHome(home) {
  const [file, part] = [join(home, 'start.lock'), join(home, `start.lock.${process.pid}`)];
  mkdirSync(home, { recursive: true });
  for (let tries = 0; tries < 3; tries++) {
    writeFileSync(part, JSON.stringify({ pid: process.pid, birth: birthOf(process.pid) }));
    try {
      // A link appears whole or not at all: nobody ever reads half a lock.
      linkSync(part, file);
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    } finally {
      rmSync(part, { force: true });
    }
    const parent = parentOf(home);
    if (parent !== undefined)
      throw new Failure(`It runs already (process ${parent}). npm run status shows it; to stop it, press Ctrl-C where it was started, or: kill ${parent}`);
    rmSync(file, { force: true });
  }
  throw new Failure(`Another start takes ${home} at this moment. npm run status shows what runs.`);
}
