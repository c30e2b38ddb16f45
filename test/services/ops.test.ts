/** What every process owes its supervisor: honest readiness, a clean end, and an exit code that says why (invariant 11). */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { EXIT } from '#services/exit.ts';

const SCRIPT = fileURLToPath(new URL('./ops-process.ts', import.meta.url));
const KEY = `${'c0ffee'.repeat(10)}abcd`;
const running: ChildProcess[] = [];

afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function service(how: string, env: Record<string, string> = {}) {
  const port = await freePort();
  const set = {
    EVENKEEL_MASTER_KEY: KEY,
    EVENKEEL_OPS_PORT: String(port),
    KAFKA_USERNAME: 'runtime',
    KAFKA_PASSWORD: 'canary-password',
    EVENKEEL_WEDGED_AFTER_MS: '1000',
    ...env,
  };
  const child = spawn(process.execPath, [SCRIPT, how], { env: { PATH: process.env.PATH, ...set }, stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
  const started = async () => {
    const listens = () =>
      output.includes('"started"') &&
      get('/metrics')
        .then(({ ok }) => ok)
        .catch(() => false);
    for (let tries = 0; tries < 200 && !(await listens()); tries++) await new Promise((resolve) => setTimeout(resolve, 25));
  };
  return { child, ended, get, started, output: () => output };
}

test('ready says 503 and what it waits for, then 200; metrics and health answer meanwhile', async () => {
  const { get, started } = await service('waits');
  await started();
  const waiting = await get('/readyz');
  expect([waiting.status, await waiting.json()]).toEqual([503, { ready: false, waiting_for: ['its partitions'] }]);
  expect((await get('/healthz')).status).toBe(200);
  expect(await (await get('/metrics')).text()).toContain('process_cpu_seconds_total');
  await get('/become-ready');
  expect((await get('/readyz')).status).toBe(200);
  expect((await get('/nothing')).status).toBe(404);
});

test.each(['SIGTERM', 'SIGINT'] as const)('%s closes its parts and exits 0', async (signal) => {
  const { child, ended, started } = await service('runs');
  await started();
  child.kill(signal);
  expect(await ended).toBe(EXIT.ok);
});

test.each([
  ['cannot-start', 'there is no Kafka'],
  ['fails', 'a part failed'],
  ['rejects', 'nobody waited'],
])('%s: logged, exit 70', async (how, why) => {
  const { ended, output } = await service(how);
  expect(await ended).toBe(EXIT.fatal);
  expect(output()).toContain(why);
});

test('a disk that has failed: what it holds is handed over, once, then exit 74', async () => {
  const { ended, output } = await service('has-no-disk');
  expect(await ended).toBe(EXIT.disk);
  expect(output()).toContain('no writes for 15 s');
  expect(output().split('closing what it holds').length).toBe(2);
});

test('a wrong setting is one line that names it, exit 2', async () => {
  const { ended, output } = await service('runs', { EVENKEEL_HTTP_PORT: 'eighty' });
  expect(await ended).toBe(EXIT.usage);
  expect(output().trim()).toMatch(/^EVENKEEL_HTTP_PORT: "eighty" is not an integer.*$/);
});

test('a taken ops port is said by its setting, exit 70', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const { ended, output } = await service('runs', { EVENKEEL_OPS_PORT: String(port) });
  expect(await ended).toBe(EXIT.fatal);
  expect(output()).toContain(`EVENKEEL_OPS_PORT ${port}`);
  server.close();
});

test('invariant 11: a wedged event loop ends the process loudly, exit 75', async () => {
  const { ended, output } = await service('spins');
  expect(await ended).toBe(EXIT.wedged);
  expect(output()).toContain('wedged');
}, 15_000);

test.each([
  ['hangs-in-an-operation', 'a transaction of partition 3'],
  ['stands-still', 'partition 3 of support.requests'],
])(
  'invariant 11: %s: /healthz and /readyz name it first, then the process ends, exit 75',
  async (how, what) => {
    const { ended, get, started, output } = await service(how, { EVENKEEL_WEDGED_AFTER_MS: '1500' });
    await started();
    expect((await get('/healthz')).status).toBe(200);
    let health: unknown;
    let readiness: unknown;
    const asking = setInterval(async () => {
      const [alive, ready] = await Promise.all([get('/healthz'), get('/readyz')]).catch(() => []);
      if (alive?.status === 503) health = await alive.json();
      if (ready?.status === 503) readiness = await ready.json();
    }, 100);
    expect(await ended).toBe(EXIT.wedged);
    clearInterval(asking);
    expect(health).toEqual({ alive: false, standing: [what] });
    expect(readiness).toEqual({ ready: false, waiting_for: [what] });
    expect(output()).toContain(`nothing has moved for 1500 ms: ${what}`);
  },
  15_000,
);

test('what moves, ends or has nothing to do is not taken for wedged', async () => {
  const { child, get, started } = await service('moves');
  await started();
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  expect(await (await get('/healthz')).json()).toEqual({ alive: true, standing: [] });
  expect(child.exitCode).toBe(null);
}, 15_000);

test('a process that closes is healthy and no longer ready', async () => {
  const { child, ended, get, started } = await service('drains');
  await started();
  expect((await get('/readyz')).status).toBe(200);
  child.kill('SIGTERM');
  let status = 200;
  while (status === 200) status = (await get('/readyz')).status;
  expect(status).toBe(503);
  expect((await get('/healthz')).status).toBe(200);
  expect(await ended).toBe(EXIT.ok);
}, 15_000);

test('a process that was stopped as a whole and goes on is not taken for wedged', async () => {
  const { child, get, started } = await service('runs');
  await started();
  child.kill('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  child.kill('SIGCONT');
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await get('/healthz')).status).toBe(200);
}, 15_000);

test('invariant 8: no secret is logged, even when the whole configuration is', async () => {
  const { started, output } = await service('runs');
  await started();
  expect(output()).toContain('127.0.0.1:8083');
  expect(output()).not.toContain('canary-password');
  expect(output()).not.toContain('c0ffee');
  // The master key's bytes, as JSON would show them.
  expect(output()).not.toContain('192,255,238');
  expect(output()).not.toMatch(/"0":192,"1":255/);
});
