/**
 * The platform's real processes on brokers of their own, with what a test needs to hurt them: each service is supervised as `npm start`
 * does it, its ends are written down, and something may be done while it is down.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareHome } from '#infra/local/home.mjs';
import { type LocalSecrets, mintToken, type TokenOf } from '#infra/local/issuer.ts';
import { type Part, Supervisor } from '#infra/local/supervisor.mjs';
import { answers, freePort, until } from '#infra/local/wait.mjs';
import { type RunningKafka, startKafka, TEST_PASSWORDS } from '../start-kafka.ts';
import type { Armed } from './boundaries.ts';
import type { Cluster } from './read.ts';
import { TENANTS } from './tenants.ts';

export const PARTITION_CAP = 24;
const READY_WITHIN_MS = 90_000;
/** Room for the stores of eight partitions, each with a write-ahead log whose place is taken in advance. */
const SMALL_DISK_MB = 512;
const STOP_MS = 5_000;
const MODEL_DELAY_MS = 40;
export type End = { readonly name: string; readonly code: number | null; readonly signal: string | null };

type Secrets = LocalSecrets & { readonly masterKey: string };
/** `preload`: a file loaded before the service's own code. */
type Service = { readonly principal: string; readonly username: string; readonly password: string; readonly opsPort: number; readonly preload: string };

export class Platform {
  readonly home = mkdtempSync(join(tmpdir(), 'evenkeel-chaos-'));
  readonly ends: End[] = [];
  readonly said: string[] = [];
  readonly #supervisor = new Supervisor(this.home, (line) => this.said.push(line));
  readonly #whileDown = new Map<string, () => void>();
  readonly #children = new Map<string, ChildProcess>();
  #kafka!: RunningKafka;
  #secrets!: Secrets;
  readonly #mounted: string[] = [];
  #port = 0;

  /** `small`: a runtime whose data folder is a small disk of its own. */
  async start(brokers: 1 | 3, runtimes: readonly string[], small?: string): Promise<void> {
    process.once('exit', this.#endNow);
    this.#kafka = await startKafka({ brokers, registry: true });
    this.#port = await freePort();
    this.#secrets = prepareHome(this.home, this.#port) as Secrets;
    const passwords = { ...TEST_PASSWORDS, ...Object.fromEntries(TENANTS.map(({ name }) => [`auditor-${name}`, `${name}-secret`])) };
    writeFileSync(join(this.home, 'principals.json'), JSON.stringify(passwords), { mode: 0o600 });
    if (small !== undefined) this.#mountSmall(small);
    await this.node(['infra/provision.ts']);
    await Promise.all(['gateway', ...runtimes, 'auditor'].map((name) => this.startService(name)));
    this.#supervisor.watch();
  }

  /** `keep`: what the brokers hold stays on disk, to be looked at. */
  async stop(keep = false): Promise<void> {
    for (const name of this.#children.keys()) this.signal(name, 'SIGCONT');
    await this.#supervisor.stop();
    process.off('exit', this.#endNow);
    this.#endNow();
    await this.#kafka?.stop(keep);
  }
  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }
  get cluster(): Cluster {
    const { brokers, admin, registryUrl } = this.#kafka;
    return { brokers, ...admin, registryUrl };
  }
  get kafka(): RunningKafka {
    return this.#kafka;
  }
  get masterKey(): string {
    return this.#secrets.masterKey;
  }
  dataDir(name: string): string {
    return join(this.home, 'data', name);
  }
  log(name: string): string {
    const file = join(this.home, 'logs', `${name}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  async startService(name: string): Promise<void> {
    const principal = name.replace(/-.*$/, '');
    const password = (TEST_PASSWORDS as Record<string, string>)[principal] as string;
    const service = { principal, username: principal, password, opsPort: await freePort(), preload: 'boundaries.ts' };
    await this.#supervisor.start(this.#part(name, service), READY_WITHIN_MS);
  }

  /** A run that is interrupted leaves nothing behind. */
  readonly #endNow = (): void => {
    for (const child of this.#children.values()) child.kill('SIGKILL');
    for (const dir of this.#mounted) spawnSync('umount', ['-l', dir]);
  };

  /** Beside the others, and not supervised: once killed it is gone. */
  async startAlone(name: string, preload: string): Promise<void> {
    // Its own group is another, for which no rights are provisioned.
    const part = this.#part(name, { principal: 'runtime', username: 'admin', password: 'admin-secret', opsPort: await freePort(), preload });
    mkdirSync(join(this.home, 'logs'), { recursive: true });
    const out = openSync(join(this.home, 'logs', `${name}.log`), 'a');
    part.spawn(['ignore', out, out]);
    closeSync(out);
    await this.until(`${name} to be ready`, READY_WITHIN_MS, part.ready);
  }

  pid(name: string): number {
    const child = this.#children.get(name);
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) throw new Error(`${name} does not run`);
    return child.pid;
  }
  signal(name: string, signal: NodeJS.Signals): void {
    this.#children.get(name)?.kill(signal);
  }
  endsOf(name: string): readonly End[] {
    return this.ends.filter((end) => end.name === name);
  }

  /** kill -9; the supervisor starts it again, after `whileDown`. */
  async kill(name: string, whileDown?: () => void): Promise<void> {
    const before = this.endsOf(name).length;
    if (whileDown) this.#whileDown.set(name, whileDown);
    this.signal(name, 'SIGKILL');
    await this.until(`the end of ${name}`, 10_000, () => this.endsOf(name).length > before);
  }

  /** The process dies when it reaches the boundary for the n-th time: from now on, or from its next start. */
  arm(name: string, armed: Armed, now: boolean): void {
    writeFileSync(join(this.home, `${name}.arm`), JSON.stringify(armed));
    rmSync(join(this.home, `${name}.hit`), { force: true });
    if (now) this.signal(name, 'SIGUSR2');
  }
  hit(name: string): boolean {
    return existsSync(join(this.home, `${name}.hit`));
  }

  ready(name: string): Promise<boolean> {
    const { processes } = JSON.parse(readFileSync(join(this.home, 'run.json'), 'utf8')) as { processes: { name: string; opsPort?: number; ready: boolean }[] };
    return Promise.resolve(processes.some((each) => each.name === name && each.ready));
  }

  token(of: Partial<TokenOf> & Pick<TokenOf, 'role'>): Promise<string> {
    return mintToken(this.#secrets, { tenant: undefined, subject: 'chaos', ...of });
  }

  /** Runs a file of the house on this platform. @returns what it printed @throws with what it said when it exits non-zero and no `take` is given */
  node(args: readonly string[], take?: (code: number | null) => boolean): Promise<string> {
    const child = spawn(process.execPath, args, { env: this.#env('admin', 'admin-secret'), stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, complaint] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (complaint += data.toString()));
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        if (code === 0 || (take?.(code) && out !== '')) resolve(out);
        else reject(new Error(`${args.join(' ')} exited with ${code}: ${complaint.slice(-2_000)}${out.slice(-500)}`));
      });
    });
  }

  async until(what: string, ms: number, condition: () => boolean | Promise<boolean>): Promise<void> {
    await until(what, ms, async () => condition());
  }

  #mountSmall(name: string): void {
    const dir = this.dataDir(name);
    mkdirSync(dir, { recursive: true });
    const failed = mountSmall(dir);
    if (failed) throw new Error(`a small disk for ${name} could not be mounted: ${failed}`);
    this.#mounted.push(dir);
  }

  #part(name: string, { principal, username, password, opsPort, preload }: Service): Part {
    const env = { ...this.#env(username, password), EVENKEEL_DATA_DIR: this.dataDir(name), EVENKEEL_OPS_PORT: String(opsPort), EVENKEEL_INSTANCE: name };
    const args = ['--import', join(import.meta.dirname, preload), `services/${principal}/main.ts`, this.home];
    mkdirSync(this.dataDir(name), { recursive: true });
    return {
      name,
      port: opsPort,
      stopMs: STOP_MS,
      spawn: (stdio) => {
        this.#whileDown.get(name)?.();
        this.#whileDown.delete(name);
        const child = spawn(process.execPath, args, { env, stdio });
        child.once('exit', (code, signal) => this.ends.push({ name, code, signal }));
        this.#children.set(name, child);
        return child;
      },
      ready: () => answers(`http://127.0.0.1:${opsPort}/readyz`),
    };
  }

  #env(username: string, password: string): NodeJS.ProcessEnv {
    const { PATH, HOME } = process.env;
    return {
      PATH,
      HOME,
      KAFKA_BROKERS: this.#kafka.brokers.join(','),
      KAFKA_USERNAME: username,
      KAFKA_PASSWORD: password,
      SCHEMA_REGISTRY_URL: this.#kafka.registryUrl,
      EVENKEEL_PRINCIPALS_FILE: join(this.home, 'principals.json'),
      EVENKEEL_MASTER_KEY: this.#secrets.masterKey,
      EVENKEEL_HTTP_PORT: String(this.#port),
      EVENKEEL_ISSUERS_FILE: join(this.home, 'issuers.json'),
      EVENKEEL_HOME: this.home,
      EVENKEEL_IN_FLIGHT_PER_PARTITION: String(PARTITION_CAP),
      EVENKEEL_MODEL_DELAY_MS: String(MODEL_DELAY_MS),
      EVENKEEL_CHAOS_DIR: this.home,
    };
  }
}

function mountSmall(dir: string): string | undefined {
  const { status, stderr, error } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_MB}m`, 'chaos', dir], { encoding: 'utf8' });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

/** Why no small disk can be had here; undefined when one can. */
export function cannotMount(): string | undefined {
  const dir = mkdtempSync(join(tmpdir(), 'evenkeel-mount-'));
  const failed = mountSmall(dir);
  if (failed === undefined) spawnSync('umount', [dir]);
  rmSync(dir, { recursive: true, force: true });
  return failed;
}
