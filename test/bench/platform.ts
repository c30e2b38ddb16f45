/** The parts that a benchmark runs against: a broker, a registry, and services as processes of their own, with what each costs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MEMORY } from '#infra/local/parts.mjs';
import { answers, freePort, until } from '#infra/local/wait.mjs';
import { type Codec, createCodec } from '#schemas/codec.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import { auditPrincipal, DEFAULT_PARTITIONS, partitionOf, RUNTIME_GROUP, type Topic } from '#schemas/topics.ts';
import { provisionTenant } from '#streams/kafka/admin.ts';
import { createKafka, withAdmin } from '#streams/kafka/client.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { type RunningKafka, startKafka, TEST_PASSWORDS } from '../start-kafka.ts';

/** A runtime without its disk folds a million events first, on a machine that may be busy. */
const READY_MS = 240_000;
/** Of the processor time in /proc, on Linux. */
const TICKS_A_SECOND = 100;

type Service = { readonly name: string; readonly child: ChildProcess; readonly opsPort: number };
export type Principal = 'gateway' | 'runtime' | 'auditor' | 'operator' | 'admin';

export class BenchPlatform {
  readonly dir = mkdtempSync(join(tmpdir(), 'evenkeel-bench-'));
  readonly masterKey = randomBytes(32);
  readonly partitions = DEFAULT_PARTITIONS;
  readonly kafka: RunningKafka;
  readonly codec: Codec;
  readonly #services = new Map<string, Service>();

  private constructor(kafka: RunningKafka, codec: Codec) {
    this.kafka = kafka;
    this.codec = codec;
    process.once('exit', this.#endNow);
  }

  /** A run that is interrupted leaves neither processes nor folders behind. */
  readonly #endNow = (): void => {
    for (const { child } of this.#services.values()) child.kill('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  };

  static async start(): Promise<BenchPlatform> {
    const kafka = await startKafka({ registry: true });
    return new BenchPlatform(kafka, createCodec(await loadSchemas(kafka.registryUrl)));
  }

  client(principal: Principal) {
    const { brokers, admin } = this.kafka;
    const who = principal === 'admin' ? admin : { username: principal, password: TEST_PASSWORDS[principal] };
    return createKafka({ brokers, ...who, clientId: `bench.${principal}` });
  }

  /** One service's process, once it says that it is ready. */
  async run(name: string, main: string, principal: Exclude<Principal, 'admin'>, env: Readonly<Record<string, string>> = {}): Promise<Service> {
    const opsPort = await freePort();
    const out = openSync(join(this.dir, `${name}.log`), 'a');
    const child = spawn(process.execPath, [...MEMORY.args, main], {
      env: {
        ...process.env,
        ...MEMORY.env,
        KAFKA_BROKERS: this.kafka.brokers.join(','),
        KAFKA_USERNAME: principal,
        KAFKA_PASSWORD: TEST_PASSWORDS[principal],
        SCHEMA_REGISTRY_URL: this.kafka.registryUrl,
        EVENKEEL_MASTER_KEY: this.masterKey.toString('hex'),
        EVENKEEL_DATA_DIR: join(this.dir, name),
        EVENKEEL_OPS_PORT: String(opsPort),
        EVENKEEL_INSTANCE: name,
        NODE_COMPILE_CACHE: join(this.dir, 'compiled'),
        ...env,
      },
      stdio: ['ignore', out, out],
    });
    closeSync(out);
    const service = { name, child, opsPort };
    this.#services.set(name, service);
    await until(name, READY_MS, () => {
      if (child.exitCode === null && child.signalCode === null) return answers(`http://127.0.0.1:${opsPort}/readyz`);
      throw new Error(`${name} ended at its start:\n${this.log(name).slice(-2_000)}`);
    });
    return service;
  }

  log(name: string): string {
    return readFileSync(join(this.dir, `${name}.log`), 'utf8');
  }

  /** As many on each partition; with its audit topic each. */
  async tenants(count: number, policy: Partial<Policy>, audited = true): Promise<readonly TenantId[]> {
    const tenants: TenantId[] = [];
    const most = Math.ceil(count / this.partitions);
    const filled = new Map<number, number>();
    for (let at = 0; tenants.length < count; at++) {
      const tenant = `tenant-${at}` as TenantId;
      const partition = partitionOf(tenant, this.partitions);
      if ((filled.get(partition) ?? 0) >= most) continue;
      filled.set(partition, (filled.get(partition) ?? 0) + 1);
      tenants.push(tenant);
    }
    if (audited) await this.provisionAudits(tenants);
    await this.createTenants(tenants, policy);
    return tenants;
  }

  /** An audit topic each, and who may read it. */
  async provisionAudits(tenants: readonly TenantId[]): Promise<void> {
    const { brokers, admin } = this.kafka;
    const settings = { brokers, ...admin, clientId: 'bench.provision' };
    for (const tenant of tenants)
      await provisionTenant({ kafka: this.client('admin'), settings, tenant, passwords: { [auditPrincipal(tenant)]: 'bench-secret' } });
  }

  async createTenants(tenants: readonly TenantId[], policy: Partial<Policy>): Promise<void> {
    const sender = createSender(this.client('operator'));
    const changes = JSON.stringify(policy);
    await sender.send(
      tenants.map((tenantId) => ({
        topic: 'tenant.commands',
        partition: partitionOf(tenantId, this.partitions),
        key: tenantId,
        value: this.codec.encode('create_tenant', { tenantId, commandId: `create-${tenantId}`, by: 'bench', role: 'operator', changes }),
      })),
    );
    await sender.close();
  }

  /** Until the runtime has taken all that stands there now. */
  async taken(topic: Topic, partition: number, withinMs: number): Promise<void> {
    await withAdmin(this.client('admin'), async (admin) => {
      const [at] = (await admin.fetchTopicOffsets(topic)).filter((each) => each.partition === partition);
      await until(`${topic} to be taken`, withinMs, async () => {
        const [of] = await admin.fetchOffsets({ groupId: RUNTIME_GROUP, topics: [topic] });
        return Number(of?.partitions.find((each) => each.partition === partition)?.offset) >= Number(at?.offset);
      });
    });
  }

  /** Seconds of processor time since its start. */
  cpu(name: string): number {
    return processorTime(this.#services.get(name)?.child.pid);
  }
  /** The same of all brokers. */
  kafkaCpu(): number {
    return brokerPids(this.kafka.dataDir).reduce((sum, pid) => sum + processorTime(pid), 0);
  }
  /** Resident bytes now. */
  rss(name: string): number {
    const pid = this.#services.get(name)?.child.pid;
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
  }
  /** The largest it ever was. */
  peak(name: string): number {
    const pid = this.#services.get(name)?.child.pid;
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
  }

  async metric(name: string, metric: string): Promise<number> {
    const port = this.#services.get(name)?.opsPort;
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(`${metric} `) || line.startsWith(`${metric}{`));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }

  async end(name: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#services.get(name)?.child;
    this.#services.delete(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#services.keys()].map((name) => this.end(name, 'SIGKILL')));
    await this.kafka.stop();
    process.off('exit', this.#endNow);
    this.#endNow();
  }
}

function processorTime(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

/** Brokers name their folder on the command line. */
function brokerPids(dataDir: string): readonly number[] {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const isBroker = (pid: string) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return line.includes(dataDir) && line.includes('kafka.Kafka');
    } catch (error) {
      // It has ended since the listing.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ESRCH') return false;
      throw error;
    }
  };
  return processes.filter(isBroker).map(Number);
}
