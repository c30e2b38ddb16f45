// Every port follows from one base, so that one setting moves them all; and who holds a port that is taken.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { Failure } from './failure.mjs';
import { listens } from './wait.mjs';

/** @param {number} base @param {number} runtimes */
export function portPlan(base, runtimes) {
  return {
    gateway: base,
    gatewayOps: base + 1,
    registry: base + 2,
    kafka: base + 3,
    controller: base + 4,
    auditorOps: base + 5,
    runtimes: Array.from({ length: runtimes }, (_, at) => base + 10 + at),
  };
}

/** @typedef {ReturnType<typeof portPlan>} Ports */

/** The ports that are listened on, with a name for each. @param {Ports} ports @param {boolean} own whether Kafka and registry are the person's own */
export function portsOf(ports, own) {
  const base = [
    ['Kafka', ports.kafka],
    ["Kafka's controller", ports.controller],
    ['the schema registry', ports.registry],
  ];
  const services = [
    ['the gateway', ports.gateway],
    ["the gateway's metrics", ports.gatewayOps],
    ['the auditor', ports.auditorOps],
    ...ports.runtimes.map((port, at) => [`runtime-${at + 1}`, port]),
  ];
  return /** @type {[string, number][]} */ (own ? services : [...services, ...base]);
}

/** @param {Ports} ports @param {boolean} own @throws {Failure} one line: which port, who holds it, and the setting that moves it */
export async function checkPorts(ports, own) {
  for (const [name, port] of portsOf(ports, own))
    if (await listens(port))
      throw new Failure(
        `Port ${port}, for ${name}, is taken by ${portHolder(port)}. Stop it, or move all ports with a setting: EVENKEEL_PORT=${await freeBase(ports, own)} npm start`,
      );
}

/** A base whose ports are all free now. @param {Ports} ports @param {boolean} own */
async function freeBase(ports, own) {
  for (let base = ports.gateway + 1_000; base < 60_000; base += 1_000) {
    const taken = await Promise.all(portsOf(portPlan(base, ports.runtimes.length), own).map(([, port]) => listens(port)));
    if (!taken.includes(true)) return base;
  }
  return 18_080;
}

/** @param {number} port @returns {string} as a person would say it: `java (process 123)` */
export function portHolder(port) {
  return holderByProc(port) ?? holderByLsof(port) ?? 'another program (whose it is cannot be seen from here)';
}

/** Which sockets listen on a port: the inodes in the text of /proc/net/tcp. @param {string} table @param {number} port */
export function listeningInodes(table, port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const LISTEN = '0A';
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(`:${hex}`) && state === LISTEN)
    .map((fields) => fields[9]);
}

/** @param {number} port */
function holderByProc(port) {
  const sockets = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((path) => listeningInodes(textOf(path), port)).map((inode) => `socket:[${inode}]`);
  if (sockets.length === 0) return undefined;
  for (const pid of namesIn('/proc').filter((name) => /^\d+$/.test(name)))
    for (const fd of namesIn(`/proc/${pid}/fd`)) {
      try {
        if (sockets.includes(readlinkSync(`/proc/${pid}/fd/${fd}`))) return `${textOf(`/proc/${pid}/comm`).trim()} (process ${pid})`;
      } catch {
        // It was closed meanwhile.
      }
    }
  return undefined;
}

/** @param {number} port */
function holderByLsof(port) {
  const { stdout } = spawnSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc'], { encoding: 'utf8' });
  const found = /^p(\d+)\nc(.+)$/m.exec(stdout ?? '');
  return found ? `${found[2]} (process ${found[1]})` : undefined;
}

/** @param {string} path */
function textOf(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** @param {string} folder */
function namesIn(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
