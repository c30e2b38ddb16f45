/**
 * What runs on this machine: `npm start` leaves its addresses and secrets under `.evenkeel/`. The environment comes first, so that the same
 * commands work on a cluster of one's own.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LocalSecrets } from '#infra/local/issuer.ts';
import type { TenantId } from '#schemas/ids.ts';
import { SETTINGS, settingOf } from '#services/config.ts';
import { CommandError } from './command.ts';

const HOME = settingOf('home') ?? fileURLToPath(new URL('../../.evenkeel', import.meta.url));
export const PRINCIPALS_FILE = join(HOME, 'principals.json');
export const ADMINISTRATOR = 'admin';
const START = 'Start everything with npm start; npm run status shows what runs.';

export const ROLES = ['end_user', 'tenant_admin', 'auditor', 'operator'] as const;
export type Role = (typeof ROLES)[number];
type Running = { readonly name: string; readonly pid: number; readonly port: number; readonly ready: boolean };
export type Access = {
  readonly brokers: readonly string[];
  readonly username: string;
  readonly password: string;
  readonly tls: boolean;
  readonly registryUrl: string;
};

/** undefined when there is no such file. */
async function readJson(name: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(join(HOME, name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CommandError(`${join(HOME, name)} cannot be read: ${(error as Error).message}.`, 'It was written by npm start; its owner can read it.', {
      cause: error,
    });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CommandError(`${join(HOME, name)} is not JSON.`, 'npm start writes it anew; npm start -- --reset begins from nothing.', { cause });
  }
}

const isAlive = ({ pid }: Running): boolean => {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
};

/** Processes of `run.json` that live; a file left by a killed parent names the dead too. */
async function running(): Promise<readonly Running[]> {
  const { processes } = ((await readJson('run.json')) ?? {}) as { processes?: readonly Running[] };
  return (processes ?? []).filter(isAlive);
}

export async function gatewayUrl(): Promise<string> {
  const set = settingOf('gatewayUrl');
  if (set) return set;
  const processes = await running();
  const gateway = processes.find(({ name }) => name === 'gateway');
  if (gateway) return `http://127.0.0.1:${gateway.port}`;
  if (processes.length > 0)
    throw new CommandError('The gateway is not up.', `npm run status shows what runs; the gateway's own words are in ${join(HOME, 'logs/gateway.log')}.`);
  throw new CommandError('Nothing runs here: there is no gateway to ask.', 'Start everything with npm start, or set EVENKEEL_GATEWAY_URL.');
}

/** The ops ports of the runtimes. */
export async function runtimes(): Promise<readonly string[]> {
  const found = (await running()).filter(({ name }) => name.startsWith('runtime'));
  if (found.length === 0) throw new CommandError('No runtime runs here: there is no live state to compare with.', START);
  return found.map(({ port }) => `http://127.0.0.1:${port}`);
}

/** An administrator's stands with the secrets, which no service is given. */
async function passwordsOf(principal: string): Promise<Readonly<Record<string, unknown>>> {
  if (principal !== ADMINISTRATOR) return ((await readJson('principals.json')) ?? {}) as Readonly<Record<string, unknown>>;
  return ((await readJson('secrets.json')) as { passwords?: Readonly<Record<string, unknown>> } | undefined)?.passwords ?? {};
}

/** Passwords of these principals: those that are known here, and new ones for the others, kept where `npm start` keeps its own. */
export async function keptPasswords(principals: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const known = ((await readJson('principals.json')) ?? {}) as Readonly<Record<string, string>>;
  const secrets = (await readJson('secrets.json')) as { passwords?: Readonly<Record<string, string>> } | undefined;
  const kept = { ...secrets?.passwords, ...known };
  const all = Object.fromEntries(principals.map((name) => [name, kept[name] ?? randomBytes(18).toString('base64url')]));
  await mkdir(HOME, { recursive: true });
  await writeWhole(PRINCIPALS_FILE, { ...known, ...all });
  if (secrets) await writeWhole(join(HOME, 'secrets.json'), { ...secrets, passwords: { ...secrets.passwords, ...all } });
  return all;
}

/** In place at once or not at all, and readable by its owner alone. */
async function writeWhole(file: string, value: unknown): Promise<void> {
  await rm(`${file}.part`, { force: true });
  await writeFile(`${file}.part`, JSON.stringify(value, null, 2), { mode: 0o600, flush: true });
  await rename(`${file}.part`, file);
}

/** Kafka and registry as `principal`: by KAFKA_USERNAME and KAFKA_PASSWORD, or by what `npm start` has provisioned. */
export async function kafkaAccess(principal: string): Promise<Access> {
  const [username, password] = [settingOf('kafkaUsername'), settingOf('kafkaPassword')];
  const processes = await running();
  const port = (name: string) => processes.find((each) => each.name === name)?.port;
  const [kafka, registry] = [port('kafka'), port('registry')];
  const brokers = settingOf('brokers') ?? [kafka ? `127.0.0.1:${kafka}` : (SETTINGS.brokers.fallback as string)];
  const registryUrl = settingOf('registryUrl') ?? moved(SETTINGS.registryUrl.fallback as string, registry);
  const place = { brokers, tls: settingOf('kafkaTls') ?? false, registryUrl };
  if (username !== undefined && password !== undefined) return { ...place, username, password };
  const all = await passwordsOf(principal);
  const known = all[principal];
  if (typeof known === 'string') return { ...place, username: principal, password: known };
  const others = Object.keys(all).length > 0;
  throw new CommandError(
    `There is no password for the Kafka principal ${principal} here.`,
    others
      ? 'Does the tenant exist, and was it made here? npm run tenant -- list shows the tenants, npm run tenant -- create makes one with its principals.'
      : `${START} On a cluster of your own, set KAFKA_BROKERS, KAFKA_USERNAME, KAFKA_PASSWORD and SCHEMA_REGISTRY_URL.`,
  );
}

function moved(url: string, port: number | undefined): string {
  if (port === undefined) return url;
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}

/** A token of the local issuer, whose key never leaves this process; or the one that EVENKEEL_TOKEN holds. */
export async function mint({
  tenant,
  role,
  subject,
}: {
  readonly tenant: TenantId | undefined;
  readonly role: Role;
  readonly subject: string;
}): Promise<string> {
  const given = settingOf('token');
  if (given !== undefined) return given;
  const secrets = await readJson('secrets.json');
  if (secrets === undefined)
    throw new CommandError('There is no local issuer: nothing was started here yet.', `${START} For another issuer, set EVENKEEL_TOKEN.`);
  const { mintToken } = await import('#infra/local/issuer.ts');
  return mintToken(secrets as LocalSecrets, { tenant, role, subject });
}
