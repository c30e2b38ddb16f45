#!/usr/bin/env node
// One command starts everything: npm start. No dependencies, Node 20: it installs what is missing, then runs the rest on Node 24.
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endContainers, hasDocker } from './local/docker.mjs';
import { hasLocalParts, hasMaven } from './local/download.mjs';
import { Failure, UsageFailure } from './local/failure.mjs';
import { checkDisk, prepareHome, readRun, resetHome } from './local/home.mjs';
import { hasJava } from './local/java.mjs';
import { Node24 } from './local/node24.mjs';
import { HELP, parseOptions } from './local/options.mjs';
import { adminEnv, baseParts, serviceParts } from './local/parts.mjs';
import { checkPorts, portPlan } from './local/ports.mjs';
import { mark, readyBlock, say, statusLine } from './local/say.mjs';
import { setup, setupChromium } from './local/setup.mjs';
import { alive, endStale, parentOf, takeHome } from './local/stale.mjs';
import { Supervisor } from './local/supervisor.mjs';

/**
 * @typedef {ReturnType<typeof parseOptions>} Options
 * @typedef {import('./local/parts.mjs').Place} Place
 */

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const HOME = resolve(process.env.EVENKEEL_HOME || join(ROOT, '.evenkeel'));
const READY_WITHIN_MS = 90_000;
const LOOK_FOR_NPM_MS = 1_000;

/** Whose Kafka and registry: the person's own, local processes, or containers where those cannot be. @returns {Place['base']} */
function chooseBase() {
  if (process.env.KAFKA_BROKERS) {
    if (!process.env.SCHEMA_REGISTRY_URL)
      throw new UsageFailure('KAFKA_BROKERS is set, so that cluster is used, and its schema registry is not known: set SCHEMA_REGISTRY_URL too.');
    return 'own';
  }
  const local = hasJava() && (hasLocalParts() || hasMaven());
  return !local && hasDocker() ? 'docker' : 'local';
}

/** @param {Options} options */
async function start(options) {
  const release = takeHome(HOME);
  process.on('exit', release);
  const ended = await endStale(HOME);
  if (ended.length > 0) say(`ended what an earlier start had left: ${ended.join(', ')}`);
  const base = chooseBase();
  const ports = portPlan(options.port, options.runtimes);
  if (base === 'docker') endContainers({ root: ROOT, home: HOME, ports }, options.reset);
  if (options.reset) reset(base);
  checkDisk(HOME);
  await setup(ROOT, say, base === 'local');
  await checkPorts(ports, base === 'own');
  const place = { root: ROOT, home: HOME, ports, secrets: prepareHome(HOME, options.port), base };
  const supervisor = new Supervisor(HOME, say);
  const node24 = new Node24(ROOT, say);
  const end = endWith(supervisor, node24);
  try {
    await startAll(place, supervisor, node24, options.runtimes);
  } catch (error) {
    if (end.begun) return;
    await supervisor.stop();
    throw error;
  }
  if (end.begun) return;
  supervisor.watch();
  console.log(readyBlock(place));
}

/** @param {Place['base']} base */
function reset(base) {
  resetHome(HOME);
  say(`threw away all state under ${HOME}`);
  if (base === 'own') say('your own cluster keeps its topics; what stands there in words was sealed with the key that is now gone');
}

/** @param {Place} place @param {Supervisor} supervisor @param {Node24} node24 @param {number} runtimes */
async function startAll(place, supervisor, node24, runtimes) {
  const parts = baseParts(place);
  if (parts.length > 0) say(`starting Kafka and the schema registry${place.base === 'docker' ? ' in containers' : ''}`);
  await Promise.all(parts.map((part) => supervisor.start(part, READY_WITHIN_MS)));
  say('provisioning topics, principals, ACLs and schemas');
  await node24.run('infra/provision.ts', adminEnv(place));
  say(`starting gateway, ${runtimes} runtime${runtimes > 1 ? 's' : ''} and auditor`);
  await Promise.all(serviceParts(place).map((part) => supervisor.start(part, READY_WITHIN_MS)));
  say('loading the demo tenants');
  await node24.run('infra/demo/load.ts', { ...process.env, EVENKEEL_HOME: HOME, EVENKEEL_GATEWAY_URL: `http://127.0.0.1:${place.ports.gateway}` });
}

/** @param {Supervisor} supervisor @param {Node24} node24 */
function endWith(supervisor, node24) {
  const state = { begun: false };
  const end = async (/** @type {string} */ why, /** @type {number} */ code) => {
    // Whoever asks a second time does not want to wait.
    const atOnce = state.begun;
    state.begun = true;
    say(`${why}: stopping everything${atOnce ? ' at once' : ''}`);
    node24.stop();
    await supervisor.stop(atOnce);
    process.exit(code);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void end(signal, 0));
  process.on('uncaughtException', (error) => {
    console.error(error);
    void end('an error of its own', 1);
  });
  // Whoever read its words may go: it goes on.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  // npm ends its shell and not what runs in it: a `kill` of npm start would leave everything running.
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event === 'start')
    setInterval(() => {
      if (process.ppid !== parent && !state.begun) void end('npm start was ended', 0);
    }, LOOK_FOR_NPM_MS).unref();
  return state;
}

/** A child that could not be started has no pid. @param {{ pid: number }} process */
const isAlive = ({ pid }) => pid > 0 && alive(pid);

/** @param {boolean} json */
function status(json) {
  const parent = parentOf(HOME);
  const processes = readRun(HOME).processes.map((each) => ({ ...each, alive: isAlive(each), ready: each.ready && isAlive(each) }));
  const ready = processes.length > 0 && processes.every((each) => each.ready);
  process.exitCode = ready ? 0 : 1;
  if (json) return console.log(JSON.stringify({ ready, processes }, null, 2));
  if (!processes.some((each) => each.alive)) return console.log(parent ? `It is being started (process ${parent}).` : 'Nothing runs. Start it with: npm start');
  for (const each of processes) console.log(statusLine(each));
  if (!parent) console.log('npm start itself was killed: nothing restarts these. The next npm start ends them and begins with the same data.');
}

async function main() {
  const options = parseOptions(process.argv.slice(2), process.env);
  const aside = (/** @type {string} */ line) => console.error(line);
  if (options.help) console.log(HELP);
  else if (options.command === 'status') status(options.json);
  else if (options.command === 'start') await start(options);
  else {
    await setup(ROOT, aside, !process.env.KAFKA_BROKERS);
    await setupChromium(aside);
  }
}

main().catch((error) => {
  console.error(error instanceof Failure ? `${mark(false)} ${error.message}` : error);
  process.exit(error instanceof UsageFailure ? 2 : 1);
});
