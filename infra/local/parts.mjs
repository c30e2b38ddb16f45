// The processes of a local platform, their ports and their environments. Everything listens on loopback.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { prepareKafka, spawnKafka } from './kafka.mjs';
import { REGISTRY_PATH, spawnRegistry } from './registry.mjs';
import { answers, listens } from './wait.mjs';

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

/**
 * @typedef {ReturnType<typeof portPlan>} Ports
 * @typedef {{ root: string, home: string, ports: Ports, secrets: any, java: string | undefined, own: boolean }} Place
 */

/** Kafka and registry: those of the environment, or the local ones. @param {Place} place */
export function addresses({ ports, own }) {
  if (own) return { brokers: process.env.KAFKA_BROKERS ?? '', registryUrl: process.env.SCHEMA_REGISTRY_URL ?? '' };
  return { brokers: `127.0.0.1:${ports.kafka}`, registryUrl: `http://127.0.0.1:${ports.registry}${REGISTRY_PATH}` };
}

/** @param {Place} place @param {string} principal */
function kafkaEnv(place, principal) {
  const { brokers, registryUrl } = addresses(place);
  const own = place.own ? { KAFKA_TLS: process.env.KAFKA_TLS ?? 'false' } : {};
  return { KAFKA_BROKERS: brokers, SCHEMA_REGISTRY_URL: registryUrl, KAFKA_USERNAME: principal, KAFKA_PASSWORD: place.secrets.passwords[principal], ...own };
}

/** The provisioner's environment: an administrator's. @param {Place} place */
export function adminEnv(place) {
  const own = place.own ? { KAFKA_USERNAME: process.env.KAFKA_USERNAME, KAFKA_PASSWORD: process.env.KAFKA_PASSWORD } : {};
  return { ...inherited(), ...kafkaEnv(place, 'admin'), ...own, EVENKEEL_PRINCIPALS_FILE: join(place.home, 'principals.json') };
}

/** Of this process's environment only what settings are made of: never a password of the administrator's. */
function inherited() {
  const names = Object.keys(process.env).filter(
    (name) => name.startsWith('EVENKEEL_') || ['PATH', 'HOME', 'TMPDIR', 'LANG', 'NODE_EXTRA_CA_CERTS'].includes(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

/** @param {Place} place */
export function baseParts(place) {
  const { home, ports, secrets } = place;
  const java = place.java ?? 'java';
  const broker = { java, dir: join(home, 'kafka'), port: ports.kafka, controllerPort: ports.controller, adminPassword: secrets.passwords.admin };
  return [
    {
      name: 'kafka',
      port: ports.kafka,
      spawn: (/** @type {import('node:child_process').StdioOptions} */ stdio) => {
        prepareKafka(broker);
        return spawnKafka(broker, stdio);
      },
      ready: () => listens(ports.kafka),
    },
    {
      name: 'registry',
      port: ports.registry,
      spawn: (/** @type {import('node:child_process').StdioOptions} */ stdio) =>
        spawnRegistry({ java, dir: join(home, 'registry'), port: ports.registry }, stdio),
      ready: () => answers(`${addresses(place).registryUrl}/subjects`),
    },
  ];
}

/** @param {Place} place @param {string} name @param {string} principal @param {number} port @param {number} opsPort */
function service(place, name, principal, port, opsPort) {
  const { root, home } = place;
  const env = {
    ...inherited(),
    ...kafkaEnv(place, principal),
    EVENKEEL_MASTER_KEY: place.secrets.masterKey,
    EVENKEEL_DATA_DIR: join(home, 'data', name),
    EVENKEEL_HTTP_PORT: String(port),
    EVENKEEL_OPS_PORT: String(opsPort),
    EVENKEEL_INSTANCE: name,
    EVENKEEL_ISSUERS_FILE: join(home, 'issuers.json'),
  };
  return {
    name,
    port,
    spawn: (/** @type {import('node:child_process').StdioOptions} */ stdio) =>
      spawn(join(root, 'node_modules/.bin/node'), [`services/${principal}/main.ts`], { cwd: root, env, stdio, detached: true }),
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
