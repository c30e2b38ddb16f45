// A real schema registry without Docker: Apicurio, which answers Confluent's API. On loopback, kept in an H2 file.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { REGISTRY_HOME } from './download.mjs';

export const REGISTRY_PATH = '/apis/ccompat/v7';

function jar() {
  const inside = readdirSync(REGISTRY_HOME).map((name) => join(REGISTRY_HOME, name));
  return [REGISTRY_HOME, ...inside].map((dir) => join(dir, 'quarkus-run.jar')).find((path) => existsSync(path)) ?? join(REGISTRY_HOME, 'quarkus-run.jar');
}

/** @param {{ java: string, dir: string, port: number }} where @param {import('node:child_process').StdioOptions} stdio */
export function spawnRegistry({ java, dir, port }, stdio) {
  mkdirSync(dir, { recursive: true });
  const env = {
    PATH: process.env.PATH,
    QUARKUS_HTTP_HOST: '127.0.0.1',
    QUARKUS_HTTP_PORT: String(port),
    // Its management port is 9000 unless told otherwise, and a second registry would not start.
    QUARKUS_MANAGEMENT_HOST: '127.0.0.1',
    QUARKUS_MANAGEMENT_PORT: '0',
    QUARKUS_LOG_LEVEL: 'WARN',
    QUARKUS_HTTP_ACCESS_LOG_ENABLED: 'false',
    APICURIO_STORAGE_KIND: 'sql',
    APICURIO_STORAGE_SQL_KIND: 'h2',
    APICURIO_DATASOURCE_URL: `jdbc:h2:file:${join(dir, 'registry')}`,
  };
  // It answers a few requests an hour: the quick compiler alone has it up a quarter sooner.
  const args = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+ExitOnOutOfMemoryError', `-Devenkeel.home=${dir}`, '-jar', jar()];
  return spawn(java, args, { stdio, env, detached: true });
}
