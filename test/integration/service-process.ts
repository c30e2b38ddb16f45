/** A service as a process of its own on the tests' Kafka. Whatever is started again under the same name has the same data. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '#infra/local/wait.mjs';
import { TEST_PASSWORDS, type TestKafka } from '#test/start-kafka.ts';

/** One for all: what one test has left on the topics, another's service can still read. */
export const TEST_MASTER_KEY = 'c0ffee42'.repeat(8);

type Line = { readonly time: number; readonly level: number; readonly msg: string; readonly partition?: number };

export class ServiceProcess {
  readonly #service: 'runtime' | 'gateway';
  readonly #dir = mkdtempSync(join(tmpdir(), 'evenkeel-runtime-'));
  readonly #kafka: TestKafka;
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #port = 0;
  #said = '';
  /** Exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals | null> = Promise.resolve(null);

  constructor(service: 'runtime' | 'gateway', kafka: TestKafka, env: Readonly<Record<string, string>> = {}) {
    this.#service = service;
    this.#kafka = kafka;
    this.#env = env;
  }

  async start(): Promise<void> {
    this.#port = await freePort();
    const env = {
      ...process.env,
      KAFKA_BROKERS: this.#kafka.brokers.join(','),
      KAFKA_USERNAME: this.#service,
      KAFKA_PASSWORD: TEST_PASSWORDS[this.#service],
      SCHEMA_REGISTRY_URL: this.#kafka.registryUrl,
      EVENKEEL_MASTER_KEY: TEST_MASTER_KEY,
      EVENKEEL_DATA_DIR: this.#dir,
      EVENKEEL_OPS_PORT: String(this.#port),
      ...this.#env,
    };
    const child = spawn(process.execPath, [`services/${this.#service}/main.ts`], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (this.#said += data.toString()));
    this.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  }

  /** Since its last start. */
  get log(): readonly Line[] {
    return this.#said
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Line);
  }
  /** Each time a partition was opened, in order, since the last start. */
  get opened(): readonly number[] {
    return this.log.flatMap(({ msg, partition }) => (msg === 'partition opened' && partition !== undefined ? [partition] : []));
  }

  async get(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, { signal: AbortSignal.timeout(2_000) });
    return { status: response.status, body: await response.text() };
  }
  async ready(): Promise<boolean> {
    return this.get('/readyz').then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals | null> {
    this.#child?.kill(signal);
    return this.ended;
  }
  /** It leaves the group: the next one need not wait for its session to end. */
  async remove(): Promise<void> {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) await this.end();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
