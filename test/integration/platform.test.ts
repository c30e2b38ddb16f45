import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HmacKey } from '#schemas/hmac.ts';
import type { TenantId } from '#schemas/ids.ts';
import { KID_HEADER, PLATFORM_KID, platformSignatureKey, SIGNATURE_HEADER, signPlatform, signProducer } from '#schemas/signature.ts';
import { partitionOf } from '#schemas/topics.ts';
import { openBrowser } from '../browser/chromium.ts';
import { Platform } from './platform.ts';

const PARTITIONS = 8;
const platform = new Platform({ EVENKEEL_MODEL_DELAY_MS: '400' });
let operator: string;

beforeAll(async () => {
  await platform.start('--runtimes', '2');
  operator = await platform.token({ role: 'operator' });
  for (const tenant of ['fastify', 'pino', 'undici']) {
    const changes = { burst: 2_000, requestsPerSecond: 500, maxInFlight: 60, budgetDay: 50_000_000 };
    const { status } = await platform.call('PUT', `/v1/tenants/${tenant}/policy`, operator, { changes });
    expect(status).toBe(200);
  }
}, 180_000);
afterAll(async () => {
  await platform.stop();
  platform.remove();
}, 60_000);

/** Invariants 1, 4 and 10 from the history alone. */
async function checkHistory(): Promise<{ readonly finished: number; readonly spent: ReadonlyMap<string, number> }> {
  const [queued, finished, holds] = [new Map<string, number>(), new Map<string, number>(), new Map<string, number>()];
  const spent = new Map<string, number>();
  const count = (map: Map<string, number>, key: string, by = 1) => map.set(key, (map.get(key) ?? 0) + by);
  for (const { name, value } of await platform.topic('tenant.events', PARTITIONS)) {
    if (name === 'request_queued') count(queued, value.request);
    if (name === 'request_finished') count(finished, value.request);
    if (name === 'hold_placed') count(holds, value.request);
    if (name === 'hold_settled') count(holds, value.request, -1);
    if (name === 'cost_recorded' || name === 'outside_cost_recorded') count(spent, value.tenant, value.amount);
  }
  expect([...queued.values()].every((times) => times === 1)).toBe(true);
  expect([...finished.values()].every((times) => times === 1)).toBe(true);
  expect([...holds.values()].every((open) => open === 0)).toBe(true);
  expect(new Set(finished.keys())).toEqual(new Set(queued.keys()));
  return { finished: finished.size, spent };
}

describe('real questions about real documentation', () => {
  test.each([
    ['fastify', 'How do I add a hook?', /Hooks\.md$/],
    ['pino', 'How do I redact sensitive fields?', /redaction\.md$/],
    ['undici', 'How do I mock a request in tests?', /mock/i],
  ])('%s: %s', async (tenant, question, page) => {
    const answer = await platform.ask(tenant, question);
    expect(answer).toMatchObject({ outcome: 'answered', reason: 'answered', degraded: null });
    expect(answer.citations[0].document).toMatch(page);
    expect(answer.cost_micro_usd).toBeGreaterThan(0);
  });

  test('invariant 8: the same question at another desk cites that desk’s own pages, or says that it does not know', async () => {
    const own = await platform.call('GET', '/v1/tenants/pino', operator);
    expect(own.status).toBe(200);
    const answer = await platform.ask('pino', 'How do I add a hook to a route?');
    for (const { document } of answer.citations) expect(document).not.toMatch(/Hooks\.md/);
  });

  test('what no document holds is said, and handed to a person', async () => {
    const answer = await platform.ask('fastify', 'What is the capital of France?');
    expect(answer).toMatchObject({ outcome: 'handed_off', reason: 'missing_knowledge', citations: [] });
  });

  test('a token from the command line is taken as it is', async () => {
    const token = platform.run('token', '--role', 'operator').trim();
    expect((await platform.call('GET', '/v1/tenants', token)).status).toBe(200);
  });

  test('the command line waits, and prints one object', () => {
    const said = JSON.parse(platform.run('ask', '--tenant', 'undici', '--json', 'How do I use a proxy agent?'));
    expect(Object.keys(said).sort()).toEqual(['answer', 'citations', 'cost_micro_usd', 'degraded', 'outcome', 'reason', 'request_id']);
  });
});

describe('a tenant from the command line', () => {
  const tenant = (...args: readonly string[]) => JSON.parse(platform.run('tenant', ...args, '--json'));

  test('is made with its topic and rights, limited, paid for, suspended and resumed; a repeat with the same key counts once', async () => {
    const created = tenant('create', 'acme', '--budget-day', '5.00', '--qps', '20', '--concurrency', '8');
    expect(created).toMatchObject({ done: 'tenant_created', topic: 'audit.acme', facts: { policy: { budgetDay: 5_000_000, maxInFlight: 8 } } });
    expect(created.offset).toBeGreaterThan(0);
    expect(() => tenant('create', 'acme')).toThrow(/exists already/);
    expect(tenant('policy', 'acme', '--set', 'maxInFlight=4', '--expected-version', '1')).toMatchObject({ done: 'policy_set', facts: { version: 2 } });
    expect(() => tenant('policy', 'acme', '--set', 'maxInFlight=5', '--expected-version', '1')).toThrow(/has changed since/);
    const grant = ['grant', 'acme', '--window', 'day', '--amount', '2.50', '--key', 'refill-1'];
    expect([tenant(...grant).done, tenant(...grant).done]).toEqual(['budget_granted', 'decided_before']);
    const yesterday = new Date(Date.now() - 86_400_000).toISOString();
    tenant('cost', 'acme', '--amount', '1.20', '--incurred-at', yesterday, '--key', 'invoice-7');
    expect(tenant('cost', 'acme', '--amount', '-0.20', '--kind', 'correction').facts).toMatchObject({ amount: -200_000, kind: 'correction' });
    const { budgets } = tenant('show', 'acme');
    expect(budgets[0]).toMatchObject({ window: 'day', settled_micro_usd: -200_000, limit_micro_usd: 7_500_000 });
    expect(budgets[2]).toMatchObject({ window: 'total', settled_micro_usd: 1_000_000 });
    expect(tenant('suspend', 'acme').done).toBe('tenant_suspended');
    await expect(platform.ask('acme', 'Anything?')).rejects.toThrow(/suspended/);
    expect(tenant('resume', 'acme').done).toBe('tenant_resumed');
    expect(await platform.ask('acme', 'Anything?')).toMatchObject({ outcome: 'handed_off' });
    expect(platform.run('audit', 'verify', '--tenant', 'acme')).toContain('no gap');
  });
});

test('prices that were wrong are put right from the history, once', () => {
  const correct = () =>
    JSON.parse(
      platform.run('tenant', 'correct-prices', 'fastify', '--version', '1', '--model', 'offline-extractive', '--input', '100', '--output', '400', '--json'),
    );
  const [first] = correct().days;
  expect(first).toMatchObject({ calls: expect.any(Number), offset: expect.any(Number) });
  expect(first.difference).toBe(first.should - first.was);
  expect(first.difference).toBeLessThan(0);
  expect(correct().days[0]).toMatchObject({ difference: 0, offset: null });
});

describe('a request that waits', () => {
  test('is explained: what for, who is ahead, until when, as the owner of its partition says', async () => {
    const token = await platform.token({ tenant: 'undici', role: 'end_user' });
    platform.run('tenant', 'policy', 'undici', '--concurrency', '1');
    const ids: string[] = [];
    for (let at = 0; at < 12; at++)
      ids.push((await platform.call('POST', '/v1/requests', token, { message: `How do I use a proxy agent? ${at}` })).json.request_id);
    const last = ids.at(-1) as string;
    const { waiting } = JSON.parse(platform.run('explain', last, '--json'));
    expect(waiting).toMatchObject({ waits_for: 'in_flight', limit: { limit: 1, observed: 1 }, ahead: { tenants: 0 }, deadline: expect.any(String) });
    expect(waiting.ahead.conversations).toBeGreaterThan(0);
    await platform.finished(token, last);
    expect(platform.run('explain', last)).toContain('has ended');
    platform.run('tenant', 'policy', 'undici', '--concurrency', '60');
  });
});

describe('bad input gets a clear answer and delays nobody', () => {
  const long = 'x'.repeat(17_000);
  test.each([
    ['bad JSON', '{"message":', undefined, 400],
    ['no message', {}, undefined, 400],
    ['an unknown field', { message: 'hi', tenant: 'pino' }, undefined, 400],
    ['a number as message', { message: 5 }, undefined, 400],
    ['an empty message', { message: '' }, undefined, 400],
    ['a long message', { message: long }, undefined, 400],
    ['a huge body', { message: 'x'.repeat(1_000_000) }, undefined, 413],
    ['a negative deadline', { message: 'hi', deadline_ms: -1 }, undefined, 400],
    ['a deadline that has passed', { message: 'hi', deadline_ms: 0 }, undefined, 422],
    ['no credential', { message: 'hi' }, 'none', 401],
    ['a forged credential', { message: 'hi' }, 'forged', 401],
    ['an auditor’s credential', { message: 'hi' }, 'auditor', 403],
    ['an unknown tenant’s credential', { message: 'hi' }, 'unknown', 403],
  ])('over HTTP: %s', async (_what, body, credential, status) => {
    const tokens: Record<string, () => Promise<string | undefined>> = {
      none: async () => undefined,
      forged: async () => `${(await platform.token({ tenant: 'pino', role: 'end_user' })).slice(0, -8)}AAAAAAAA`,
      auditor: () => platform.token({ tenant: 'pino', role: 'auditor' }),
      unknown: () => platform.token({ tenant: 'nobody', role: 'end_user' }),
    };
    const token = await (tokens[credential ?? ''] ?? (() => platform.token({ tenant: 'pino', role: 'end_user' })))();
    const answer = await platform.call('POST', '/v1/requests', token, body);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(answer.json).toMatchObject({ status, title: expect.any(String), detail: expect.any(String), code: expect.any(String) });
  });

  test('over Kafka: each becomes a dead letter with its reason; a signed one behind them is answered', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const producerKeys = [{ kid: 'k1', publicKey: publicKey.export({ format: 'jwk' }).x }];
    expect((await platform.call('PUT', '/v1/tenants/undici/policy', operator, { changes: { producerKeys } })).status).toBe(200);
    const tenant = 'undici' as TenantId;
    const own = partitionOf(tenant, PARTITIONS);
    const request = (fields: object = {}) =>
      platform.codec.encode('support_request', {
        tenantId: tenant,
        requestId: `direct-${Math.random()}`,
        person: 'ann',
        role: 'end_user',
        conversationId: null,
        deadlineMs: 60_000,
        message: 'How do I mock a request in tests?',
        metadata: null,
        sealed: null,
        ...fields,
      });
    const signed = (value: Uint8Array, key: string = tenant) => ({
      [KID_HEADER]: 'k1',
      [SIGNATURE_HEADER]: Buffer.from(signProducer(privateKey, 'support.requests', key, value)),
    });
    const good = request();
    const foreign = request({ tenantId: 'fastify' });
    const header = Buffer.from(good.subarray(0, 5));
    const platformKey = platformSignatureKey(Buffer.from(platform.secrets.masterKey, 'hex'));
    const bad: readonly (readonly [string, string | null, Uint8Array | null, Record<string, Buffer | string>])[] = [
      ['record_tombstone', tenant, null, {}],
      ['record_unreadable', tenant, Buffer.from('{"message":"json"}'), {}],
      ['schema_unknown', tenant, Buffer.from([0, 0, 9, 9, 9, 1]), {}],
      ['record_hostile', tenant, Buffer.concat([header, Buffer.from([0xfe, 0xff, 0xff, 0xff, 0x0f])]), {}],
      ['record_hostile', tenant, Buffer.concat([good, Buffer.from([1, 2, 3])]), {}],
      ['record_too_large', tenant, request({ message: 'x'.repeat(300_000) }), {}],
      ['signature_missing', tenant, request(), {}],
      ['signature_invalid', tenant, request(), signed(good)],
      ['signature_invalid', tenant, good, { [KID_HEADER]: 'k9', [SIGNATURE_HEADER]: Buffer.alloc(64) }],
      ['tenant_mismatch', 'pino', request(), {}],
      ['tenant_id_invalid', tenant, request({ tenantId: '../etc' }), {}],
      ['sealed_unreadable', tenant, ...sealedNonsense(request, platformKey, tenant)],
      ['body_invalid', tenant, ...withSignature(request({ message: '' }), signed)],
      ['body_invalid', tenant, ...withSignature(request({ message: null, sealed: Buffer.alloc(64, 9) }), signed)],
      ['body_invalid', tenant, ...withSignature(request({ role: 'root' }), signed)],
    ];
    // A forged tenant: fastify's name under undici's key, on fastify's partition.
    const producer = platform.client('producer-undici').producer({
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition ?? 0,
    });
    await producer.connect();
    const send = (partition: number, key: string | null, value: Uint8Array | null, headers: Record<string, Buffer | string>) =>
      producer.send({ topic: 'support.requests', messages: [{ partition, key, value: value && Buffer.from(value), headers }] });
    for (const [, key, value, headers] of bad) await send(own, key, value, headers);
    await send(partitionOf('fastify' as TenantId, PARTITIONS), 'fastify', foreign, signed(foreign, 'fastify'));
    const moved = request({ requestId: 'moved' });
    await send((own + 1) % PARTITIONS, tenant, moved, signed(moved));
    await send(own, tenant, good, signed(good));
    await producer.disconnect();
    const before = (await platform.call('GET', '/v1/tenants/undici', operator)).json.finished;
    await platform.until(
      'both signed records to be answered',
      30_000,
      async () => (await platform.call('GET', '/v1/tenants/undici', operator)).json.finished >= before + 2,
    );
    const letters = (await platform.topic('support.dead-letters', 1)).flatMap(({ name, value }) => (name === 'dead_letter' ? [value.code] : []));
    expect(letters.sort()).toEqual([...bad.map(([code]) => code), 'signature_invalid'].sort());
  });
});

type Make = (fields: object) => Uint8Array;
function sealedNonsense(request: Make, key: HmacKey, tenant: TenantId) {
  const value = request({ message: null, sealed: Buffer.alloc(64, 7) });
  return [value, { [KID_HEADER]: PLATFORM_KID, [SIGNATURE_HEADER]: Buffer.from(signPlatform(key, 'support.requests', tenant, value)) }] as const;
}
function withSignature(value: Uint8Array, signed: (value: Uint8Array) => Record<string, Buffer | string>) {
  return [value, signed(value)] as const;
}

describe('who may read what', () => {
  test('invariant 8 and 9: a tenant’s auditor reads its own audit topic with a plain client, and is refused any other', async () => {
    const consumer = platform.client('auditor-fastify').consumer({ groupId: 'auditor-fastify' });
    await consumer.connect();
    await consumer.subscribe({ topics: ['audit.fastify'], fromBeginning: true });
    let read = 0;
    await consumer.run({ eachMessage: async () => void read++ });
    await platform.until('entries of its own audit', 30_000, () => read >= 3);
    await consumer.disconnect();
    for (const topic of ['audit.pino', 'tenant.events', 'support.requests', 'support.steps', 'support.results', 'tenant.keys']) {
      const admin = platform.client('auditor-fastify').admin();
      await admin.connect();
      await expect(admin.fetchTopicMetadata({ topics: [topic] })).rejects.toThrow(/[Nn]ot authorized/);
      await admin.disconnect();
    }
    expect(platform.run('audit', 'verify', '--tenant', 'fastify')).toContain('no gap, no fork');
  });

  test('another tenant’s or person’s request is not there', async () => {
    const ann = await platform.token({ tenant: 'pino', role: 'end_user', subject: 'ann' });
    const { json } = await platform.call('POST', '/v1/requests', ann, { message: 'How do I create a child logger?' });
    await platform.finished(ann, json.request_id);
    for (const [tenant, subject] of [
      ['pino', 'bob'],
      ['fastify', 'ann'],
    ] as const) {
      const other = await platform.token({ tenant, role: 'end_user', subject });
      expect((await platform.call('GET', `/v1/requests/${json.request_id}`, other)).status).toBe(404);
    }
  });
});

describe('a repeat changes nothing', () => {
  test('the same Idempotency-Key is the same request; with another body it is a conflict', async () => {
    const token = await platform.token({ tenant: 'pino', role: 'end_user' });
    const post = (message: string) => platform.call('POST', '/v1/requests', token, { message }, { 'idempotency-key': 'order-1' });
    const [first, second] = await Promise.all([post('How do I redact?'), post('How do I redact?')]);
    expect(second.json.request_id).toBe(first.json.request_id);
    expect((await post('Something else')).status).toBe(409);
  });

  test('who does not wait for the verdict finds it under the id: an answer, and a refusal with its words', async () => {
    const token = await platform.token({ tenant: 'pino', role: 'end_user' });
    const submit = (body: object) => platform.call('POST', '/v1/requests', token, body, { prefer: 'respond-async' });
    const { status, headers, json } = await submit({ message: 'How do I redact?' });
    expect({ status, applied: headers.get('preference-applied') }).toEqual({ status: 202, applied: 'respond-async' });
    expect((await platform.finished(token, json.request_id)).outcome).toBe('answered');
    const runtimes = ['runtime-1', 'runtime-2'].map((name) => platform.pid(name));
    for (const pid of runtimes) process.kill(pid, 'SIGSTOP');
    let late: string;
    try {
      late = (await submit({ message: 'How do I redact?', deadline_ms: 300 })).json.request_id;
      expect((await platform.call('GET', `/v1/requests/${late}`, token)).json.stage).toBe('submitted');
      // Its deadline passes while nobody can decide.
      await new Promise((resolve) => setTimeout(resolve, 400));
    } finally {
      for (const pid of runtimes) process.kill(pid, 'SIGCONT');
    }
    expect(await platform.finished(token, late)).toMatchObject({
      outcome: 'refused',
      reason: 'deadline_expired',
      answer: null,
      problem: { code: 'deadline_expired', status: 422, limit_name: 'deadline' },
    });
  });
});

describe('the live page', () => {
  test('moves within a second of a question, and its burn is the sum of the cost events', async () => {
    const browser = await openBrowser();
    try {
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on('pageerror', (error) => errors.push(error.message));
      await page.goto(platform.url);
      await page.locator('#token').fill(operator);
      await page.keyboard.press('Enter');
      const spent = page.locator('tr[data-tenant=fastify] [data-micro-usd]');
      await spent.waitFor();
      const shown = async () => Number(await spent.getAttribute('data-micro-usd'));
      const before = await shown();
      const answer = await platform.ask('fastify', 'How do I register a plugin?');
      await platform.until('the page to move', 1_000, async () => (await shown()) === before + answer.cost_micro_usd);
      expect(await shown()).toBe((await checkHistory()).spent.get('fastify'));
      expect(errors).toEqual([]);
    } finally {
      await browser.close();
    }
  });
});

describe('crashes', () => {
  test('kill -9 of both runtimes with 200 in flight: 200 ends, none twice, the balance is the sum of the costs', async () => {
    const before = (await checkHistory()).finished;
    const asked = await Promise.all(
      Array.from({ length: 200 }, async (_, at) => {
        const tenant = ['fastify', 'pino', 'undici'][at % 3] as string;
        const token = await platform.token({ tenant, role: 'end_user', subject: `person-${at % 7}` });
        const { status, json } = await platform.call('POST', '/v1/requests', token, { message: `How do I configure a timeout? (${at})`, deadline_ms: 120_000 });
        expect(status).toBe(202);
        return { token, id: json.request_id as string };
      }),
    );
    for (const name of ['runtime-1', 'runtime-2']) process.kill(platform.pid(name), 'SIGKILL');
    const ends = await Promise.all(asked.map(({ token, id }) => platform.finished(token, id)));
    expect(ends.filter(({ outcome }) => outcome === 'refused')).toEqual([]);
    const { finished, spent } = await checkHistory();
    expect(finished).toBe(before + 200);
    for (const [tenant, sum] of spent) expect((await platform.call('GET', `/v1/tenants/${tenant}`, operator)).json.spent_total_micro_usd).toBe(sum);
  }, 120_000);

  test('one of two runtimes is killed: its partitions are taken over, all requests answered', async () => {
    const asking = Array.from({ length: 30 }, (_, at) => platform.ask(['fastify', 'pino', 'undici'][at % 3] as string, 'How do I add a plugin or a hook?'));
    await new Promise((resolve) => setTimeout(resolve, 200));
    process.kill(platform.pid('runtime-1'), 'SIGKILL');
    const ends = await Promise.all(asking);
    expect(ends.every(({ stage }) => stage === 'finished')).toBe(true);
    await checkHistory();
  }, 120_000);

  test('invariant 3 and 5: the live state is the fold of its history', async () => {
    await platform.until('every process to be ready', 60_000, () => platform.processes().every(({ ready }) => ready));
    expect(platform.run('replay', 'verify')).toContain('ok');
    expect(platform.run('replay', 'timeline', '--tenant', 'fastify')).toContain('request_finished');
  });

  test('a killed parent leaves nothing that blocks the next start, and what happened is kept', async () => {
    const before = (await checkHistory()).finished;
    await platform.killParent();
    await platform.start('--runtimes', '2');
    expect(JSON.parse(platform.run('status', '--json'))).toMatchObject({ ready: true });
    expect((await checkHistory()).finished).toBe(before);
    expect((await platform.ask('pino', 'How do I create a child logger?')).outcome).toBe('answered');
  }, 180_000);

  test('a second start says that it runs already; Ctrl-C ends every child', async () => {
    expect(() => platform.run('start')).toThrow(/runs already/);
    const pids = platform.processes().map(({ pid }) => pid);
    await platform.stop();
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  }, 60_000);
});
