// Every port follows from one base, so that one setting moves them all; and who holds a port that is taken.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { Failure } from './failure.mjs';
import { cannotListen, listens } from './wait.mjs';

export const DEFAULT_PORT = 8_080;

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
  for (const [name, port] of portsOf(ports, own)) {
    const why = await taken(port);
    if (why === undefined) continue;
    const held = why === 'EADDRINUSE' ? `is taken by ${portHolder(port)}. Stop it, or` : `may not be listened on (${why}):`;
    throw new Failure(`Port ${port}, for ${name}, ${held} move all ports with a setting: EVENKEEL_PORT=${await freeBase(ports, own)} npm start`);
  }
}

/** @param {number} port @returns {Promise<string | undefined>} why, as a code */
async function taken(port) {
  // Where another listens on all addresses, some systems let us listen on ours all the same.
  return (await listens(port)) ? 'EADDRINUSE' : cannotListen(port);
}

/** A base whose ports are all free now. @param {Ports} ports @param {boolean} own */
async function freeBase(ports, own) {
  // Connections get their ports from 32768 on: none of ours stays free there.
  for (let base = DEFAULT_PORT + 1_000; base < 32_000; base += 1_000) {
    const codes = await Promise.all(portsOf(portPlan(base, ports.runtimes.length), own).map(([, port]) => taken(port)));
    if (codes.every((code) => code === undefined)) return base;
  }
  return DEFAULT_PORT;
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
