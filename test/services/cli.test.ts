import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MicroUsd, RequestId, TenantId } from '#schemas/ids.ts';
import { tenantId } from '#schemas/ids.ts';
import { answerJson, failed, parseAnswer, parseVerdict, refusedAtTheDoor } from '#services/cli/answer.ts';
import { parseAsk } from '#services/cli/ask.ts';
import { CommandError, dollars, dollarsOption, type Terminal, UsageError } from '#services/cli/command.ts';
import { dispatch } from '#services/cli/dispatch.ts';
import { type ServerEvent, SseParser } from '#services/cli/sse.ts';
import { stageOf } from '#services/cli/stages.ts';
import { policyChanges } from '#services/cli/tenant.ts';
import { asLines } from '#services/cli/tenant-show.ts';
import { asJson, asText, parseTimeline } from '#services/cli/timeline.ts';

function recorder() {
  const out: string[] = [];
  const notes: string[] = [];
  const terminal: Terminal = { live: false, out: (line) => out.push(line), note: (line) => notes.push(line), status: () => undefined };
  return { out, notes, terminal };
}

describe('the command line', () => {
  test.each(['ask', 'tenant', 'explain', 'token', 'replay', 'audit'])('%s --help shows usage and examples, and does nothing', async (name) => {
    const { out, notes, terminal } = recorder();
    expect(await dispatch([name, '--help'], terminal)).toBe(0);
    expect(out.join('\n')).toMatch(/usage: npm run .*examples:\n {2}npm run/s);
    expect(notes).toEqual([]);
  });

  test('without a command it says what there is', async () => {
    const { out, terminal } = recorder();
    expect(await dispatch(['--help'], terminal)).toBe(0);
    expect(await dispatch([], terminal)).toBe(2);
    expect(out.join('\n')).toMatch(/npm run ask .*npm run token .*npm run replay .*npm run audit/s);
  });

  test.each([
    [['foo'], /no command foo/],
    [['ask'], /--tenant is missing/],
    [['ask', '--tenant', 'Fastify!', 'x'], /lower-case/],
    [['ask', '--tenant', 'fastify'], /no question/],
    [['ask', '--tenant', 'fastify', '--deadline-ms', 'soon', 'x'], /--deadline-ms soon: a whole number/],
    [['ask', '--tenant', 'fastify', '--nope', 'x'], /^.*Unknown option '--nope': there are --tenant, [^.]*$/m],
    [['token', '--role', 'king'], /--role king: one of end_user/],
    [['token', '--role', 'end_user'], /--tenant is missing/],
    [['replay'], /timeline or verify/],
    [['replay', 'sideways'], /cannot sideways/],
    [['replay', 'timeline', '--tenant', 'fastify', '--request', 'r_1'], /r_ and 22/],
    [['replay', 'timeline', '--tenant', 'fastify', 'extra'], /unexpected argument: extra/],
    [['replay', 'timeline', '--tenant', 'fastify', '--limit', '0'], /whole number from 1/],
    [['audit', 'verify'], /--tenant is missing/],
    [['explain'], /which request/],
    [['explain', 'r_1'], /r_ and 22/],
    [['tenant'], /what is to be done/],
    [['tenant', 'fly', 'acme'], /cannot fly/],
    [['tenant', 'create'], /which tenant/],
    [['tenant', 'create', 'Acme'], /lower-case/],
    [['tenant', 'create', 'acme', '--budget-day', 'five'], /--budget-day five: dollars/],
    [['tenant', 'create', 'acme', '--set', 'nope=1'], /policy\.nope/],
    [['tenant', 'create', 'acme', '--set', 'maxInFlight=0'], /policy\.maxInFlight: 1 to 10000/],
    [['tenant', 'policy', 'acme'], /no field/],
    [['tenant', 'policy', 'acme', '--qps', '5', '--expected-version', 'x'], /--expected-version x/],
    [['tenant', 'grant', 'acme', '--amount', '1'], /--window is missing/],
    [['tenant', 'cost', 'acme'], /how much/],
    [['tenant', 'cost', 'acme', '--amount', '0.1234567'], /at most six decimals/],
    [['tenant', 'cost', 'acme', '--amount', '1', '--kind', 'gift'], /--kind gift: one of outside/],
  ])('%j is refused with exit 2 and a reason', async (words, reason) => {
    const { out, notes, terminal } = recorder();
    expect(await dispatch(words as string[], terminal)).toBe(2);
    expect(out).toEqual([]);
    expect(notes.join('\n')).toMatch(reason as RegExp);
  });

  test('ask takes its options anywhere, and the question as words', () => {
    const asked = parseAsk(['How', 'do', 'I', '--tenant', 'fastify', '--deadline-ms', '5000', '--json', 'log?', '--conversation', 'c1', '--timeout', '9']);
    expect(asked).toEqual({
      tenant: 'fastify',
      person: 'local-user',
      timeoutMs: 9_000,
      json: true,
      body: { message: 'How do I log?', conversation_id: 'c1', deadline_ms: 5_000 },
    });
    expect(parseAsk(['--tenant', 'pino', '--', '--json?']).body).toEqual({ message: '--json?' });
  });

  test('timeline without options is the whole of it', () => {
    expect(parseTimeline(['--tenant', 'pino'])).toEqual({ tenant: 'pino', request: undefined, from: 0, limit: Number.POSITIVE_INFINITY, json: false });
    expect(() => parseTimeline(['--tenant', 'pino', '--from', '-1'])).toThrow(UsageError);
  });

  test('a tenant’s options are fields of its policy; a rate without a burst may burst for two seconds', () => {
    expect(policyChanges({ 'budget-day': '5.00', qps: '20', concurrency: '8', set: ['maxToolCalls=2', 'softPercent=70'] })).toEqual({
      budgetDay: 5_000_000,
      requestsPerSecond: 20,
      burst: 40,
      maxInFlight: 8,
      maxToolCalls: 2,
      softPercent: 70,
    });
  });

  test('dollars are read to the micro-dollar, and a correction may be negative', () => {
    expect(['5', '5.00', '0.000001', '-0.20', '$1.5'].map((text) => dollarsOption('amount', text))).toEqual([5_000_000, 5_000_000, 1, -200_000, 1_500_000]);
  });

  test('a tenant as it stands: balances in money and in tokens, and when the day’s budget will be spent', () => {
    const tokens = { settled_tokens: 900, held_tokens: 0, granted_tokens: 0, limit_tokens: 1_000 };
    const money = { settled_micro_usd: 2_000_000, held_micro_usd: 20_000, granted_micro_usd: 0, limit_micro_usd: 5_000_000 };
    const shown = asLines({
      tenant: 'acme' as TenantId,
      suspended: false,
      in_flight: 1,
      most_in_flight: 8,
      queued: 2,
      answered: 3,
      finished: 4,
      refused: 5,
      success_rate: 0.75,
      p95_ms: 900,
      cost_per_success_micro_usd: 600_000,
      burn_today_micro_usd: 2_000_000,
      held_micro_usd: 20_000,
      budget_day_micro_usd: 5_000_000,
      soft_percent: 80,
      spent_total_micro_usd: 2_000_000,
      burn: Array.from({ length: 60 }, () => 100_000),
      policy: { softPercent: 80 },
      policy_version: 2,
      budgets: [{ window: 'day', key: '2026-11-24', ...money, ...tokens }],
      alerts: ['budget_forecast'],
      offset: 42,
    }).join('\n');
    expect(shown).toMatch(/policy version 2, as of offset 42/);
    expect(shown).toMatch(/\$2\.000000 +\$0\.020000 +\$5\.000000 +\$2\.980000/);
    expect(shown).toMatch(/900 +0 +1000 +100/);
    expect(shown).toContain('alerts: budget forecast');
    expect(shown).toMatch(/burn \$6\.000000 in the last hour.*is spent in 30 min/);
  });

  test('money is shown to the micro-dollar', () => {
    expect([0, 1, 1_234_567, -20, 1e15].map(dollars)).toEqual(['$0.000000', '$0.000001', '$1.234567', '-$0.000020', '$1000000000.000000']);
  });
});

describe('server-sent events', () => {
  const field = fc.stringMatching(/^[^\r\n\0]{0,12}$/);
  const plain = fc.record({ id: field, type: field.filter((text) => text !== ''), data: fc.array(field, { minLength: 1, maxLength: 3 }) });

  test('survive every cut of their bytes, every kind of line end, and comments', () => {
    fc.assert(
      fc.property(fc.array(plain, { maxLength: 5 }), fc.constantFrom('\n', '\r\n', '\r'), fc.array(fc.nat(200)), (events, end, cuts) => {
        const text = events
          .map(({ id, type, data }) => [`id: ${id}`, ': still here', `event: ${type}`, ...data.map((line) => `data: ${line}`), '', ''].join(end))
          .join('');
        const bytes = new TextEncoder().encode(`${text}: the end${end}`);
        const parser = new SseParser();
        const found: ServerEvent[] = [];
        let from = 0;
        for (const cut of [...cuts.filter((each) => each < bytes.length).sort((a, b) => a - b), bytes.length]) {
          found.push(...parser.push(bytes.subarray(from, cut)));
          from = cut;
        }
        expect(found).toEqual(events.map(({ id, type, data }) => ({ id, type, data: data.join('\n') })));
      }),
    );
  });

  test('name their stage, or are named by their type', () => {
    expect(stageOf('stage', '{"stage":"running"}')).toBe('running');
    expect(stageOf('message', '{"stage":"finished","outcome":"answered"}')).toBe('finished');
    expect(stageOf('queued', '{}')).toBe('queued');
    expect(stageOf('message', 'not json')).toBe('');
    expect(stageOf('running', 'null')).toBe('running');
  });
});

describe('what the gateway says', () => {
  test('of a finished request is the answer, with its cost and citations', () => {
    const body = {
      request_id: 'r_1',
      stage: 'finished',
      outcome: 'answered',
      reason: 'answered',
      answer: 'So.',
      citations: [{ document: 'docs/a.md', heading: 'A', version: '5' }],
      cost_micro_usd: 12,
      degraded: { mode: 'passages', reason: 'budget', detail: 'budget_spent' },
      retry_at: '2026-11-25T00:00:00.000Z',
    };
    expect(parseAnswer(body)).toEqual({
      request_id: 'r_1',
      outcome: 'answered',
      reason: 'answered',
      answer: 'So.',
      citations: [{ document: 'docs/a.md', heading: 'A', version: '5' }],
      cost_micro_usd: 12,
      degraded: { mode: 'passages', reason: 'budget', detail: 'budget_spent' },
      retry_at: '2026-11-25T00:00:00.000Z',
    });
    expect(parseAnswer({ request_id: 'r_1', stage: 'running' })).toBeUndefined();
    expect(parseAnswer(null)).toBeUndefined();
  });

  test('of an accepted request names it; without an id it is no gateway of ours', () => {
    expect(parseVerdict({ request_id: 'r_1', stage: 'submitted' })).toEqual({ request: 'r_1', stage: 'submitted' });
    expect(() => parseVerdict({ hello: 'world' })).toThrow(CommandError);
  });

  test('of a refused one is a refusal, and of a failed call is not', () => {
    const answer = refusedAtTheDoor(429, { code: 'rate_limited', title: 'Too many requests a second', detail: '20 a second' });
    expect(answer).toMatchObject({ outcome: 'refused', reason: 'rate_limited', cost_micro_usd: 0, detail: 'Too many requests a second: 20 a second' });
    expect(refusedAtTheDoor(403, { code: 'tenant_suspended' })).toMatchObject({ outcome: 'refused', reason: 'tenant_suspended' });
    expect(refusedAtTheDoor(403, { code: 'tenant_unknown' })).toMatchObject({ outcome: 'refused', reason: 'tenant_unknown' });
    expect(refusedAtTheDoor(401, {})).toBeUndefined();
    expect(refusedAtTheDoor(403, { code: 'forbidden' })).toBeUndefined();
  });
});

test('the object of --json has the same fields in every case', () => {
  const names = ['request_id', 'outcome', 'answer', 'citations', 'cost_micro_usd', 'degraded', 'reason'];
  for (const answer of [failed('r_1', 'timeout'), refusedAtTheDoor(503, { code: 'overloaded', title: 'Full' }), parseAnswer({ outcome: 'answered' })])
    expect(Object.keys(JSON.parse(answerJson(answer ?? failed(undefined, ''))))).toEqual(names);
});

describe('a line of the timeline', () => {
  const request = `r_${'a'.repeat(22)}` as RequestId;
  const event = {
    type: 'hold_settled' as const,
    tenant: tenantId('fastify'),
    request,
    conversation: `c_${'b'.repeat(22)}` as never,
    day: '2026-11-24',
    month: '2026-11',
    held: 2_000 as MicroUsd,
    settled: 37 as MicroUsd,
    heldTokens: 64_000,
    settledTokens: 210,
  };
  const line = { partition: 3, offset: 42, time: Date.UTC(2026, 10, 24), event };

  test('has time, offset, type, request and sums', () => {
    expect(asText(line)).toContain('2026-11-24 00:00:00.000Z');
    expect(asText(line)).toMatch(new RegExp(`42 .*hold_settled .*${request}.* settled \\$0.000037 of \\$0.002000`));
  });
  test('is one object as JSON', () => {
    expect(JSON.parse(JSON.stringify(asJson(line)))).toMatchObject({ partition: 3, offset: 42, type: 'hold_settled', settled: 37, tenant: 'fastify' });
  });
});
