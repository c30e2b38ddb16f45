/** npm start as far as it is pure: what is typed, ports, Java's versions, whose a process is, and what --reset may delete. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { prepareHome, readRun, resetHome, writeRun } from '#infra/local/home.mjs';
import { javaVersion } from '#infra/local/java.mjs';
import { parseOptions } from '#infra/local/options.mjs';
import { checkPorts, listeningInodes, portPlan, portsOf } from '#infra/local/ports.mjs';
import { alive, endStale, isOurs, parentOf, takeHome } from '#infra/local/stale.mjs';

const folder = mkdtempSync(join(tmpdir(), 'evenkeel-start-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const fresh = (name: string): string => {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
};

describe('what is typed', () => {
  test('nothing: start, one runtime, port 8080', () => {
    expect(parseOptions([], {})).toEqual({ command: 'start', runtimes: 1, port: 8_080, reset: false, json: false, help: false });
  });
  test('every flag', () => {
    expect(parseOptions(['--reset', '--runtimes', '3'], { EVENKEEL_PORT: '9000' })).toMatchObject({ reset: true, runtimes: 3, port: 9_000 });
    expect(parseOptions(['status', '--json'], {})).toMatchObject({ command: 'status', json: true });
    expect(parseOptions(['-h'], {})).toMatchObject({ help: true });
  });
  test.each([
    [['--runtimes', '0'], {}, '--runtimes takes a number from 1 to 8, and got 0'],
    [['--runtimes', 'two'], {}, 'got two'],
    [['--runtimes=2.5'], {}, 'got 2.5'],
    [['stop'], {}, 'There is no command stop'],
    [['status', 'now'], {}, 'got now'],
    [['--resett'], {}, '--resett'],
    [[], { EVENKEEL_PORT: '80a' }, 'EVENKEEL_PORT takes a number'],
    [[], { EVENKEEL_PORT: '65535' }, 'got 65535'],
  ])('%j with %j is refused: %s', (args, env, why) => {
    expect(() => parseOptions(args, env)).toThrow(why);
  });
  test('wrongly, nothing is begun, one line says so, and the exit code is that of a wrong call', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['infra/start.mjs', '--resett'], { encoding: 'utf8' });
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^\S+ Unknown option '--resett'\. npm start -- --help says what there is\.\n$/);
  });
});

describe('ports', () => {
  test('follow from one base, and no two are the same', () => {
    const plan = portPlan(8_080, 8);
    expect(plan).toMatchObject({ gateway: 8_080, gatewayOps: 8_081, registry: 8_082, kafka: 8_083, controller: 8_084, auditorOps: 8_085 });
    expect(plan.runtimes).toEqual([8_090, 8_091, 8_092, 8_093, 8_094, 8_095, 8_096, 8_097]);
    const all = portsOf(plan, false).map(([, port]) => port);
    expect(new Set(all).size).toBe(14);
  });
  test("with a person's own cluster none is needed for Kafka and the registry", () => {
    expect(portsOf(portPlan(8_080, 1), true).map(([, port]) => port)).toEqual([8_080, 8_081, 8_085, 8_090]);
  });
  test('one that is taken is named, with who holds it and the setting that moves it', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const one = { ...portPlan(port, 0), gatewayOps: port, auditorOps: port };
    const problem: Error = await checkPorts(one, true).catch((error) => error);
    await new Promise((resolve) => server.close(resolve));
    expect(problem.message).toMatch(new RegExp(`^Port ${port}, for the gateway, is taken by .+\\. Stop it, or .*EVENKEEL_PORT=\\d+ npm start$`));
    expect(problem.message.split('\n')).toHaveLength(1);
    if (process.platform === 'linux') expect(problem.message).toContain(`(process ${process.pid})`);
  });
  test('a listening socket is told from a connected one', () => {
    const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F93 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 152182 1 0000000084de2be0 100 0 0 10 0
   1: 0100007F:1F93 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 152183 1 0000000084de2be0 100 0 0 10 0
   2: 0100007F:1F94 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 152184 1 0000000084de2be0 100 0 0 10 0`;
    expect(listeningInodes(table, 8_083)).toEqual(['152182']);
  });
});

test.each([
  ['openjdk version "25.0.1" 2025-10-21', 25],
  ['openjdk version "17.0.15" 2025-04-15', 17],
  ['java version "1.8.0_402"', 8],
  ['openjdk version "26-ea" 2026-03-17', 26],
  ['IMPLEMENTOR="Eclipse Adoptium"\nJAVA_VERSION="21.0.4"\n', 21],
  ['command not found', 0],
])('Java: %j is %i', (text, version) => expect(javaVersion(text)).toBe(version));

describe('what an earlier start has left', () => {
  test('is known by its command line and its folder, never by its pid alone', () => {
    const home = '/home/ann/evenkeel/.evenkeel';
    const node = '/home/ann/evenkeel/node_modules/.bin/node';
    expect(isOurs('runtime-2', `${node} services/runtime/main.ts ${home}`, home)).toBe(true);
    expect(isOurs('kafka', `java -Dkafka.logs.dir=${home}/kafka kafka.Kafka ${home}/kafka/server.properties`, home)).toBe(true);
    expect(isOurs('registry', `java -Devenkeel.home=${home}/registry -jar quarkus-run.jar`, home)).toBe(true);
    expect(isOurs('runtime-2', `${node} services/gateway/main.ts ${home}`, home)).toBe(false);
    expect(isOurs('runtime-2', `vim ${home}/logs/runtime-2.log`, home)).toBe(false);
    expect(isOurs('kafka', 'java -Dkafka.logs.dir=/srv/kafka kafka.Kafka /srv/kafka/server.properties', home)).toBe(false);
    expect(isOurs('runtime-2', '', home)).toBe(false);
  });

  test('is ended, and a stranger with its old pid is not', async () => {
    const home = fresh('left');
    const sleeper = (...marks: string[]) => spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)', ...marks], { stdio: 'ignore' });
    const [ours, stranger] = [sleeper('services/gateway/main.ts', home), sleeper('something else')];
    writeRun(home, [
      { name: 'gateway', pid: ours.pid as number, port: 1, ready: true },
      { name: 'auditor', pid: stranger.pid as number, port: 2, ready: true },
    ]);
    expect(await endStale(home)).toEqual(['gateway']);
    expect(alive(stranger.pid as number)).toBe(true);
    stranger.kill('SIGKILL');
  });

  test('no list, or half a list, is an empty list', () => {
    const home = fresh('half');
    expect(readRun(home)).toEqual({ processes: [] });
    writeFileSync(join(home, 'run.json'), '{"processes":[{"na');
    expect(readRun(home)).toEqual({ processes: [] });
  });
});

describe('a home', () => {
  test('has one parent at a time; one that was killed does not count', () => {
    const home = fresh('one');
    const release = takeHome(home);
    expect(parentOf(home)).toBe(process.pid);
    expect(() => takeHome(home)).toThrow(`It runs already (process ${process.pid})`);
    release();
    expect(parentOf(home)).toBeUndefined();
    // The pid of this process, but of another life.
    writeFileSync(join(home, 'start.lock'), JSON.stringify({ pid: process.pid, birth: 'long ago' }));
    takeHome(home)();
  });

  test('keeps its secrets, for its owner alone, and makes those that are missing', () => {
    const home = join(folder, 'secret');
    const first = prepareHome(home, 8_080);
    for (const file of ['secrets.json', 'principals.json']) expect(statSync(join(home, file)).mode & 0o777, file).toBe(0o600);
    const { gateway: _, ...passwords } = first.passwords;
    writeFileSync(join(home, 'secrets.json'), JSON.stringify({ ...first, passwords }));
    const second = prepareHome(home, 8_080);
    expect(second).toMatchObject({ masterKey: first.masterKey, issuer: first.issuer, passwords });
    expect(second.passwords.gateway).toBeTruthy();
    expect(readFileSync(join(home, 'principals.json'), 'utf8')).not.toContain(first.passwords.admin);
    expect(readFileSync(join(home, 'issuers.json'), 'utf8')).not.toContain('"d"');
    writeFileSync(join(home, 'secrets.json'), '{');
    expect(() => prepareHome(home, 8_080)).toThrow('--reset');
  });

  test('is emptied by a reset, and a folder that is no home is not touched', () => {
    const home = join(folder, 'begun');
    prepareHome(home, 8_080);
    const release = takeHome(home);
    resetHome(home);
    expect(existsSync(join(home, 'secrets.json'))).toBe(false);
    expect(parentOf(home)).toBe(process.pid);
    release();
    const stranger = fresh('documents');
    writeFileSync(join(stranger, 'thesis.txt'), 'years of work');
    expect(() => resetHome(stranger)).toThrow('EVENKEEL_HOME');
    expect(existsSync(join(stranger, 'thesis.txt'))).toBe(true);
  });
});
