/** docker-compose.yml as far as it can be checked without an engine: names, versions and settings against their sources. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { composeSettings } from '#infra/local/docker.mjs';
import { KAFKA, REGISTRY } from '#infra/local/download.mjs';
import { properties } from '#infra/local/kafka.mjs';
import { portPlan } from '#infra/local/ports.mjs';
import { SETTINGS } from '#services/config.ts';
import { readYaml } from '../yaml.ts';

type Service = { image?: string; command: string[]; environment?: Record<string, string>; depends_on?: Record<string, unknown> };
type Compose = { services: Record<string, Service>; configs: { kafka: { content: string } }; volumes: Record<string, unknown> };

const text = readFileSync('docker-compose.yml', 'utf8');
const compose = readYaml<Compose>('docker-compose.yml');
const own = ['provision', 'gateway', 'runtime', 'auditor'];
const service = (name: string): Service => compose.services[name] as Service;

test('the same releases run in containers as without', () => {
  expect(service('kafka').image).toBe(`apache/kafka:${KAFKA}`);
  expect(service('registry').image).toBe(`apicurio/apicurio-registry:${REGISTRY}`);
});

test('every service starts a file that is there, with settings that are read', () => {
  const known = new Set<string>([...Object.values(SETTINGS).map(({ env }) => env), 'EVENKEEL_PRINCIPALS_FILE']);
  for (const name of own) {
    expect(
      service(name).command.every((path) => existsSync(path)),
      name,
    ).toBe(true);
    expect(Object.keys(service(name).environment ?? {}).filter((each) => !known.has(each))).toEqual([]);
  }
});

test('what a service waits for is there', () => {
  const waited = Object.values(compose.services).flatMap(({ depends_on }) => Object.keys(depends_on ?? {}));
  expect(waited.filter((name) => !compose.services[name])).toEqual([]);
});

test('the broker has the settings of the local one, but for its addresses', () => {
  const lines = compose.configs.kafka.content.trim().split('\n');
  const settings = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
  const addresses = ['controller.quorum.voters', 'listeners', 'advertised.listeners', 'listener.security.protocol.map', 'log.dirs'];
  const local = Object.entries(properties({ java: '', dir: '', port: 0, controllerPort: 0, adminPassword: '' })).filter(([name]) => !addresses.includes(name));
  expect(Object.fromEntries(local.map(([name]) => [name, settings[name]]))).toEqual(Object.fromEntries(local.map(([name, value]) => [name, String(value)])));
});

test('npm start answers every question that the file asks', () => {
  const asked = [...text.matchAll(/\$\{(\w+)/g)].map(([, name]) => name as string);
  const given = composeSettings(portPlan(8_080, 1), { masterKey: 'key', passwords: { admin: 'a', gateway: 'g' } });
  expect(asked.filter((name) => !(name in given))).toEqual([]);
});
