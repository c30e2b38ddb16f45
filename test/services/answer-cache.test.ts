/** The cache of answers: bounded in bytes, in all and for each tenant, the least lately used first; a key names all that an answer follows from. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { AnswerCache, cacheKey, type KeyOf } from '#services/runtime/agent/answer-cache.ts';

const OF: KeyOf = { tenant: 'acme' as TenantId, audience: 'everyone', policyVersion: 1, knowledgeVersion: 7, model: 'big', rules: 'r', question: 'How?' };
const key = (change: Partial<KeyOf> = {}) => cacheKey({ ...OF, ...change });
const about = (tenant: string, question: number) => key({ tenant: tenant as TenantId, question: `q${question}` });

test('invariant 8: whatever an answer follows from makes another key; case, spaces and the end of the question do not', () => {
  const changes: readonly Partial<KeyOf>[] = [
    { tenant: 'globex' as TenantId },
    { audience: 'agents' },
    { policyVersion: 2 },
    { knowledgeVersion: 8 },
    { model: 'small' },
    { rules: 's' },
    { question: 'Why?' },
  ];
  expect(new Set([key(), ...changes.map(key)]).size).toBe(changes.length + 1);
  expect(key({ question: '  HOW ' })).toBe(key());
});

test('two fields never read as one', () => {
  expect(key({ model: 'a', rules: 'b","c' })).not.toBe(key({ model: 'a","b', rules: 'c' }));
});

test('never more bytes than it may take, in all and of one tenant, whatever is put; what was put last is there', () => {
  const tenants = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j');
  const puts = fc.array(fc.tuple(tenants, fc.nat(30), fc.nat(2_000)), { maxLength: 200 });
  fc.assert(
    fc.property(puts, (all) => {
      const cache = new AnswerCache<string>(40_000);
      for (const [tenant, question, size] of all) {
        cache.put(about(tenant, question), 'x'.repeat(size));
        expect(cache.bytes).toBeLessThanOrEqual(40_000);
        expect(cache.get(about(tenant, question))?.length).toBe(size > 2_000 ? undefined : size);
      }
    }),
  );
});

test('a tenant that fills its part pushes out its own answers and nobody else’s', () => {
  const cache = new AnswerCache<string>(80_000);
  cache.put(about('quiet', 1), 'kept');
  for (let at = 0; at < 500; at++) cache.put(about('noisy', at), 'x'.repeat(500));
  expect(cache.get(about('quiet', 1))).toBe('kept');
  expect(cache.get(about('noisy', 0))).toBeUndefined();
  expect(cache.get(about('noisy', 499))).toBeDefined();
  expect(cache.bytes).toBeLessThanOrEqual(80_000 / 8 + 1_000);
});

test('what was asked for lately outlives what was not; a cache of nothing keeps nothing', () => {
  const cache = new AnswerCache<string>(80_000);
  for (let at = 0; at < 5; at++) cache.put(about('acme', at), 'x'.repeat(500));
  cache.get(about('acme', 0));
  for (let at = 5; at < 9; at++) cache.put(about('acme', at), 'x'.repeat(500));
  expect(cache.get(about('acme', 0))).toBeDefined();
  expect(cache.get(about('acme', 1))).toBeUndefined();
  const none = new AnswerCache<string>(0);
  none.put(key(), 'x');
  expect([none.get(key()), none.bytes]).toEqual([undefined, 0]);
});
