#!/usr/bin/env node
// One command starts everything: npm start. No dependencies, Node 20: it installs what is missing, then runs the rest on Node 24.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Failure } from './local/failure.mjs';
import { DEMO_TENANTS, prepareHome, readRun, resetHome } from './local/home.mjs';
import { findJava } from './local/java.mjs';
import { addresses, adminEnv, baseParts, portPlan, serviceParts } from './local/parts.mjs';
import { setup, setupChromium } from './local/setup.mjs';
import { alive, commandOf, endStale } from './local/stale.mjs';
import { Supervisor } from './local/supervisor.mjs';
import { listens } from './local/wait.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const HOME = process.env.EVENKEEL_HOME ?? join(ROOT, '.evenkeel');
const HELP = `npm start [-- options]          starts Kafka, the schema registry, gateway, runtimes and auditor
npm run status [-- --json]      shows what runs

  --runtimes N   how many runtime processes share the partitions (default 1)
  --reset        throw all local state away first
  --help         this

EVENKEEL_PORT (default 8080) is the gateway's port; the others follow it.
With KAFKA_BROKERS, KAFKA_USERNAME, KAFKA_PASSWORD and SCHEMA_REGISTRY_URL set, that cluster is used and none is started.

Examples
  npm start
  npm start -- --runtimes 2
  npm start -- --reset
  EVENKEEL_PORT=9000 npm start`;

const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (/** @type {number} */ code, /** @type {string} */ text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
const began = Date.now();
const say = (/** @type {string} */ line) => console.log(`${paint(2, `${((Date.now() - began) / 1_000).toFixed(1).padStart(5)} s`)}  ${line}`);

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { runtimes: { type: 'string', default: '1' }, reset: { type: 'boolean' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    });
    const runtimes = Number(values.runtimes);
    if (!Number.isInteger(runtimes) || runtimes < 1 || runtimes > 8) throw new Error('--runtimes takes a number from 1 to 8');
    const port = Number(process.env.EVENKEEL_PORT ?? 8_080);
    if (!Number.isInteger(port) || port < 1 || port > 65_000) throw new Error('EVENKEEL_PORT takes a port number');
    return { ...values, runtimes, port, command: positionals[0] ?? 'start' };
  } catch (error) {
    console.error(`${/** @type {Error} */ (error).message}\n\n${HELP}`);
    process.exit(2);
  }
}

/** @param {string} script @param {NodeJS.ProcessEnv} env @returns {Promise<string>} the last line it said */
function node24(script, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(join(ROOT, 'node_modules/.bin/node'), [script], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (data) => {
      out += data;
    });
    child.stderr.on('data', (data) => {
      err += data;
    });
    child.once('error', reject);
    child.once('exit', (code) => (code === 0 ? resolve(out.trim()) : reject(new Failure(`${script} failed (exit ${code}):\n${err.trim().slice(-1_500)}`))));
  });
}

/** @param {ReturnType<typeof portPlan>} ports @param {boolean} own */
async function checkPorts(ports, own) {
  const { gateway, gatewayOps, auditorOps, registry, kafka, controller, runtimes } = ports;
  const wanted = [gateway, gatewayOps, auditorOps, ...runtimes, ...(own ? [] : [registry, kafka, controller])];
  for (const port of wanted)
    if (await listens(port))
      throw new Failure(`Port ${port} is taken by another program. Stop it, or choose other ports: EVENKEEL_PORT=${gateway + 1_000} npm start.`);
}

/** @param {ReturnType<typeof options>} chosen */
async function start(chosen) {
  const { parent } = readRun(HOME);
  if (parent && parent !== process.pid && alive(parent) && commandOf(parent).includes('start.mjs'))
    throw new Failure(`It runs already (process ${parent}). npm run status shows it; stop it with Ctrl-C where it was started.`);
  const ended = await endStale(HOME);
  if (ended.length > 0) say(`ended ${ended.join(', ')}, which an earlier start had left`);
  if (chosen.reset) resetHome(HOME);
  const own = Boolean(process.env.KAFKA_BROKERS);
  const java = own ? undefined : findJava();
  await setup(ROOT, say);
  const ports = portPlan(chosen.port, chosen.runtimes);
  await checkPorts(ports, own);
  const secrets = prepareHome(HOME, chosen.port);
  const place = { root: ROOT, home: HOME, ports, secrets, java, own };
  const supervisor = new Supervisor(HOME, say);
  endWith(supervisor);
  try {
    await startAll(place, supervisor, chosen.runtimes);
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
  console.log(readyBlock(place));
}

/** @param {import('./local/parts.mjs').Place} place @param {Supervisor} supervisor @param {number} runtimes */
async function startAll(place, supervisor, runtimes) {
  if (!place.own) {
    say('starting Kafka and the schema registry');
    await Promise.all(baseParts(place).map((part) => supervisor.start(part, 90_000)));
  }
  say(await node24('infra/provision.ts', adminEnv(place)));
  say(`starting gateway, ${runtimes} runtime${runtimes > 1 ? 's' : ''} and auditor`);
  await Promise.all(serviceParts(place).map((part) => supervisor.start(part, 90_000)));
  const loaded = await node24('infra/demo/load.ts', { ...process.env, EVENKEEL_HOME: HOME, EVENKEEL_GATEWAY_URL: `http://127.0.0.1:${place.ports.gateway}` });
  for (const line of loaded.split('\n')) say(line);
}

/** @param {Supervisor} supervisor */
function endWith(supervisor) {
  let ending = false;
  const end = async (/** @type {string} */ signal) => {
    if (ending) return;
    ending = true;
    say(`${signal}: stopping everything`);
    await supervisor.stop();
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void end(signal));
}

/** @param {import('./local/parts.mjs').Place} place */
function readyBlock(place) {
  const { ports, home } = place;
  const { brokers, registryUrl } = addresses(place);
  const bold = (/** @type {string} */ text) => paint(1, text);
  return `
${paint(32, '●')} ${bold('Evenkeel is ready')}

  live page   ${bold(`http://127.0.0.1:${ports.gateway}/`)}    log in with: npm run token -- --role operator
  API         http://127.0.0.1:${ports.gateway}/docs
  Kafka       ${brokers}    registry ${registryUrl}
  tenants     ${DEMO_TENANTS.join(', ')}
  logs        ${home}/logs

  try         ${bold('npm run ask -- --tenant fastify "How do I add a hook?"')}

Ctrl-C ends it; what happened is kept.
`;
}

/** @param {boolean} json */
async function status(json) {
  const { processes } = readRun(HOME);
  const seen = processes.map((each) => ({ ...each, alive: alive(each.pid), ready: each.ready && alive(each.pid) }));
  const ready = seen.length > 0 && seen.every((each) => each.ready);
  if (json) console.log(JSON.stringify({ ready, processes: seen }, null, 2));
  else if (seen.length === 0) console.log('Nothing runs. Start it with: npm start');
  else
    for (const { name, pid, port, ready: up } of seen)
      console.log(`${up ? paint(32, '●') : paint(31, '○')} ${name.padEnd(12)} port ${String(port).padEnd(6)} pid ${pid}`);
  process.exitCode = ready ? 0 : 1;
}

async function main() {
  const chosen = options();
  if (chosen.help) console.log(HELP);
  else if (chosen.command === 'status') await status(Boolean(chosen.json));
  else if (chosen.command === 'setup') {
    await setup(ROOT, (line) => console.error(line));
    setupChromium((line) => console.error(line));
  } else if (chosen.command === 'start') await start(chosen);
  else {
    console.error(`There is no command ${chosen.command}.\n\n${HELP}`);
    process.exitCode = 2;
  }
}

main().catch((error) => {
  console.error(error instanceof Failure ? `${paint(31, '✗')} ${error.message}` : error);
  process.exit(1);
});
