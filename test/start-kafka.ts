/**
 * One real Kafka, and a registry where it is asked for, for all tests that need them: local processes on free ports, in a folder of their own.
 * With EVENKEEL_TEST_KAFKA set (the JSON of a `TestKafka`), the one that runs there is used.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { downloadParts } from '#infra/local/download.mjs';
import { ensureJava, findJava } from '#infra/local/java.mjs';
import { type Broker, prepareKafka, spawnKafka } from '#infra/local/kafka.mjs';
import { REGISTRY_PATH, spawnRegistry } from '#infra/local/registry.mjs';
import { answers, freePort, listens, until } from '#infra/local/wait.mjs';

export type TestKafka = {
  readonly brokers: string[];
  /** Empty when no registry was asked for. */
  readonly registryUrl: string;
  readonly admin: { readonly username: string; readonly password: string };
  readonly dataDir: string;
  /** Of the brokers as they were started, in their order: for a test that stops and continues them. */
  readonly pids: readonly number[];
};
export type RunningKafka = TestKafka & {
  /** `keep`: what the brokers hold stays on disk. */
  stop(keep?: boolean): Promise<void>;
  /** kill -9 of one broker, by its place in `brokers`. */
  kill(broker: number): Promise<void>;
  /** Starts a killed broker again on its data, and waits until it listens. */
  restart(broker: number): Promise<void>;
};
export type KafkaOptions = { readonly brokers?: 1 | 3; readonly registry?: boolean };

/** Passwords of the services and of two tenants' auditors and producers; the provisioner's file. */
export const TEST_PASSWORDS = {
  gateway: 'gateway-secret',
  runtime: 'runtime-secret',
  auditor: 'auditor-secret',
  operator: 'operator-secret',
  'auditor-acme': 'acme-secret',
  'auditor-globex': 'globex-secret',
  'producer-acme': 'acme-producer-secret',
  'producer-globex': 'globex-producer-secret',
};
const ADMIN = { username: 'admin', password: 'admin-secret' };
const WITHIN_MS = 90_000;

/** With a registry, topics, principals, ACLs and schemas are provisioned too. */
export async function startKafka({ brokers: count = 1, registry = false }: KafkaOptions = {}): Promise<RunningKafka> {
  const running = process.env.EVENKEEL_TEST_KAFKA;
  if (running) return attached(JSON.parse(running) as TestKafka);
  await ensureJava(console.error);
  await downloadParts(console.error);
  const dataDir = mkdtempSync(join(tmpdir(), 'evenkeel-kafka-'));
  const cluster = new Cluster(await plan(count, dataDir), dataDir);
  // A run that is interrupted leaves no broker behind.
  const endNow = () => cluster.remove();
  process.once('exit', endNow);
  try {
    const [registryUrl] = await Promise.all([registry ? cluster.startRegistry() : '', cluster.startAll()]);
    const kafka = { brokers: cluster.addresses, registryUrl, admin: ADMIN, dataDir, pids: cluster.pids };
    if (registry) await provisionTests(kafka, dataDir);
    const stop = async (keep = false) => {
      process.off('exit', endNow);
      await cluster.stop(keep);
    };
    return { ...kafka, stop, kill: (broker) => cluster.end(broker), restart: (broker) => cluster.start(broker) };
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

function attached(kafka: TestKafka): RunningKafka {
  const refuse = () => Promise.reject(new Error('this Kafka was started by someone else: unset EVENKEEL_TEST_KAFKA for a test that kills brokers'));
  return { ...kafka, stop: () => Promise.resolve(), kill: refuse, restart: refuse };
}

async function plan(count: number, dataDir: string): Promise<Broker[]> {
  const java = findJava();
  const ports = await Promise.all(Array.from({ length: count * 2 }, freePort));
  const voters = Array.from({ length: count }, (_, at) => ({ id: at + 1, controllerPort: ports[count + at] as number }));
  return voters.map(({ id, controllerPort }) => ({
    java,
    dir: join(dataDir, `kafka-${id}`),
    id,
    port: ports[id - 1] as number,
    controllerPort,
    adminPassword: ADMIN.password,
    ...(count > 1 ? { heap: '384m', voters } : {}),
  }));
}

class Cluster {
  readonly #brokers: readonly Broker[];
  readonly #dataDir: string;
  readonly #running = new Map<string, ChildProcess>();

  constructor(brokers: readonly Broker[], dataDir: string) {
    this.#brokers = brokers;
    this.#dataDir = dataDir;
  }

  get addresses(): string[] {
    return this.#brokers.map(({ port }) => `127.0.0.1:${port}`);
  }

  get pids(): number[] {
    return this.#brokers.map(({ dir }) => this.#running.get(dir)?.pid ?? 0);
  }

  /** Formatted first, then started together: a quorum needs its majority. */
  async startAll(): Promise<void> {
    for (const broker of this.#brokers) prepareKafka(broker);
    await Promise.all(this.#brokers.map((_, at) => this.start(at)));
  }

  async start(at: number): Promise<void> {
    const broker = this.#broker(at);
    if (this.#running.has(broker.dir)) return;
    this.#run(broker.dir, `kafka-${at + 1}`, (out) => spawnKafka(broker, ['ignore', out, out]));
    await this.#until(broker.dir, `kafka-${at + 1}`, () => listens(broker.port));
  }

  async startRegistry(): Promise<string> {
    const [dir, port] = [join(this.#dataDir, 'registry'), await freePort()];
    const url = `http://127.0.0.1:${port}${REGISTRY_PATH}`;
    this.#run(dir, 'registry', (out) => spawnRegistry({ java: findJava(), dir, port }, ['ignore', out, out]));
    await this.#until(dir, 'registry', () => answers(`${url}/subjects`));
    return url;
  }

  async end(at: number): Promise<void> {
    await this.#end(this.#broker(at).dir);
  }

  kill(): void {
    for (const child of this.#running.values()) child.kill('SIGKILL');
  }

  /** At once, without waiting for any end. */
  remove(): void {
    this.kill();
    rmSync(this.#dataDir, { recursive: true, force: true });
  }

  async stop(keep = false): Promise<void> {
    await Promise.all([...this.#running.keys()].map((dir) => this.#end(dir)));
    if (!keep) rmSync(this.#dataDir, { recursive: true, force: true });
  }

  #broker(at: number): Broker {
    const found = this.#brokers[at];
    if (!found) throw new Error(`there are ${this.#brokers.length} brokers, and no ${at}`);
    return found;
  }

  #log(name: string): string {
    return join(this.#dataDir, `${name}.log`);
  }

  #run(dir: string, name: string, start: (out: number) => ChildProcess): void {
    const out = openSync(this.#log(name), 'a');
    this.#running.set(dir, start(out));
    closeSync(out);
  }

  async #until(dir: string, name: string, ready: () => Promise<boolean>): Promise<void> {
    await until(name, WITHIN_MS, async () => {
      const child = this.#running.get(dir);
      if (child && child.exitCode === null && child.signalCode === null) return ready();
      throw new Error(`${name} ended at its start:\n${readFileSync(this.#log(name), 'utf8').slice(-2_000)}`);
    });
  }

  async #end(dir: string): Promise<void> {
    const child = this.#running.get(dir);
    this.#running.delete(dir);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
}

function provisionTests({ brokers, registryUrl, admin }: TestKafka, dir: string): Promise<void> {
  const file = join(dir, 'principals.json');
  writeFileSync(file, JSON.stringify(TEST_PASSWORDS));
  const env = {
    ...process.env,
    KAFKA_BROKERS: brokers.join(','),
    KAFKA_USERNAME: admin.username,
    KAFKA_PASSWORD: admin.password,
    SCHEMA_REGISTRY_URL: registryUrl,
    EVENKEEL_PRINCIPALS_FILE: file,
  };
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['infra/provision.ts'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`the provisioner exited with ${code}`))));
  });
}
