// Kafka and the registry from docker-compose.yml, where Java or Maven is missing and an engine answers. What of it was run says the head of docker-compose.yml.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeWhole } from './home.mjs';
import { answers } from './wait.mjs';

const START_MS = 20_000;

export const hasDocker = () => spawnSync('docker', ['info'], { timeout: 5_000 }).status === 0 && spawnSync('docker', ['compose', 'version']).status === 0;

const settingsFile = (/** @type {string} */ home) => join(home, 'compose.env');

/** What docker-compose.yml asks for. @param {import('./ports.mjs').Ports} ports @param {any} secrets */
export function composeSettings(ports, { masterKey, passwords }) {
  return {
    KAFKA_ADMIN_PASSWORD: passwords.admin,
    // For services in containers, of which none are started here.
    KAFKA_SERVICE_PASSWORD: passwords.gateway,
    EVENKEEL_MASTER_KEY: masterKey,
    EVENKEEL_PORT: ports.gateway,
    EVENKEEL_KAFKA_PORT: ports.kafka,
    EVENKEEL_REGISTRY_PORT: ports.registry,
  };
}

/** @typedef {{ root: string, home: string, ports: import('./ports.mjs').Ports }} Where */

/** @param {Where} where @param {string[]} args */
function compose({ root, home, ports }, args) {
  return ['compose', '--file', join(root, 'docker-compose.yml'), '--env-file', settingsFile(home), '--project-name', `evenkeel-${ports.gateway}`, ...args];
}

/** Containers outlive the client that started them. @param {Where} place @param {boolean} reset */
export function endContainers(place, reset) {
  if (existsSync(settingsFile(place.home))) spawnSync('docker', compose(place, ['down', ...(reset ? ['--volumes'] : [])]));
}

/** @param {Where & { secrets: any }} place @param {string} registryUrl @returns {import('./supervisor.mjs').Part[]} */
export function dockerParts(place, registryUrl) {
  const settings = Object.entries(composeSettings(place.ports, place.secrets)).map(([name, value]) => `${name}=${value}\n`);
  writeWhole(settingsFile(place.home), settings.join(''), 0o600);
  const part = (/** @type {string} */ name, /** @type {number} */ port, /** @type {() => Promise<boolean>} */ ready) => ({
    name,
    port,
    stopMs: START_MS,
    spawn: (/** @type {import('node:child_process').StdioOptions} */ stdio) =>
      spawn('docker', compose(place, ['up', '--no-deps', '--abort-on-container-exit', name]), { stdio, detached: true }),
    ready,
  });
  return [part('kafka', place.ports.kafka, () => healthy(place)), part('registry', place.ports.registry, () => answers(`${registryUrl}/subjects`))];
}

/** The engine listens on a published port before the broker does: its health check is asked. @param {Where} place */
async function healthy(place) {
  try {
    const { stdout } = await promisify(execFile)('docker', compose(place, ['ps', '--format', '{{.Health}}', 'kafka']));
    return stdout.trim() === 'healthy';
  } catch {
    return false;
  }
}
