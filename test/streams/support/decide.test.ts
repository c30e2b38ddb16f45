/** The domain by example: given a history, when an input comes, then these events follow. */
import { describe, expect, test } from 'vitest';
import type { Command } from '#schemas/commands.ts';
import type { Event, StepCalls, StepKind } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId } from '#schemas/ids.ts';
import type { Input } from '#streams/support/input.ts';
import { windowKeys } from '#streams/support/ledger.ts';
import { rows } from '#streams/support/state.ts';
import { LedgerWorld, TENANT } from './ledger-world.ts';

const NOON = Date.UTC(2026, 10, 24, 12);
const DAY = 86_400_000;
type Change = Readonly<Record<string, number>>;

const says = (commandId: string) => ({ tenantId: TENANT, commandId, by: 'op', role: 'operator' }) as const;
const command = (body: Command): Input => ({ kind: 'command', tenant: TENANT, mark: `k_${body.commandId}`, command: body });
const create = (changes: Change = {}) => command({ type: 'create_tenant', ...says('create'), changes: JSON.stringify(changes) });
const set = (id: string, changes: Change, expectedVersion: number | null = null) =>
  command({ type: 'set_policy', ...says(id), changes: JSON.stringify(changes), expectedVersion });
const cost = (id: string, amount: number, more: Partial<Extract<Command, { type: 'record_cost' }>> = {}) =>
  command({ type: 'record_cost', ...says(id), amount, tokens: 0, kind: 'outside', reference: '', incurredAt: null, ...more });
const grant = (id: string, window: 'day' | 'month' | 'total', amount: number, tokens = 0) =>
  command({ type: 'grant_budget', ...says(id), window, amount, tokens });
const of = (n: number) => ({ tenant: TENANT, item: `c${n}` as ConversationId, mark: `r${n}` as RequestId });
/** Of what runs: the world says which life of the id that is. */
const ofTurn = (n: number) => ({ ...of(n), arrival: -1 });
const request = (n: number, appended = NOON, deadlineMs: number | null = null): Input => ({
  kind: 'request',
  ...of(n),
  person: 'p' as PersonId,
  bodyDigest: 'd',
  source: 'http',
  appended,
  deadlineMs,
  sealed: new Uint8Array(0),
});
const dispatch = (n: number): Input => ({ kind: 'dispatch', tenant: TENANT, item: of(n).item });
const step = (n: number, name: string, more: { worst?: number; tokens?: number; calls?: StepCalls; attempt?: number; stepKind?: StepKind } = {}): Input => {
  const { worst = 10, tokens = 10, calls = 'model', attempt = 1, stepKind = 'read' } = more;
  return { kind: 'step_start', ...ofTurn(n), step: name, attempt, stepKind, calls, worstCase: worst as MicroUsd, worstTokens: tokens, priceVersion: 1 };
};
const result = (n: number, name: string, amount: number, tokens: number): Input => {
  const spent = { cost: amount as MicroUsd, inputTokens: tokens, outputTokens: 0, model: 'm', digest: '', sealed: new Uint8Array(0) };
  return { kind: 'step_finish', ...ofTurn(n), step: name, attempt: 1, ...spent };
};
const finish = (n: number): Input => ({
  kind: 'finish',
  ...ofTurn(n),
  outcome: 'answered',
  reason: 'answered',
  degraded: null,
  retryAfterMs: null,
  citations: 0,
  sealed: null,
});

/** given(…inputs).when(input, at) is what follows. */
function given(...inputs: readonly Input[]) {
  const world = new LedgerWorld();
  const own = (input: Input): Input => ('arrival' in input ? { ...input, arrival: world.arrival(input.item) } : input);
  for (const input of inputs) world.decide(own(input), NOON);
  return { world, when: (input: Input, at = NOON): readonly Event[] => world.decide(own(input), at) };
}
const running = (changes: Change, ...numbers: readonly number[]) => given(create(changes), ...numbers.flatMap((n) => [request(n), dispatch(n)]));

describe('budgets: a hold fits into every window, in money and in tokens', () => {
  test.each([
    ['day', { budgetDay: 30_000 }],
    ['month', { budgetMonth: 30_000 }],
    ['total', { budgetTotal: 30_000 }],
    ['tokens of the day', { budgetTokensDay: 90_000 }],
    ['tokens of the month', { budgetTokensMonth: 90_000 }],
    ['tokens in all', { budgetTokensTotal: 90_000 }],
  ])('%s: given one hold of two that would fit, the second waits for its end', (_window, budget: Change) => {
    const { when } = running(budget, 1);
    when(request(2));
    expect(when(dispatch(2))).toEqual([]);
    when(finish(1));
    expect(when(dispatch(2))).toMatchObject([{ type: 'hold_placed', amount: 20_000, tokens: 64_000, degraded: null }]);
  });

  test('given tokens that are settled, the request runs on what costs nothing, at once', () => {
    const { when } = given(create({ budgetTokensDay: 100_000 }), cost('f', 0, { tokens: 50_000 }), request(1));
    expect(when(dispatch(1))).toMatchObject([{ type: 'hold_placed', amount: 0, tokens: 0, degraded: { reason: 'budget' } }]);
  });

  test('given a budget that is spent, when more is granted, then the next hold is placed; the grant is gone with its window', () => {
    const { when } = given(create({ budgetDay: 20_000 }), cost('f', 20_000), grant('g', 'day', 20_000), request(1));

    expect(when(dispatch(1))[0]).toMatchObject({ amount: 20_000 });
    when(request(2, NOON + DAY), NOON + DAY);
    expect(when(dispatch(2), NOON + DAY)[0]).toMatchObject({ amount: 20_000, day: '2026-11-25' });
    when(request(3, NOON + DAY), NOON + DAY);
    expect(when(dispatch(3), NOON + DAY)).toEqual([]);
  });

  test('given as much as a balance can hold, then one more grant or cost is refused, whatever order they came in, and the account can be written', () => {
    const most = 1e15;
    const { world, when } = given(create());
    const first = (input: Input) => when(input)[0]?.type;
    for (let at = 0; at < 8; at++) expect(first(grant(`g${at}`, 'day', most, most))).toBe('budget_granted');
    expect(when(grant('more', 'day', 1))).toMatchObject([{ type: 'command_refused', code: 'amount_invalid', field: expect.stringContaining('all grants') }]);
    const yesterday = { kind: 'correction', incurredAt: NOON - DAY } as const;
    for (let at = 0; at < 8; at++)
      expect([first(cost(`c${at}`, most)), first(cost(`y${at}`, -most, yesterday))]).toEqual(Array(2).fill('outside_cost_recorded'));
    expect(when(cost('more-cost', 1))).toMatchObject([{ type: 'command_refused', code: 'amount_invalid', field: expect.stringContaining('all costs') }]);
    expect(() => rows.account.encode(world.account)).not.toThrow();
  });

  test('a grant of nothing is refused, and a negative one takes back', () => {
    const { when } = given(create());
    expect(when(grant('none', 'day', 0))).toMatchObject([{ type: 'command_refused', code: 'amount_invalid', field: expect.stringContaining('nothing') }]);
    expect([grant('tokens', 'day', 0, 5), grant('back', 'day', -5)].map((input) => when(input)[0]?.type)).toEqual(['budget_granted', 'budget_granted']);
  });

  test('given a hold of yesterday, when it settles today, then yesterday pays', () => {
    const { world, when } = running({}, 1);
    when(step(1, 's', { worst: 500 }), NOON + DAY);
    when(result(1, 's', 400, 10), NOON + DAY);
    when(finish(1), NOON + DAY);
    const day = (key: string) => world.account.balances.find((each) => each.window === 'day' && each.key === key)?.settled ?? 0;
    expect([day('2026-11-24'), day('2026-11-25')]).toEqual([400, 0]);
  });

  test('soft, then hard: each is said once a window, in either unit', () => {
    const { when } = given(create({ budgetDay: 1_000, softPercent: 80, budgetTokensDay: 1_000 }));
    const alerts = (events: readonly Event[]) =>
      events.flatMap((event) => (event.type === 'alert_raised' ? [`${event.alert} ${event.unit} ${event.spent}/${event.limit}`] : []));
    expect(alerts(when(cost('a', 700)))).toEqual([]);
    expect(alerts(when(cost('b', 100)))).toEqual(['budget_soft micro_usd 800/800']);
    expect(alerts(when(cost('c', 100, { tokens: 900 })))).toEqual(['budget_soft tokens 900/800']);
    expect(alerts(when(cost('d', 100, { tokens: 100 })))).toEqual(['budget_hard micro_usd 1000/1000', 'budget_hard tokens 1000/1000']);
    expect(alerts(when(cost('e', 100)))).toEqual([]);
    expect(alerts(when(cost('f', 1_000), NOON + DAY))).toEqual(['budget_hard micro_usd 1000/1000']);
  });
});

describe('facts: late, doubled, out of order, the balances are the same', () => {
  const facts = [
    cost('a', 500, { incurredAt: NOON - 3 * DAY }),
    cost('b', 700, { incurredAt: NOON - DAY, tokens: 5 }),
    cost('c', -200, { kind: 'correction', incurredAt: NOON - DAY }),
    cost('d', 900),
    cost('e', 100, { incurredAt: NOON - 30 * DAY }),
  ];
  const balancesAfter = (order: readonly number[]) => {
    const { world, when } = given(create());
    for (const at of order) when(facts[at] as Input);
    return world.account.balances;
  };
  test('in every order, and each twice', () => {
    const permutations = (rest: readonly number[]): number[][] =>
      rest.length === 0 ? [[]] : rest.flatMap((at) => permutations(rest.filter((each) => each !== at)).map((tail) => [at, ...tail]));
    const expected = balancesAfter([0, 1, 2, 3, 4]);
    expect(expected.map(({ window, key, settled }) => [window, key, settled])).toEqual([
      ['day', '2026-11-24', 900],
      ['day', '2026-11-23', 500],
      ['month', '2026-11', 1_900],
      ['month', '2026-10', 100],
      ['total', 'total', 2_000],
    ]);
    for (const order of permutations([0, 1, 2, 3, 4])) expect(balancesAfter([...order, ...order])).toEqual(expected);
  });

  test('a key that says something else the second time is refused, and the first stands', () => {
    const { world, when } = given(create(), cost('a', 500));
    expect(when(cost('a', 501))).toMatchObject([{ type: 'command_refused', code: 'conflict' }]);
    expect(when(cost('a', 500))).toEqual([]);
    expect(world.account.balances.find(({ window }) => window === 'total')?.settled).toBe(500);
  });

  test('one that names its time counts once for ever: its key is forgotten only when it is too old to come again', () => {
    const fact = cost('a', 500, { incurredAt: NOON });
    const { when } = given(create(), fact);
    expect(when(fact, NOON + 34 * DAY)).toEqual([]);
    const forgotten = when({ kind: 'wake', tenant: TENANT, mark: 'k_a' }, NOON + 40 * DAY);
    expect(forgotten).toMatchObject([{ type: 'request_forgotten' }]);
    expect(when(fact, NOON + 40 * DAY)).toMatchObject([{ type: 'command_refused', code: 'body_invalid' }]);
  });

  test.each([
    ['of the future', { incurredAt: NOON + 2 * 60_000 }, 'body_invalid', /incurred_at/],
    ['too old', { incurredAt: NOON - 36 * DAY }, 'body_invalid', /35 days/],
    ['negative from outside', { amount: -5 }, 'amount_invalid', /correction/],
    ['not whole', { amount: 0.5 }, 'amount_invalid', /amount/],
    ['beyond a billion dollars', { amount: 1e15 + 1 }, 'amount_invalid', /at most/],
    ['with words as a reference', { reference: 'Dear Ann, hello' }, 'body_invalid', /reference/],
  ])('%s: refused with its field, and nothing is remembered', (_what, more, code, field) => {
    const { when } = given(create());
    expect(when(cost('x', 5, more))).toMatchObject([{ type: 'command_refused', code, field: expect.stringMatching(field) }]);
    expect(when(cost('x', 5))).toMatchObject([{ type: 'outside_cost_recorded', amount: 5 }]);
  });

  test('a cost beyond the budget is recorded, and nothing that costs starts until it is made good', () => {
    const { when } = given(create({ budgetDay: 50_000 }), cost('a', 90_000), request(1), request(2));
    expect(when(dispatch(1))[0]).toMatchObject({ amount: 0, degraded: { reason: 'budget' } });
    when(cost('b', -60_000, { kind: 'price_correction', reference: 'prices/2' }));
    expect(when(dispatch(2))[0]).toMatchObject({ amount: 20_000, degraded: null });
  });
});

describe('a running request meets its own limits', () => {
  test.each<[string, Change, Input[], Input, string]>([
    ['steps', { maxSteps: 2 }, [step(1, 'a'), step(1, 'b')], step(1, 'c'), 'request_steps'],
    ['money, with what is promised to other calls', { requestCeiling: 100 }, [step(1, 'a', { worst: 60 })], step(1, 'b', { worst: 50 }), 'request_budget'],
    ['tokens, with what is promised to other calls', { requestTokens: 100 }, [step(1, 'a', { tokens: 60 })], step(1, 'b', { tokens: 50 }), 'request_tokens'],
    ['tool calls at once', { maxToolFanOut: 1 }, [step(1, 'a', { calls: 'tool' })], step(1, 'b', { calls: 'tool' }), 'tool_fan_out'],
    ['tool calls of the tenant', { maxToolCalls: 1 }, [step(2, 'a', { calls: 'tool' })], step(1, 'b', { calls: 'tool' }), 'tool_calls_in_flight'],
  ])('%s: the step does not start, and consumes nothing', (_what, changes, before, ask, limitName) => {
    const { world, when } = running(changes, 1, 2);
    for (const input of before) when(input);
    const account = world.account;
    expect(when(ask)).toMatchObject([{ type: 'step_refused', limitName, limit: expect.any(Number), observed: expect.any(Number) }]);
    expect(world.account).toEqual(account);
  });

  test('a tool call frees its place with its result, with its loss, and with the end of its request', () => {
    const { world, when } = running({ maxToolCalls: 1 }, 1, 2);
    const tool = { calls: 'tool' } as const;
    when(step(1, 'a', tool));
    when(result(1, 'a', 5, 5));
    expect(when(step(2, 'a', tool))).toMatchObject([{ type: 'step_started', calls: 'tool' }]);
    expect(when(step(2, 'a', { ...tool, attempt: 2 }))).toMatchObject([{ type: 'cost_recorded', presumed: true }, { type: 'step_started' }]);
    expect(world.account.toolCalls).toBe(1);
    when(finish(2));
    expect(world.account.toolCalls).toBe(0);
    expect(when(step(1, 'b', tool))).toMatchObject([{ type: 'step_started' }]);
  });

  // Found by the simulation, with a clock that had stepped by a day: a result came twice, the second time to another request under the same id.
  test('an id that was forgotten comes again: results of its former life are not those of the new one', () => {
    const { world, when } = running({}, 1);
    const former = { ...result(1, 'a', 5, 5), arrival: world.arrival(of(1).item) } as Input;
    when(step(1, 'a'));
    when(result(1, 'a', 5, 5));
    when(finish(1));
    const later = NOON + 3 * 24 * 3_600_000;
    expect(when({ kind: 'wake', tenant: TENANT, mark: of(1).mark }, later)).toMatchObject([{ type: 'request_forgotten' }]);
    when(request(1, later), later);
    when(dispatch(1), later);
    when(step(1, 'a'), later);
    expect(world.decide(former, later)).toEqual([]);
    expect(when(result(1, 'a', 7, 7), later)).toMatchObject([{ type: 'cost_recorded', amount: 7 }, { type: 'step_finished' }]);
  });

  test('a step that costs nothing fits a hold that was overrun: by a result, and by an attempt that was lost', () => {
    const { when } = running({ requestTokens: 64 }, 1);
    when(step(1, 'a', { worst: 0, tokens: 36 }));
    when(step(1, 'b', { worst: 0, tokens: 28 }));
    when(result(1, 'a', 0, 45));
    expect(when(step(1, 'b', { worst: 0, tokens: 0, attempt: 2 }))).toMatchObject([{ type: 'cost_recorded', presumed: true }, { type: 'step_started' }]);
    expect(when(step(1, 'c', { worst: 0, tokens: 1 }))).toMatchObject([{ type: 'step_refused', limitName: 'request_tokens', limit: 0, observed: 1 }]);
    expect(when(step(1, 'd', { worst: 0, tokens: 0 }))).toMatchObject([{ type: 'step_started' }]);
  });

  test('what is lost is presumed spent at its worst case, in money and in tokens, by the prices it was reckoned by', () => {
    const { when } = running({}, 1);
    when(step(1, 'a', { worst: 300, tokens: 70 }));
    expect(when(finish(1))).toMatchObject([
      { type: 'cost_recorded', presumed: true, amount: 300, inputTokens: 70, priceVersion: 1 },
      { type: 'hold_settled', held: 20_000, settled: 300, heldTokens: 64_000, settledTokens: 70 },
      { type: 'request_finished', cost: 300 },
    ]);
  });
});

describe('at the door', () => {
  test('the longest deadline is the operator’s', () => {
    const { when } = given(create({ maxDeadlineMs: 5_000 }));
    expect(when(request(1, NOON, 3_600_000))).toMatchObject([{ type: 'request_queued', deadline: NOON + 5_000 }]);
  });
  test.each<[string, Change, Input[], Input, string, string]>([
    ['a deadline that has passed', {}, [], request(1, NOON - 1_000, 500), 'deadline_expired', 'deadline'],
    ['a full queue', { maxQueued: 1 }, [request(1)], request(2), 'queue_full', 'queue_length'],
    ['a suspended tenant', {}, [command({ type: 'suspend_tenant', ...says('s') })], request(1), 'tenant_suspended', 'suspended'],
  ])('%s: refused by name, and no row is left', (_what, changes, before, input, code, limitName) => {
    const { world, when } = given(create(changes), ...before);
    const { queued } = world.account;
    expect(when(input)).toMatchObject([{ type: 'request_refused', code, limitName }]);
    expect(world.account.queued).toBe(queued);
    expect(world.events.filter(({ type }) => type === 'request_queued')).toHaveLength(queued);
  });
});

test('what a gateway refused by itself is counted, by a limit of the table; no key is remembered for it', () => {
  const report = (limitName: string, count: number) => command({ type: 'report_refusals', ...says('gateway-7'), limitName, count, since: NOON });
  const { world, when } = given(create());
  expect(when(report('requests_per_second', 40))).toMatchObject([{ type: 'refusals_reported', limitName: 'requests_per_second', count: 40 }]);
  when(report('queue_length', 2));
  expect(world.account.refused).toBe(42);
  for (const wrong of [report('nonsense', 1), report('queue_length', 0)])
    expect(when(wrong)).toMatchObject([{ type: 'command_refused', code: 'body_invalid' }]);
});

test('a policy that has changed since is not overwritten', () => {
  const { when } = given(create(), set('a', { maxInFlight: 4 }));
  expect(when(set('b', { maxInFlight: 5 }, 1))).toMatchObject([{ type: 'command_refused', code: 'policy_version_conflict' }]);
  expect(when(set('b', { maxInFlight: 5 }, 2))).toMatchObject([{ type: 'policy_set', version: 3, policy: { maxInFlight: 5 } }]);
});

test('a clock that steps by 25 hours moves the window once, and the log’s time does not go back', () => {
  const { world, when } = given(create(), cost('a', 1));
  when(cost('b', 2), NOON + 25 * 3_600_000);
  when(cost('c', 4), NOON + 25 * 3_600_000 + 1);
  const settled = (at: number) => world.account.balances.find(({ window, key }) => window === 'day' && key === windowKeys(at).day)?.settled;
  expect([settled(NOON), settled(NOON + DAY)]).toEqual([1, 6]);
});
