/** Habits of the house that no other check sees. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { avscFiles, DOCUMENTS, withTables } from '#infra/generate.ts';
import { SHAPES } from '#schemas/records.ts';
import { TOPICS } from '#schemas/topics.ts';

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(file));
const source = files.filter((file) => /^(schemas|streams|services|infra)\/.*\.(ts|mjs)$/.test(file) && !file.endsWith('.d.ts'));
const read = (file: string): string => readFileSync(file, 'utf8');

test('generated files and tables are fresh: run npm run generate', () => {
  for (const [path, text] of avscFiles()) expect(existsSync(path) && read(path), path).toBe(text);
  for (const path of DOCUMENTS) expect(withTables(read(path)), path).toBe(read(path));
});

test('only config.ts reads the environment of a service', () => {
  const readers = source.filter((file) => /^(schemas|streams|services)\//.test(file) && read(file).includes('process.env'));
  expect(readers).toEqual(['services/config.ts']);
});

test('no index.ts hides code, and no file has grown beyond 400 lines', () => {
  expect(source.filter((file) => file.endsWith('/index.ts'))).toEqual([]);
  expect(source.filter((file) => read(file).split('\n').length > 401)).toEqual([]);
});

test('every source file says at its head what it is for', () => {
  const silent = source.filter((file) => !/^(#!.*\n)?\/[/*]/.test(read(file)));
  expect(silent).toEqual([]);
});

test('no record on a tenant.* topic has a field for people’s words', () => {
  const wordy = Object.entries(TOPICS)
    .filter(([name]) => name.startsWith('tenant.') && name !== 'tenant.keys')
    .flatMap(([, { records }]) => records)
    .filter((name) => JSON.stringify(SHAPES[name].avro).match(/"(message|text|content|answer|sealed)"/));
  expect(wordy).toEqual([]);
});

test('invariants 1 to 8, 10 and 12 have a place in the source and are named in a test', () => {
  const tests = files
    .filter((file) => file.startsWith('test/'))
    .map(read)
    .join('\n');
  const code = source.map(read).join('\n');
  for (const number of [1, 2, 3, 4, 5, 6, 7, 8, 10, 12]) {
    const named = new RegExp(`[Ii]nvariants? (\\d+(, | and ))*${number}\\b`);
    expect(code, `invariant ${number} in the source`).toMatch(named);
    expect(tests, `invariant ${number} in a test`).toMatch(named);
  }
});

test('every metric that an alert rule or the Grafana dashboard names is one of the source', () => {
  const named = new Set(source.flatMap((file) => [...read(file).matchAll(/'(evenkeel_[a-z_]+)'/g)].map(([, name]) => name)));
  for (const file of files.filter((each) => /^infra\/(prometheus|grafana)\//.test(each))) {
    const metrics = [...read(file).matchAll(/\bevenkeel_[a-z_]+/g)].map(([name]) => name);
    const unknown = metrics.filter((name) => !named.has(name) && !named.has(name.replace(/_(bucket|sum|count)$/, '')));
    expect(unknown, file).toEqual([]);
  }
});
