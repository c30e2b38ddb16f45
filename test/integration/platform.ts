/** The whole platform as a user starts it: real processes, in a folder and on ports of their own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalSecrets, mintToken, type TokenOf } from '#infra/local/issuer.ts';
import { type Codec, createCodec, type Decoded } from '#schemas/codec.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';

type Secrets = LocalSecrets & { readonly masterKey: string; readonly passwords: Readonly<Record<string, string>> };
export type Logged = Decoded & { readonly partition: number; readonly offset: number };

export class Platform {
  readonly home = mkdtempSync(join(tmpdir(), 'evenkeel-platform-'));
  /** Below the ports that the system gives to outgoing connections, from 32768 on. */
  readonly port = 20_000 + Math.floor(Math.random() * 120) * 100;
  readonly url = `http://127.0.0.1:${this.port}`;
  readonly brokers = [`127.0.0.1:${this.port + 3}`];
  readonly registryUrl = `http://127.0.0.1:${this.port + 2}/apis/ccompat/v7`;
  readonly env: NodeJS.ProcessEnv;
  codec!: Codec;
  said = '';
  #child: ChildProcess | undefined;

  constructor(env: Record<string, string>) {
    const { KAFKA_BROKERS: _, ...inherited } = process.env;
    this.env = { ...inherited, ...env, EVENKEEL_HOME: this.home, EVENKEEL_PORT: String(this.port), EVENKEEL_GATEWAY_URL: this.url };
  }

  async start(...args: readonly string[]): Promise<void> {
    const child = spawn(process.execPath, ['infra/start.mjs', ...args], { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const from = this.said.length;
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => (this.said += data.toString()));
    await this.until('the platform to be ready', 120_000, () => {
      if (child.exitCode !== null) throw new Error(`npm start ended:\n${this.said}`);
      return this.said.slice(from).includes('Evenkeel is ready');
    });
    this.codec = createCodec(await loadSchemas(this.registryUrl));
  }

  /** As Ctrl-C does. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGINT');
    await ended;
  }
  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
  /** kill -9 of the parent: its children go on without it. */
  async killParent(): Promise<void> {
    const child = this.#child as ChildProcess;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  get secrets(): Secrets {
    return JSON.parse(readFileSync(join(this.home, 'secrets.json'), 'utf8')) as Secrets;
  }
  processes(): readonly { readonly name: string; readonly pid: number; readonly port: number; readonly ready: boolean }[] {
    return (JSON.parse(readFileSync(join(this.home, 'run.json'), 'utf8')) as { processes: ReturnType<Platform['processes']> }).processes;
  }
  pid(name: string): number {
    const found = this.processes().find((each) => each.name === name);
    if (!found) throw new Error(`${name} does not run`);
    return found.pid;
  }

  token(of: Partial<TokenOf> & Pick<TokenOf, 'role'>): Promise<string> {
    return mintToken(this.secrets, { tenant: undefined, subject: 'tester', ...of });
  }

  async call(method: string, path: string, token: string | undefined, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    // biome-ignore lint/suspicious/noExplicitAny: a test looks at what the gateway really says.
    return { status: response.status, headers: response.headers, json: (text.startsWith('{') ? JSON.parse(text) : { text }) as any };
  }

  /** Publishes and waits for the end. */
  async ask(tenant: string, message: string, more: object = {}) {
    const token = await this.token({ tenant, role: 'end_user' });
    const { status, json } = await this.call('POST', '/v1/requests', token, { message, ...more });
    if (status !== 202) throw new Error(`not taken: ${JSON.stringify(json)}`);
    return this.finished(token, json.request_id);
  }
  async finished(token: string, id: string) {
    let last: Awaited<ReturnType<Platform['call']>> | undefined;
    await this.until(`${id} to finish`, 60_000, async () => {
      last = await this.call('GET', `/v1/requests/${id}`, token);
      return last.json.stage === 'finished';
    });
    return last?.json;
  }

  async until(what: string, ms: number, condition: () => boolean | Promise<boolean>): Promise<void> {
    for (const end = Date.now() + ms; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50))) if (await condition()) return;
    throw new Error(`waited ${ms} ms for ${what}`);
  }

  client(principal: string) {
    return createKafka({ brokers: this.brokers, username: principal, password: this.secrets.passwords[principal], clientId: `test.${principal}` });
  }

  /** Everything on a topic, decoded, by an administrator. */
  async topic(topic: string, partitions: number): Promise<readonly Logged[]> {
    const reader = new Reader(this.client('admin'), () => undefined);
    try {
      const all: Logged[] = [];
      for (let partition = 0; partition < partitions; partition++)
        for await (const { records } of reader.read(topic, partition, 0))
          for (const { value, offset } of records) if (value) all.push({ ...this.codec.decode(value), partition, offset });
      return all;
    } finally {
      await reader.close();
    }
  }

  /** One of the documented commands; throws with what it said when it exits non-zero. */
  run(script: string, ...args: readonly string[]): string {
    return execFileSync('npm', ['run', '--silent', script, '--', ...args], { env: this.env, encoding: 'utf8', timeout: 60_000 });
  }
}
