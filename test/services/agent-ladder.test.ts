/** The ladder's rungs against a provider over real HTTP that stalls, refuses, breaks off and talks nonsense. */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { MicroUsd, TenantId } from '#schemas/ids.ts';
import { DEFAULT_POLICY } from '#schemas/policy.ts';
import { createAgent } from '#services/runtime/agent/agent.ts';
import { modelsOf } from '#services/runtime/agent/models.ts';
import type { CallFailed, StepAsk, StepCall } from '#services/runtime/journal.ts';
import type { AgentAsk } from '#services/runtime/turns.ts';
import { newAccount } from '#streams/support/state.ts';
import { agentParts, askOf, desk } from './agent-desk.ts';
import { BadProvider, type Behaviour, USAGE } from './bad-provider.ts';

const never = new AbortController().signal;
const PRICES = [{ version: 1, from: 0, models: { big: { input: 150, output: 600 }, small: { input: 50, output: 200 } } }];
const KEYS: Readonly<Record<string, string>> = { main: 'platform-key', 'globex/own': 'globex-key' };
const SECRETS = { platform: (name: string) => KEYS[name], tenant: (tenant: TenantId, name: string) => KEYS[`${tenant}/${name}`] };
const CONTENT = '# Export limit\n\nThe export limit is ten thousand rows for each export.';
const QUESTION = 'What is the export limit?';
const provider = new BadProvider();
const { knowledge, put } = desk();

beforeAll(async () => {
  for (const tenant of ['acme', 'globex']) put({ tenant, documentId: 'limits.md', content: CONTENT });
  put({ tenant: 'acme', documentId: 'mine.md', owner: 'p_ada' as never, content: '# Ticket\n\nAda asked why her invoice was so high this month.' });
  await knowledge.open(0);
});
beforeEach(() => provider.start());
afterEach(async () => {
  await provider.stop();
  provider.behaviour.clear();
  provider.calls.length = 0;
  provider.usage = USAGE;
});

/** A journal that keeps what each attempt has cost: nothing, its result's price, or its worst case. */
function ledger(left = 20_000) {
  const attempts: { readonly step: string; readonly code: string; readonly cost: number; readonly tokens?: readonly number[] }[] = [];
  const spent = () => attempts.reduce((sum, { cost }) => sum + cost, 0);
  return {
    attempts,
    get spent() {
      return spent();
    },
    get left() {
      return { money: (left - spent()) as MicroUsd, tokens: 64_000 };
    },
    state: () => undefined,
    async step<T>(step: string, { worstCase }: StepAsk, call: StepCall<T>): Promise<T> {
      try {
        const { value, cost, inputTokens, outputTokens } = await call({ cap: worstCase }, never);
        attempts.push({ step, code: 'ok', cost, tokens: [inputTokens, outputTokens] });
        return value;
      } catch (error) {
        const failed = error as CallFailed;
        attempts.push({ step, code: failed.code, cost: failed.spent ? worstCase : 0 });
        throw error;
      }
    },
  };
}

function bench() {
  const config = { modelUrl: provider.url, model: 'big', cheaperModel: 'small', modelKeyName: 'main', modelDelayMs: 0 };
  const parts = agentParts(knowledge, modelsOf(config, SECRETS), PRICES);
  const agent = createAgent(parts);
  const ask = async (more: Partial<AgentAsk> & { readonly of?: string; readonly question?: string } = {}, steps = ledger()) => {
    const { of = 'acme', question = QUESTION, ...rest } = more;
    return { ...(await agent(askOf(of, question, rest), steps, never)), steps };
  };
  const accountOf = (tenant: string, change: object = {}) => ({
    ...newAccount(tenant as TenantId),
    policyVersion: 1,
    policy: { ...DEFAULT_POLICY, ...change },
  });
  /** Enough first calls that a retry is paid for. */
  const save = (tenant = 'acme', times = 100) => {
    for (let at = 0; at < times; at++) parts.calls.retries.called(tenant as TenantId);
  };
  return { ...parts, ask, accountOf, save };
}
const rung = (mode: string, reason: string, detail: string) => ({ mode, reason, detail });

test('full: the provider answers, with what was asked of it bounded and its usage priced', async () => {
  const { ask } = bench();
  const { outcome, degraded, answer, citations, steps } = await ask();
  expect([outcome, degraded]).toEqual(['answered', null]);
  expect(answer).toContain('(big) [1]');
  expect(citations[0]?.document).toBe('limits.md');
  expect(provider.calls).toMatchObject([{ model: 'big', key: 'platform-key', maxTokens: 500 }]);
  expect(steps.spent).toBe(Math.ceil((USAGE.prompt_tokens * 150 + USAGE.completion_tokens * 600) / 1_000));
});

test('the token limit of a call comes out of what is left of the hold', async () => {
  const { ask } = bench();
  await ask({}, ledger(300));
  expect(provider.calls[0]?.maxTokens).toBeLessThan(500);
  const { degraded } = await ask({}, ledger(80));
  expect(degraded).toEqual(rung('cheaper_model', 'budget', 'budget_spent'));
  expect(provider.calls[1]).toMatchObject({ model: 'small' });
  expect((await ask({}, ledger(1))).degraded?.mode).toBe('cached');
  expect(provider.calls).toHaveLength(2);
});

test('a provider that says nothing of its usage is not free', async () => {
  provider.set('mute_usage');
  const { steps } = await bench().ask();
  expect(steps.spent).toBeGreaterThan(20);
});

// Such numbers made refunds of costs, or an account that no task could write.
test.each([
  [-900, 40],
  [900, -4_000],
  [900.5, 40],
  [9e15, 40],
  [900, 1e300],
])('a usage of %d and %d tokens cannot be: it is taken at what was sent and came', async (prompt, completion) => {
  provider.usage = { prompt_tokens: prompt, completion_tokens: completion };
  const { steps } = await bench().ask();
  expect(steps.spent).toBeGreaterThan(20);
  for (const tokens of steps.attempts[0]?.tokens ?? [Number.NaN]) expect(tokens > 0 && tokens < 5_000 && Number.isInteger(tokens)).toBe(true);
});

describe('the full model fails, the cheaper one answers', () => {
  test.each<readonly [Behaviour, string, boolean, string]>([
    ['500', 'http_500', false, 'provider_failed'],
    ['503', 'http_503', false, 'provider_failed'],
    ['504', 'http_504', true, 'provider_failed'],
    ['429', 'http_429', false, 'provider_busy'],
    ['401', 'http_401', false, 'provider_failed'],
    ['400', 'http_400', false, 'provider_failed'],
    ['stall', 'timeout', true, 'provider_failed'],
    ['half', 'unreadable', true, 'provider_failed'],
    ['garbage', 'unreadable', true, 'provider_failed'],
    ['empty', 'unreadable', true, 'provider_failed'],
  ])('%s: %s, spent: %s', async (behaviour, code, spent, detail) => {
    provider.behaviour.set('big', behaviour);
    const { outcome, degraded, answer, steps } = await bench().ask();
    expect(steps.attempts.map((each) => [each.step, each.code, each.cost > 0])).toEqual([
      ['model-1', code, spent],
      ['model-2', 'ok', true],
    ]);
    expect(outcome).toBe('answered');
    expect(answer).toContain('(small)');
    expect(degraded).toEqual(rung('cheaper_model', detail === 'provider_busy' ? 'overload' : 'tool_failure', detail));
  });

  test('nobody listens: nothing was spent', async () => {
    await provider.stop();
    const { outcome, degraded, steps } = await bench().ask();
    expect(steps.attempts.map(({ code, cost }) => [code, cost])).toEqual([
      ['unconnected', 0],
      ['unconnected', 0],
    ]);
    expect([outcome, degraded]).toEqual(['answered', rung('passages', 'tool_failure', 'provider_failed')]);
  });
});

describe('no model can be asked', () => {
  test('the same question has an answer from before; another has passages', async () => {
    const { ask, watched } = bench();
    const first = await ask();
    provider.set('500');
    const again = await ask({ question: ' what is the  EXPORT limit' });
    expect(again).toMatchObject({ answer: first.answer, citations: first.citations, degraded: rung('cached', 'tool_failure', 'provider_failed') });
    const other = await ask({ question: 'How many rows has an export?' });
    expect(other.degraded).toEqual(rung('passages', 'tool_failure', 'provider_failed'));
    expect(other.answer).toContain('ten thousand rows');
    expect(watched.lookups).toEqual([true, false]);
  });

  test('invariant 8: another tenant, audience, policy or state of the documents has no answer from before', async () => {
    const { ask, accountOf } = bench();
    await ask();
    provider.set('500');
    const mode = async (more: Parameters<typeof ask>[0]) => (await ask(more)).degraded?.mode;
    expect(await mode({})).toBe('cached');
    expect(await mode({ of: 'globex', account: accountOf('globex') })).toBe('passages');
    expect(await mode({ role: 'tenant_admin' })).toBe('passages');
    expect(await mode({ account: { ...accountOf('acme'), policyVersion: 2 } })).toBe('passages');
    put({ tenant: 'acme', documentId: 'news.md', content: '# News\n\nNothing that matters here.' });
    await expect.poll(() => mode({})).toBe('passages');
  });

  test('an answer from a person’s own passage is never given again', async () => {
    const { ask } = bench();
    const question = 'Why was the invoice so high this month?';
    expect((await ask({ question })).degraded).toBe(null);
    provider.set('500');
    expect((await ask({ question })).degraded?.mode).toBe('passages');
  });

  test('nothing fits: a refusal that says when to try again, or a person', async () => {
    const { ask } = bench();
    provider.set('429, retry after 7');
    const busy = await ask({ question: 'Is the export of my invoice in Lisbon encrypted?' });
    expect(busy).toMatchObject({ outcome: 'refused', reason: 'overload', degraded: rung('passages', 'overload', 'provider_busy') });
    expect(busy.retryAfterMs).toBeGreaterThan(5_000);
    provider.set('500');
    const failed = await bench().ask({ question: 'Is the export of my invoice in Lisbon encrypted?' });
    expect(failed).toMatchObject({ outcome: 'handed_off', reason: 'tool_failure', retryAfterMs: null });
  });
});

describe('too little time', () => {
  test.each([
    [60_000, null, 1],
    [400, rung('cheaper_model', 'deadline', 'deadline_near'), 1],
    [150, rung('passages', 'deadline', 'deadline_near'), 0],
  ])('%i ms left', async (deadline, degraded, calls) => {
    const { ask } = bench();
    expect((await ask({ deadline })).degraded).toEqual(degraded);
    expect(provider.calls).toHaveLength(calls);
  });

  test('a stalled full answer leaves the rungs below their time, and is no fault of the provider’s', async () => {
    provider.set('stall');
    const { ask, calls } = bench();
    const began = performance.now();
    const { outcome, degraded } = await ask({ deadline: 550, now: () => performance.now() - began });
    expect([outcome, degraded]).toEqual(['answered', rung('passages', 'deadline', 'deadline_near')]);
    expect(performance.now() - began).toBeLessThan(550);
    expect(calls.providers.states().every(({ open }) => !open)).toBe(true);
  });
});

describe('breakers', () => {
  test('five failures open the way of that model alone; after a while one call tries it, and success closes it', async () => {
    provider.behaviour.set('big', '500');
    const { ask, calls } = bench();
    for (let at = 0; at < 5; at++) await ask();
    expect(calls.providers.states().filter(({ open }) => open)).toEqual([{ credential: 'platform for acme', model: 'big', open: true }]);
    const before = provider.of('big').length;
    expect((await ask()).degraded).toEqual(rung('cheaper_model', 'tool_failure', 'breaker_open'));
    expect(provider.of('big')).toHaveLength(before);
    provider.behaviour.clear();
    await expect.poll(async () => (await ask()).degraded, { interval: 60 }).toBe(null);
    expect(calls.providers.states().every(({ open }) => !open)).toBe(true);
  });

  test('questions that break a provider close their own tenant’s way; an outage that others meet too closes everyone’s', async () => {
    provider.behaviour.set('*', (_call, prompt) => (prompt.includes('part') ? '500' : 'ok'));
    const { ask, accountOf, calls } = bench();
    const [acme, globex] = ['acme', 'globex'].map((of) => ({ of, account: accountOf(of) }));
    for (let at = 0; at < 8; at++) await ask({ ...acme, question: `What is the export limit of part ${at}?` });
    expect((await ask(acme)).degraded?.detail).toBe('breaker_open');
    for (let at = 0; at < 8; at++) expect((await ask(globex)).degraded).toBe(null);
    provider.set('503');
    await expect
      .poll(async () => {
        await Promise.all([ask(acme), ask(globex)]);
        return calls.providers.states().find(({ credential, model }) => credential === 'platform' && model === 'big')?.open;
      })
      .toBe(true);
  });

  test('a tenant’s bad key opens that tenant’s way alone; the platform’s key is never spent for it', async () => {
    provider.behaviour.set('globex-key big', '401');
    provider.behaviour.set('globex-key small', '403');
    const { ask, accountOf, calls } = bench();
    const globex = { of: 'globex', account: accountOf('globex', { modelKey: 'own' }) };
    for (let at = 0; at < 6; at++) expect((await ask(globex)).degraded?.mode).toBe('passages');
    expect((await ask(globex)).degraded?.detail).toBe('breaker_open');
    expect((await ask()).degraded).toBe(null);
    expect(
      calls.providers
        .states()
        .filter(({ open }) => open)
        .map(({ credential }) => credential),
    ).toEqual(['tenant/globex', 'tenant/globex']);
    expect(provider.calls.filter(({ key }) => key === 'platform-key')).toHaveLength(1);
  });

  test('a key that is not among the tenant’s own secrets is not looked for elsewhere', async () => {
    const { ask, accountOf } = bench();
    const { degraded } = await ask({ account: accountOf('acme', { modelKey: 'main' }) });
    expect(degraded).toEqual(rung('passages', 'tool_failure', 'provider_failed'));
    expect(provider.calls).toEqual([]);
  });

  test.each(['400', '401', '403', '404'] as const)('%s never counts toward a breaker that others share', async (status) => {
    provider.set(status);
    const { ask, calls } = bench();
    for (let at = 0; at < 12; at++) await ask();
    expect(calls.providers.states().some(({ open }) => open)).toBe(false);
  });

  test('a full bulkhead is said, and the next model’s is another; on a shared key a tenant has half of it', async () => {
    provider.behaviour.set('big', 'slow');
    const { ask, accountOf } = bench();
    const asking = Array.from({ length: 12 }, () => ask());
    const others = Array.from({ length: 4 }, () => ask({ of: 'globex', account: accountOf('globex') }));
    const all = await Promise.all(asking);
    for (const { degraded } of await Promise.all(others)) expect(degraded).toBe(null);
    const busy = all.filter(({ degraded }) => degraded?.detail === 'provider_busy');
    expect(busy).toHaveLength(8);
    expect(busy.filter(({ degraded }) => degraded?.mode === 'cheaper_model').length).toBeGreaterThanOrEqual(4);
  });
});

describe('invariant 12: retries', () => {
  test('a second call answers where the first was not spent, and the retry is the step’s next attempt', async () => {
    provider.behaviour.set('big', (call) => (call === 0 ? '503' : 'ok'));
    const { ask, save, watched } = bench();
    save();
    const { degraded, steps } = await ask();
    expect([degraded, steps.attempts.map(({ step, code }) => `${step} ${code}`)]).toEqual([null, ['model-1 http_503', 'model-1 ok']]);
    expect(watched.retries).toBe(1);
  });

  test('what may have been spent, a refusal for good, and a wait that is too long are not tried again', async () => {
    for (const behaviour of ['half', 'garbage', '400', '401', '429, retry after 30'] as const) {
      provider.set(behaviour);
      const { ask, save } = bench();
      save();
      await ask();
      expect(provider.of('big'), behaviour).toHaveLength(1);
      provider.calls.length = 0;
    }
  });

  test('a call that a limit keeps from being made pays for no retry', async () => {
    const { ask, save, watched } = bench();
    save('acme', 5);
    // Each asks for two rungs, and neither may make its call.
    for (let at = 0; at < 4; at++) await ask({}, ledger(1));
    expect(provider.calls).toHaveLength(0);
    provider.set('503');
    await ask();
    expect([provider.of('big').length, watched.retries]).toEqual([1, 0]);
  });

  test('of a storm of failures at most a tenth is tried again, for the platform and for each tenant', async () => {
    // Every other call fails, so that no breaker ends the storm.
    let answered = 0;
    provider.set(() => (answered++ % 20 < 9 ? '503' : 'ok'));
    const { ask, accountOf, watched } = bench();
    const firsts = { acme: 0, globex: 0 };
    for (let at = 0; at < 60; at++) {
      const of = at % 4 === 0 ? 'globex' : 'acme';
      const { steps } = await ask({ of, account: accountOf(of) });
      firsts[of] += new Set(steps.attempts.map(({ step }) => step)).size;
      const retried = watched.retries;
      expect(retried).toBeLessThanOrEqual((firsts.acme + firsts.globex) / 10);
    }
    expect(watched.retries).toBeGreaterThan(0);
    expect(provider.calls.length).toBeLessThanOrEqual((firsts.acme + firsts.globex) * 1.1);
  });
});
