// The broker and the registry by Maven, once for all checkouts of a person.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure } from './failure.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const KAFKA = '4.3.1';
const REGISTRY = '3.3.3';
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'evenkeel');
export const KAFKA_JARS = join(CACHE, `kafka-${KAFKA}`);
export const REGISTRY_HOME = join(CACHE, `registry-${REGISTRY}`);

/** @param {string} command @param {string[]} args @returns {Promise<void>} */
export function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        said = (said + data).slice(-2_000);
      });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Failure(`${command} ${args[0]} failed (exit ${code}):\n${said.trim()}`))));
  });
}

function needMaven() {
  if (spawnSync('mvn', ['--version']).status === 0) return;
  if (process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0) {
    spawnSync('apt-get', ['update', '-qq']);
    if (spawnSync('apt-get', ['install', '-y', '-qq', 'maven']).status === 0) return;
  }
  throw new Failure(
    'Maven is missing: it fetches the local Kafka and schema registry. Install it (mvn on the PATH), or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL to use your own.',
  );
}

/** Moved into place when it is whole: a broken download is never taken for a good one. @param {string} target @param {(part: string) => Promise<void>} fill */
async function once(target, fill) {
  if (existsSync(target)) return;
  needMaven();
  const part = `${target}.${process.pid}.part`;
  rmSync(part, { recursive: true, force: true });
  mkdirSync(part, { recursive: true });
  await fill(part);
  if (existsSync(target)) rmSync(part, { recursive: true, force: true });
  else renameSync(part, target);
}

/** @param {(line: string) => void} say */
export async function downloadKafka(say) {
  await once(KAFKA_JARS, async (part) => {
    say(`fetching Kafka ${KAFKA} (44 MB)`);
    await run('mvn', ['dependency:copy-dependencies', '-q', '-B', '-f', join(HERE, 'pom.xml'), '-DincludeScope=runtime', `-DoutputDirectory=${part}`]);
  });
}

/** @param {(line: string) => void} say */
export async function downloadRegistry(say) {
  await once(REGISTRY_HOME, async (part) => {
    say(`fetching the schema registry, Apicurio ${REGISTRY} (158 MB)`);
    const artifact = `io.apicurio:apicurio-registry-app:${REGISTRY}:tar.gz:all`;
    await run('mvn', ['dependency:get', '-q', '-B', `-Dartifact=${artifact}`, '-Dtransitive=false']);
    await run('mvn', ['dependency:copy', '-q', '-B', `-Dartifact=${artifact}`, `-DoutputDirectory=${part}`, '-Dmdep.useBaseVersion=true']);
    await run('tar', ['xzf', join(part, `apicurio-registry-app-${REGISTRY}-all.tar.gz`), '-C', part, '--strip-components=0']);
    rmSync(join(part, `apicurio-registry-app-${REGISTRY}-all.tar.gz`));
  });
}
