// Finds a Java that runs the local broker and registry: the newest on JAVA_HOME, PATH and in the system's folders of JVMs.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { downloadJava, JAVA_HOME_FETCHED } from './download.mjs';
import { Failure } from './failure.mjs';

const JVM_FOLDERS = ['/usr/lib/jvm', '/Library/Java/JavaVirtualMachines', '/opt/java', '/opt/homebrew/opt', '/usr/local/opt'];
/** The registry needs a Java newer than this. */
const TOO_OLD = 17;

/** @param {string} text what `java -version` prints, or a Java's file `release` @returns {number} 0 when it names no version */
export function javaVersion(text) {
  const found = /(?:version |JAVA_VERSION=)"(\d+)(?:\.(\d+))?/.exec(text);
  if (!found) return 0;
  return Number(found[1]) === 1 ? Number(found[2] ?? 0) : Number(found[1]);
}

function homes() {
  const folders = [...JVM_FOLDERS, join(homedir(), '.sdkman/candidates/java')].filter((folder) => existsSync(folder));
  const installed = folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
  return [process.env.JAVA_HOME, ...installed, JAVA_HOME_FETCHED]
    .flatMap((home) => (home ? [home] : []))
    .flatMap((home) => [home, join(home, 'Contents/Home'), join(home, 'libexec/openjdk.jdk/Contents/Home')])
    .map((home) => ({ path: join(home, 'bin/java'), release: join(home, 'release') }))
    .filter(({ path }) => existsSync(path));
}

/** @param {{ path: string, release?: string }} java */
function versionOf({ path, release }) {
  // A file is read a hundred times faster than a Java starts.
  const told = release && existsSync(release) ? javaVersion(readFileSync(release, 'utf8')) : 0;
  return told || javaVersion(spawnSync(path, ['-version'], { encoding: 'utf8' }).stderr ?? '');
}

/** @returns {{ path: string, version: number } | undefined} the newest Java here, whether new enough or not */
function newest() {
  const installed = homes().map((java) => ({ path: java.path, version: versionOf(java) }));
  // PATH is asked last: most often it leads to one of those.
  const all = installed.some(({ version }) => version > TOO_OLD) ? installed : [...installed, { path: 'java', version: versionOf({ path: 'java' }) }];
  return all.sort((a, b) => b.version - a.version)[0];
}

/** @returns {boolean} */
export const hasJava = () => (newest()?.version ?? 0) > TOO_OLD;

/** @returns {string} path of the newest Java @throws {Failure} when there is none new enough */
export function findJava() {
  const found = newest();
  if (found && found.version > TOO_OLD) return found.path;
  const has = found?.version ? `The newest Java here is ${found.version}` : 'There is no Java here';
  throw new Failure(
    `${has}, and the local Kafka and registry need one newer than ${TOO_OLD}. Install one (for example Temurin 25) or set JAVA_HOME; or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL to use your own.`,
  );
}

/** Fetches a Java where none is new enough. Where that does not work either, findJava says what to do. @param {(line: string) => void} say */
export async function ensureJava(say) {
  if (hasJava()) return;
  await downloadJava(say).catch((error) => say(`a Java could not be fetched: ${error.message.trim().split('\n').at(-1)}`));
  findJava();
}
