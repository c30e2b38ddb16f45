// Finds a Java that runs the local broker and registry: the newest on JAVA_HOME, PATH and in the system's folders of JVMs.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from './failure.mjs';

const JVM_FOLDERS = ['/usr/lib/jvm', '/Library/Java/JavaVirtualMachines', '/opt/java'];
/** The registry needs a Java newer than this. */
const TOO_OLD = 17;

/** @param {string} text what `java -version` prints @returns {number} 0 when it names no version */
export function javaVersion(text) {
  const found = /version "(\d+)(?:\.(\d+))?/.exec(text);
  if (!found) return 0;
  return Number(found[1]) === 1 ? Number(found[2] ?? 0) : Number(found[1]);
}

function candidates() {
  const homes = JVM_FOLDERS.filter((folder) => existsSync(folder)).flatMap((folder) =>
    readdirSync(folder).flatMap((name) => [join(folder, name), join(folder, name, 'Contents/Home')]),
  );
  return [process.env.JAVA_HOME, ...homes]
    .filter(Boolean)
    .map((home) => join(/** @type {string} */ (home), 'bin/java'))
    .concat('java');
}

/** @returns {string} path of the newest Java @throws {Failure} when there is none new enough */
export function findJava() {
  const found = [...new Set(candidates())]
    .filter((path) => path === 'java' || existsSync(path))
    .map((path) => ({ path, version: javaVersion(spawnSync(path, ['-version'], { encoding: 'utf8' }).stderr ?? '') }))
    .sort((a, b) => b.version - a.version)[0];
  if (found && found.version > TOO_OLD) return found.path;
  const has = found?.version ? `the newest Java here is ${found.version}` : 'there is no Java here';
  throw new Failure(`${has}, and the local Kafka registry needs one newer than ${TOO_OLD}. Install one (for example Temurin 25) or set JAVA_HOME.`);
}
