// What is kept under `.evenkeel/`: secrets, addresses, the list of what runs. Secrets are made once and readable by their owner alone.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from './failure.mjs';

export const PRINCIPALS = ['admin', 'gateway', 'runtime', 'auditor', 'operator'];
export const DEMO_TENANTS = ['fastify', 'pino', 'undici'];
const LEAST_FREE_BYTES = 1_000_000_000;
const LONGEST_LOG_BYTES = 20_000_000;

const json = (/** @type {unknown} */ value) => JSON.stringify(value, null, 2);

/** @param {string} home @throws {Failure} */
export function checkDisk(home) {
  mkdirSync(home, { recursive: true });
  const disk = statfsSync(home);
  const free = disk.bavail * disk.bsize;
  if (free < LEAST_FREE_BYTES)
    throw new Failure(
      `The disk of ${home} has ${Math.round(free / 1e6)} MB left, and Kafka needs about ${LEAST_FREE_BYTES / 1e6} MB. Free some, or keep the state elsewhere with the setting EVENKEEL_HOME, then start again.`,
    );
}

/** @param {string} home @param {number} port */
export function prepareHome(home, port) {
  mkdirSync(join(home, 'logs'), { recursive: true });
  mkdirSync(join(home, 'data'), { recursive: true });
  const secrets = completed(readSecrets(home), port);
  writeWhole(join(home, 'secrets.json'), json(secrets), 0o600);
  const { name, publicJwk } = secrets.issuer;
  const jwks = { keys: [{ ...publicJwk, kid: 'local', alg: 'EdDSA', use: 'sig' }] };
  const issuer = { issuer: name, jwks, tenants: '*', roles: ['end_user', 'tenant_admin', 'auditor', 'operator'] };
  writeWhole(join(home, 'issuers.json'), json([issuer]), 0o644);
  const { admin: _, ...principals } = secrets.passwords;
  writeWhole(join(home, 'principals.json'), json(principals), 0o600);
  return secrets;
}

/** @param {string} home */
function readSecrets(home) {
  const file = join(home, 'secrets.json');
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    throw new Failure(`${file} cannot be read, and without its key nothing that was kept can be. Restore it, or begin anew: npm start -- --reset`);
  }
}

/** What was made before is kept; a principal that is new since gets a password. @param {any} kept @param {number} port */
function completed(kept, port) {
  const fresh = newSecrets(port);
  return { ...fresh, ...kept, passwords: { ...fresh.passwords, ...kept?.passwords } };
}

/** @param {number} port */
function newSecrets(port) {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const names = [...PRINCIPALS, ...DEMO_TENANTS.flatMap((tenant) => [`auditor-${tenant}`, `producer-${tenant}`])];
  return {
    masterKey: randomBytes(32).toString('hex'),
    passwords: Object.fromEntries(names.map((name) => [name, randomBytes(18).toString('base64url')])),
    issuer: { name: `http://127.0.0.1:${port}/local`, privateJwk: privateKey.export({ format: 'jwk' }), publicJwk: publicKey.export({ format: 'jwk' }) },
  };
}

/** In place at once or not at all: a full disk or a kill leaves no half a file. @param {string} file @param {string} text @param {number} mode */
export function writeWhole(file, text, mode) {
  const part = `${file}.part`;
  rmSync(part, { force: true });
  writeFileSync(part, text, { mode, flush: true });
  renameSync(part, file);
}

/** @typedef {{ name: string, pid: number, port: number, ready: boolean }} Running */

/** @param {string} home @param {readonly Running[]} processes */
export function writeRun(home, processes) {
  const file = join(home, 'run.json');
  writeFileSync(`${file}.part`, JSON.stringify({ processes }, null, 2));
  renameSync(`${file}.part`, file);
}

/** @param {string} home @returns {{ processes: Running[] }} */
export function readRun(home) {
  try {
    return JSON.parse(readFileSync(join(home, 'run.json'), 'utf8'));
  } catch {
    return { processes: [] };
  }
}

/** Where a child's words go. @param {string} home @param {string} name */
export const logFile = (home, name) => join(home, 'logs', `${name}.log`);

/** A log is kept once more under another name when it has grown long. @param {string} home @param {string} name */
export function turnLog(home, name) {
  const file = logFile(home, name);
  if (existsSync(file) && statSync(file).size > LONGEST_LOG_BYTES) renameSync(file, `${file}.1`);
}

/** All but the lock of the process that does it. @param {string} home @throws {Failure} when the folder does not look like ours */
export function resetHome(home) {
  const names = existsSync(home) ? readdirSync(home).filter((name) => name !== 'start.lock') : [];
  // EVENKEEL_HOME may be any folder: one that was never a home is not emptied.
  if (names.length > 0 && !names.includes('secrets.json') && !names.includes('run.json'))
    throw new Failure(`${home} holds files and no state of Evenkeel's, so --reset does not touch it. Check the setting EVENKEEL_HOME.`);
  for (const name of names) rmSync(join(home, name), { recursive: true, force: true });
}
