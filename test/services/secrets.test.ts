/** Secrets by reference: a tenant's name reaches its own alone, and what a file holds is never shown. Models that lack a key or a price do not start. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { applyPolicy, DEFAULT_POLICY } from '#schemas/policy.ts';
import { modelsOf, requirePrices } from '#services/runtime/agent/models.ts';
import { loadSecrets } from '#services/secrets.ts';
import { PRICE_TABLES } from '#streams/support/pricing.ts';

const dir = mkdtempSync(join(tmpdir(), 'evenkeel-secrets-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
function file(text: string): string {
  const path = join(dir, `${Math.random()}.json`);
  writeFileSync(path, text);
  return path;
}
const tenant = (name: string) => name as TenantId;

test('invariant 8: a tenant’s reference is looked up below its own name, the platform’s never below a tenant’s', () => {
  const secrets = loadSecrets(file('{"main":"canary-platform","acme/own":"canary-acme"}'));
  expect(secrets.tenant(tenant('acme'), 'own')).toBe('canary-acme');
  expect(secrets.tenant(tenant('globex'), 'own')).toBeUndefined();
  expect(secrets.tenant(tenant('globex'), 'main')).toBeUndefined();
  expect([secrets.platform('main'), secrets.platform('acme/own')]).toEqual(['canary-platform', undefined]);
  expect(loadSecrets(undefined).platform('main')).toBeUndefined();
});

test.each(['{"main": canary', '["canary"]', '{"main":{"deep":"canary"}}', '{"main":""}'])('%s is refused, and not shown', (text) => {
  expect(() => loadSecrets(file(text))).toThrow(/EVENKEEL_SECRETS_FILE/);
  expect(() => loadSecrets(file(text))).not.toThrow(/canary/);
});

test('a policy holds the name of a secret; what looks like one, or names another’s, is no name', () => {
  expect(applyPolicy(DEFAULT_POLICY, { modelKey: 'openai' }, 'operator').modelKey).toBe('openai');
  expect(applyPolicy(DEFAULT_POLICY, { modelKey: '' }, 'operator').modelKey).toBe('');
  for (const modelKey of ['globex/own', '../x', 'sk-Proj-ABCdef', 'x'.repeat(65), 7, null])
    expect(() => applyPolicy(DEFAULT_POLICY, { modelKey }, 'operator')).toThrow(/policy.modelKey/);
  expect(() => applyPolicy(DEFAULT_POLICY, { modelKey: 'openai' }, 'tenant_admin')).toThrow(/only the operator/);
});

test('a model without a name, a key or a price is said at the start', () => {
  const config = { modelUrl: 'http://127.0.0.1:9/v1', model: 'big', cheaperModel: 'small', modelKeyName: 'main', modelDelayMs: 0 };
  const secrets = loadSecrets(file('{"main":"k"}'));
  expect(() => modelsOf({ ...config, model: undefined }, secrets)).toThrow(/EVENKEEL_MODEL must be set/);
  expect(() => modelsOf(config, loadSecrets(undefined))).toThrow(/no secret main/);
  const models = modelsOf(config, secrets);
  const price = { input: 1, output: 1 };
  const tables = (models_: Readonly<Record<string, typeof price>>) => [
    { version: 1, from: 0, models: {} },
    { version: 2, from: 10, models: models_ },
  ];
  expect(() => requirePrices(models, tables({ big: price }), 20)).toThrow(/version 2 has no price for small/);
  expect(() => requirePrices(models, tables({ big: price, small: price }), 20)).not.toThrow();
  expect(() => requirePrices(models, tables({ big: price, small: price }), 5)).toThrow(/version 1/);
  expect(() => requirePrices(modelsOf({ ...config, modelUrl: undefined }, secrets), PRICE_TABLES, 5)).not.toThrow();
});
