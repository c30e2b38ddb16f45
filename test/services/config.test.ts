/** The settings table: what is missing or wrong is said with the setting's name, and no secret is ever shown. */
import { expect, test } from 'vitest';
import { EvenkeelError } from '#schemas/errors.ts';
import { loadConfig, SETTINGS, settingOf, settingsTable } from '#services/config.ts';

const KEY = 'ab'.repeat(32);
const refused = (env: Record<string, string>): EvenkeelError => {
  try {
    loadConfig({ EVENKEEL_MASTER_KEY: KEY, ...env });
  } catch (error) {
    if (error instanceof EvenkeelError) return error;
  }
  throw new Error(`${JSON.stringify(env)} was taken`);
};

test('a laptop needs nothing but the master key', () => {
  const config = loadConfig({ EVENKEEL_MASTER_KEY: KEY });
  expect(config.kafka).toEqual({ brokers: ['127.0.0.1:8083'], username: undefined, password: undefined, tls: false });
  expect(config.masterKey.byteLength).toBe(32);
  expect(config).toMatchObject({ httpPort: 8080, opsPort: 8081, inFlightPerPartition: 64, modelDelayMs: 0, logLevel: 'info' });
});

test('a missing key is named, with what to do', () => {
  expect(() => loadConfig({})).toThrow(/EVENKEEL_MASTER_KEY must be set.*openssl rand -hex 32/);
});

test.each([
  ['KAFKA_BROKERS', 'kafka-without-a-port'],
  ['KAFKA_BROKERS', 'one:9092,,two:9092'],
  ['KAFKA_TLS', 'yes'],
  ['SCHEMA_REGISTRY_URL', 'registry:8081'],
  ['EVENKEEL_HTTP_PORT', '0'],
  ['EVENKEEL_HTTP_PORT', '80.5'],
  ['EVENKEEL_OPS_PORT', '65536'],
  ['EVENKEEL_IN_FLIGHT_PER_PARTITION', '1e3'],
  ['EVENKEEL_MODEL_DELAY_MS', '-1'],
  ['EVENKEEL_LOG_LEVEL', 'verbose'],
])('%s=%s is refused by name', (name, value) => {
  const error = refused({ [name]: value });
  expect(error.code).toBe('setting_invalid');
  expect(error.message).toContain(name);
});

test('invariant 8: a wrong secret is refused without being shown, and neither is a password in an address', () => {
  const secret = 'not-hex-canary';
  const error = refused({ EVENKEEL_MASTER_KEY: secret });
  expect(`${error.message} ${error.stack} ${error.cause}`).not.toContain(secret);
  expect(refused({ SCHEMA_REGISTRY_URL: 'ftp://me:canary@registry' }).message).not.toContain('canary');
});

test('user and password of Kafka go together', () => {
  expect(refused({ KAFKA_USERNAME: 'runtime' }).message).toMatch(/set KAFKA_PASSWORD/);
  expect(loadConfig({ EVENKEEL_MASTER_KEY: KEY, KAFKA_USERNAME: 'a', KAFKA_PASSWORD: 'b' }).kafka).toMatchObject({ username: 'a', password: 'b' });
});

test('what a compose file passes on as empty is unset', () => {
  expect(loadConfig({ EVENKEEL_MASTER_KEY: KEY, EVENKEEL_HTTP_PORT: '', KAFKA_USERNAME: '', KAFKA_PASSWORD: '' }).httpPort).toBe(8080);
  expect(settingOf('gatewayUrl', { EVENKEEL_GATEWAY_URL: '' })).toBeUndefined();
});

test('the table for the README names every setting and no secret value', () => {
  const table = settingsTable();
  for (const { env } of Object.values(SETTINGS)) expect(table).toContain(`\`${env}\``);
  expect(table.split('\n')).toHaveLength(Object.keys(SETTINGS).length + 2);
});
