// What is kept under `.evenkeel/`: secrets, addresses, the list of what runs. Secrets are made once and readable by their owner alone.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from './failure.mjs';

export const PRINCIPALS = ['admin', 'gateway', 'runtime', 'auditor', 'operator'];
export const DEMO_TENANTS = ['fastify', 'pino', 'undici'];
const LEAST_FREE_BYTES = 1_000_000_000;

/** @param {string} home @param {number} port */
export function prepareHome(home, port) {
  mkdirSync(join(home, 'logs'), { recursive: true });
  mkdirSync(join(home, 'data'), { recursive: true });
  const disk = statfsSync(home);
  const free = disk.bavail * disk.bsize;
  if (free < LEAST_FREE_BYTES)
    throw new Failure(`The disk has ${Math.round(free / 1e6)} MB left, and Kafka needs about ${LEAST_FREE_BYTES / 1e6} MB. Free some, then start again.`);
  const file = join(home, 'secrets.json');
  if (!existsSync(file)) writePrivate(file, newSecrets(port));
  const secrets = JSON.parse(readFileSync(file, 'utf8'));
  const { name, publicJwk } = secrets.issuer;
  const jwks = { keys: [{ ...publicJwk, kid: 'local', alg: 'EdDSA', use: 'sig' }] };
  writeFileSync(join(home, 'issuers.json'), JSON.stringify([{ issuer: name, jwks, tenants: '*', roles: ['end_user', 'tenant_admin', 'auditor', 'operator'] }]));
  const { admin: _, ...principals } = secrets.passwords;
  writePrivate(join(home, 'principals.json'), principals);
  return secrets;
}

/** @param {number} port */
function newSecrets(port) {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const names = [...PRINCIPALS, ...DEMO_TENANTS.map((tenant) => `auditor-${tenant}`)];
  return {
    masterKey: randomBytes(32).toString('hex'),
    passwords: Object.fromEntries(names.map((name) => [name, randomBytes(18).toString('base64url')])),
    issuer: { name: `http://127.0.0.1:${port}/local`, privateJwk: privateKey.export({ format: 'jwk' }), publicJwk: publicKey.export({ format: 'jwk' }) },
  };
}

/** @param {string} file @param {unknown} value */
function writePrivate(file, value) {
  writeFileSync(file, JSON.stringify(value, null, 2), { mode: 0o600 });
}

/** @typedef {{ name: string, pid: number, port: number, ready: boolean }} Running */

/** @param {string} home @param {readonly Running[]} processes @param {number | undefined} parent */
export function writeRun(home, processes, parent) {
  const file = join(home, 'run.json');
  writeFileSync(`${file}.part`, JSON.stringify({ parent, processes }, null, 2));
  renameSync(`${file}.part`, file);
}

/** @param {string} home @returns {{ parent?: number, processes: Running[] }} */
export function readRun(home) {
  try {
    return JSON.parse(readFileSync(join(home, 'run.json'), 'utf8'));
  } catch {
    return { processes: [] };
  }
}

/** @param {string} home */
export function resetHome(home) {
  rmSync(home, { recursive: true, force: true });
}
