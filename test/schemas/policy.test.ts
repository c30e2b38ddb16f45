/** A policy takes nothing but its fields, each within its bounds and from who may set it; what it refuses it names. */
import { expect, test } from 'vitest';
import { applyPolicy, DEFAULT_POLICY, OTHER_POLICY, POLICY, type Setter } from '#schemas/policy.ts';

const set = (changes: object, by: Setter = 'operator') => applyPolicy(DEFAULT_POLICY, changes, by);
const KEY = { kid: 'k1', publicKey: 'a'.repeat(43) };

test.each(Object.entries(POLICY))('%s: both bounds are taken, nothing beyond them, and nothing that is no whole number', (name, { min, max }) => {
  for (const value of [min, max]) expect(set({ [name]: value })).toEqual({ ...DEFAULT_POLICY, [name]: value });
  for (const value of [min - 1, max + 1, min + 0.5, Number.NaN, String(min), null, [min]])
    expect(() => set({ [name]: value }), String(value)).toThrow(new RegExp(`^policy\\.${name}: `));
});

test.each(Object.entries({ ...POLICY, ...OTHER_POLICY }))('%s is set by who the table says, and by nobody else', (name, { by }) => {
  const value = name === 'producerKeys' ? [KEY] : name === 'modelKey' ? 'openai' : POLICY[name as keyof typeof POLICY].min;
  expect(() => set({ [name]: value }, 'operator')).not.toThrow();
  if (by === 'tenant_admin') expect(() => set({ [name]: value }, 'tenant_admin')).not.toThrow();
  else expect(() => set({ [name]: value }, 'tenant_admin')).toThrow(`policy.${name}: only the operator sets it`);
});

test.each([
  [{ nope: 1 }, /^policy\.nope: unknown field; there are requestsPerSecond, .*modelKey$/],
  [{ constructor: 1 }, /^policy\.constructor: unknown field/],
  [{ maxInFlight: 4, burst: 0 }, /^policy\.burst: 1 to 100000 requests, not 0$/],
  [{ producerKeys: Array(9).fill(KEY) }, /^policy\.producerKeys: a list of at most 8/],
  [{ producerKeys: [KEY, { ...KEY, kid: 'a b' }] }, /^policy\.producerKeys\[1\]\.kid: /],
  [{ producerKeys: [{ kid: 'k1', publicKey: 'short' }] }, /^policy\.producerKeys\[0\]\.publicKey: /],
  [[], /^policy\.: an object of fields/],
])('%j is refused by the path of what is wrong', (changes, why) => expect(() => set(changes)).toThrow(why));
