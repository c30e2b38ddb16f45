// The processes of a local platform, their ports and their environments. Everything listens on loopback.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { dockerParts } from './docker.mjs';
import { findJava } from './java.mjs';
import { prepareKafka, spawnKafka } from './kafka.mjs';
import { REGISTRY_PATH, spawnRegistry } from './registry.mjs';
import { answers, listens } from './wait.mjs';

/** A service ends between two transactions. A broker hands over and writes what it knows: else its next start takes longer. */
const STOP_MS = 5_000;
const BASE_STOP_MS = 10_000;
/**
 * Of a service with a million queued requests a bound on the young generation saves 90 MiB of 600, and costs nothing: a young generation of its own accord grows to 128 MiB.
 * Threads that help to collect it wait for each other where all processors are busy, and each fills pages of its own: without them a request
 * costs the runtime 3 % less, and it is 20 MiB smaller.
 */
export const MEMORY = { args: ['--max-semi-space-size=32', '--no-parallel-scavenge'], env: { MALLOC_ARENA_MAX: '2' } };

/**
 * `base`: whose Kafka and registry: the person's own, local processes, or containers.
 * @typedef {import('./ports.mjs').Ports} Ports
 * @typedef {import('node:child_process').StdioOptions} StdioOptions
 * @typedef {{ root: string, home: string, ports: Ports, secrets: any, base: 'own' | 'local' | 'docker' }} Place
 */

/** Kafka and registry: those of the environment, or the local ones. @param {Place} place */
export function addresses({ ports, base }) {
  if (base === 'own') return { brokers: process.env.KAFKA_BROKERS ?? '', registryUrl: process.env.SCHEMA_REGISTRY_URL ?? '' };
  return { brokers: `127.0.0.1:${ports.kafka}`, registryUrl: `http://127.0.0.1:${ports.registry}${REGISTRY_PATH}` };
}

/** @param {Place} place @param {string} principal */
function kafkaEnv(place, principal) {
  const { brokers, registryUrl } = addresses(place);
  const own = place.base === 'own' ? { KAFKA_TLS: process.env.KAFKA_TLS ?? 'false' } : {};
  return { KAFKA_BROKERS: brokers, SCHEMA_REGISTRY_URL: registryUrl, KAFKA_USERNAME: principal, KAFKA_PASSWORD: place.secrets.passwords[principal], ...own };
}

/** The provisioner's environment: an administrator's. @param {Place} place */
export function adminEnv(place) {
  const own = place.base === 'own' ? { KAFKA_USERNAME: process.env.KAFKA_USERNAME, KAFKA_PASSWORD: process.env.KAFKA_PASSWORD } : {};
  return { ...inherited(), ...kafkaEnv(place, 'admin'), ...own, EVENKEEL_PRINCIPALS_FILE: join(place.home, 'principals.json') };
}

/** Of this process's environment only what settings are made of: never a password of the administrator's. */
function inherited() {
  const names = Object.keys(process.env).filter(
    (name) => name.startsWith('EVENKEEL_') || ['PATH', 'HOME', 'TMPDIR', 'LANG', 'NODE_EXTRA_CA_CERTS'].includes(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

/** @param {Place} place @returns {import('./supervisor.mjs').Part[]} */
export function baseParts(place) {
  const { home, ports, secrets } = place;
  const { registryUrl } = addresses(place);
  if (place.base === 'own') return [];
  if (place.base === 'docker') return dockerParts(place, registryUrl);
  const java = findJava();
  const broker = { java, dir: join(home, 'kafka'), port: ports.kafka, controllerPort: ports.controller, adminPassword: secrets.passwords.admin };
  const kafka = (/** @type {StdioOptions} */ stdio) => {
    prepareKafka(broker);
    return spawnKafka(broker, stdio);
  };
  const registry = (/** @type {StdioOptions} */ stdio) => spawnRegistry({ java, dir: join(home, 'registry'), port: ports.registry }, stdio);
  return [
    { name: 'kafka', port: ports.kafka, stopMs: BASE_STOP_MS, spawn: kafka, ready: () => listens(ports.kafka) },
    { name: 'registry', port: ports.registry, stopMs: STOP_MS, spawn: registry, ready: () => answers(`${registryUrl}/subjects`) },
  ];
}

/** @param {Place} place @param {string} name @param {string} principal @param {number} port @param {number} opsPort */
function service(place, name, principal, port, opsPort) {
  const { root, home } = place;
  const env = {
    ...inherited(),
    ...MEMORY.env,
    ...kafkaEnv(place, principal),
    EVENKEEL_MASTER_KEY: place.secrets.masterKey,
    EVENKEEL_DATA_DIR: join(home, 'data', name),
    EVENKEEL_HTTP_PORT: String(port),
    EVENKEEL_OPS_PORT: String(opsPort),
    EVENKEEL_INSTANCE: name,
    EVENKEEL_ISSUERS_FILE: join(home, 'issuers.json'),
    // A fifth of a second less at each further start.
    NODE_COMPILE_CACHE: join(home, 'compiled'),
  };
  return {
    name,
    port,
    stopMs: STOP_MS,
    // The folder is named on the command line too: so a later start, and a person with ps, sees whose process it is.
    spawn: (/** @type {StdioOptions} */ stdio) =>
      spawn(join(root, 'node_modules/.bin/node'), [...MEMORY.args, `services/${principal}/main.ts`, home], { cwd: root, env, stdio, detached: true }),
    ready: () => answers(`http://127.0.0.1:${opsPort}/readyz`),
  };
}

/** @param {Place} place */
export function serviceParts(place) {
  const { ports } = place;
  return [
    service(place, 'gateway', 'gateway', ports.gateway, ports.gatewayOps),
    ...ports.runtimes.map((port, at) => service(place, `runtime-${at + 1}`, 'runtime', port, port)),
    service(place, 'auditor', 'auditor', ports.auditorOps, ports.auditorOps),
  ];
}
