// Kafka and the registry from docker-compose.yml, where Java or Maven is missing and an engine answers. Not run yet: see the file's head.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { answers } from './wait.mjs';

const START_MS = 20_000;

export const hasDocker = () => spawnSync('docker', ['info'], { timeout: 5_000 }).status === 0 && spawnSync('docker', ['compose', 'version']).status === 0;

/** @param {{ root: string, home: string, ports: import('./ports.mjs').Ports }} place @param {string[]} args */
function compose({ root, home, ports }, args) {
  const [file, settings] = [join(root, 'docker-compose.yml'), join(home, 'compose.env')];
  return ['compose', '--file', file, '--env-file', settings, '--project-name', `evenkeel-${ports.gateway}`, ...args];
}

/** Containers outlive the client that started them. @param {Parameters<typeof compose>[0]} place @param {boolean} reset */
export function endContainers(place, reset) {
  spawnSync('docker', compose(place, ['down', ...(reset ? ['--volumes'] : [])]));
}

/** @param {Parameters<typeof compose>[0]} place @param {string} registryUrl @returns {import('./supervisor.mjs').Part[]} */
export function dockerParts(place, registryUrl) {
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

/** The engine listens on a published port before the broker does: its health check is asked. @param {Parameters<typeof compose>[0]} place */
async function healthy(place) {
  try {
    const { stdout } = await promisify(execFile)('docker', compose(place, ['ps', '--format', '{{.Health}}', 'kafka']));
    return stdout.trim() === 'healthy';
  } catch {
    return false;
  }
}
