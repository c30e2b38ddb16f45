/** One real Kafka and registry for all tests that need them: the local broker, on free ports, in a folder of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { downloadKafka, downloadRegistry } from '#infra/local/download.mjs';
import { findJava } from '#infra/local/java.mjs';
import { prepareKafka, spawnKafka } from '#infra/local/kafka.mjs';
import { REGISTRY_PATH, spawnRegistry } from '#infra/local/registry.mjs';
import { answers, freePort, listens, until } from '#infra/local/wait.mjs';

export type TestKafka = {
  readonly brokers: string[];
  readonly registryUrl: string;
  readonly admin: { readonly username: string; readonly password: string };
};
/** Passwords of the services and of two tenants' auditors; the provisioner's file. */
export const TEST_PASSWORDS = {
  gateway: 'gateway-secret',
  runtime: 'runtime-secret',
  auditor: 'auditor-secret',
  operator: 'operator-secret',
  'auditor-acme': 'acme-secret',
  'auditor-globex': 'globex-secret',
};

export async function startKafka(): Promise<TestKafka & { stop(): Promise<void> }> {
  const java = findJava();
  await downloadKafka(console.error);
  await downloadRegistry(console.error);
  const dir = mkdtempSync(join(tmpdir(), 'evenkeel-kafka-'));
  const [port, controllerPort, registryPort] = [await freePort(), await freePort(), await freePort()];
  const broker = { java, dir: join(dir, 'kafka'), port, controllerPort, adminPassword: 'admin-secret' };
  prepareKafka(broker);
  const out = openSync(join(dir, 'out.txt'), 'a');
  const children = [spawnKafka(broker, ['ignore', out, out]), spawnRegistry({ java, dir: join(dir, 'registry'), port: registryPort }, ['ignore', out, out])];
  const registryUrl = `http://127.0.0.1:${registryPort}${REGISTRY_PATH}`;
  await until('Kafka', 60_000, () => listens(port));
  await until('the registry', 90_000, () => answers(`${registryUrl}/subjects`));
  const kafka = { brokers: [`127.0.0.1:${port}`], registryUrl, admin: { username: 'admin', password: 'admin-secret' } };
  await provisionTests(kafka, dir);
  return { ...kafka, stop: () => stop(children, dir) };
}

async function stop(children: readonly ChildProcess[], dir: string): Promise<void> {
  await Promise.all(
    children.map(
      (child) =>
        new Promise<void>((resolve) => {
          child.once('exit', () => resolve());
          child.kill('SIGKILL');
        }),
    ),
  );
  rmSync(dir, { recursive: true, force: true });
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
