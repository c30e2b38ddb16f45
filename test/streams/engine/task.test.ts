import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { ConversationId, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { openTask } from '#streams/engine/task.ts';
import { MemoryBroker, type MemoryLogOptions, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import type { Input } from '#streams/support/input.ts';
import { support } from '#streams/support/support.ts';

const tenant = 'acme' as TenantId;
const topics = { history: 'tenant.events', words: 'support.steps' };
const codec = createCodec(localSchemas());

const later = (ms: number, run: () => void) => {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
};

async function taskOf(
  broker: MemoryBroker,
  monotonic = () => 0,
  group: Pick<MemoryLogOptions, 'owned' | 'network'> = { owned: () => true },
  abort: () => void = () => undefined,
) {
  return openTask({
    machine: support(codec),
    partition: 0,
    partitions: 1,
    topics,
    log: memoryLog({ broker, topics, ...group }),
    stores: memoryStores(),
    effects: () => ({ start: (work) => ({ key: work.key, abort }) }),
    clock: { monotonic, after: later },
    cap: 1,
    deadLetter: () => [],
    report: { committed: () => undefined, warn: () => undefined },
  });
}

const history = (broker: MemoryBroker) => broker.partition(topics.history, 0).records.map(({ value }) => codec.decode(value ?? new Uint8Array()));

const createdWith = (changes: object): Input => ({
  kind: 'command',
  tenant,
  mark: 'k_create',
  command: { type: 'create_tenant', tenantId: tenant, commandId: 'create', by: 'test', role: 'operator', changes: JSON.stringify(changes) },
});
const created = createdWith({});
const late: Extract<Input, { kind: 'request' }> = {
  kind: 'request',
  tenant,
  item: 'c_1' as ConversationId,
  mark: 'r_1' as RequestId,
  person: 'p_1' as PersonId,
  bodyDigest: '',
  source: 'kafka',
  appended: 0,
  deadlineMs: 1,
  sealed: Buffer.alloc(0),
};

// Found by the simulation: a refusal leaves no row, so nothing but the offset says that the record has had its verdict.
test('a record that is fed twice before its first commit is refused once (invariant 10)', async () => {
  const broker = new MemoryBroker(() => 1_000_000);
  const task = await taskOf(broker);
  await task.offer(created, { topic: 'tenant.commands', from: 0, next: 1 });
  const record = { topic: 'support.requests', from: 0, next: 1, at: 0 };
  await Promise.all([task.offer(late, record), task.offer(late, record)]);
  const names = history(broker).map(({ name }) => name);
  expect(names.filter((name) => name === 'request_refused')).toHaveLength(1);
  await task.close();
});

// Found by the simulation: the row's first deadline went with the turn that ended, and the second was not looked at.
test('a request whose deadline fell while the turn before it ended does not start', async () => {
  let now = 0;
  const broker = new MemoryBroker(() => 1_000_000 + now);
  const task = await taskOf(broker, () => now);
  await task.offer(created, { topic: 'tenant.commands', from: 0, next: 1 });
  const ask = (at: number) => ({ ...late, mark: `r_${at}` as RequestId, appended: 1_000_000, deadlineMs: 1_000 + at });
  for (const at of [1, 2]) await task.offer(ask(at), { topic: 'support.requests', from: at - 1, next: at, at: 1_000_000 });
  now = 2_000;
  const { tenant: of, item, mark } = ask(1);
  await task.offer({
    kind: 'finish',
    tenant: of,
    item,
    mark,
    arrival: 0,
    outcome: 'answered',
    reason: 'answered',
    degraded: null,
    retryAfterMs: null,
    citations: 0,
    sealed: null,
  });
  const started = history(broker).flatMap(({ name, value }) => (name === 'hold_placed' ? [value.request] : []));
  expect(started).toEqual(['r_1']);
  expect(task.peek({ tenant, mark: 'r_2' }).mark).toMatchObject({ stage: 'finished', outcome: 'refused', reason: 'deadline' });
  await task.close();
});

// Found by the simulation: SIGSTOP after the answer of the group, SIGCONT long after the partition was given to another.
test('a process that was stopped between the group’s answer and its opening commits nothing (invariant 6)', async () => {
  let [now, owner] = [0, true];
  const broker = new MemoryBroker(() => 1_000_000 + now);
  const network = {
    async pass(operation: string) {
      if (operation !== 'open') return;
      now += 10_000;
      owner = false;
    },
  };
  await expect(taskOf(broker, () => now, { owned: () => owner, network })).rejects.toMatchObject({ code: 'fenced' });
  expect(history(broker)).toEqual([]);
});

test('a request is told how many stand before it, also deep in a long queue', async () => {
  const broker = new MemoryBroker(() => 1_000_000);
  const task = await taskOf(broker);
  await task.offer(createdWith({ maxQueued: 5_000 }), { topic: 'tenant.commands', from: 0, next: 1 });
  const asked = Array.from({ length: 1_202 }, (_, at) => at).map((at) => {
    const input = { ...late, item: `c_${at}` as ConversationId, mark: `r_${at}` as RequestId, appended: 1_000_000, deadlineMs: 60_000 };
    return task.offer(input, { topic: 'support.requests', from: at, next: at + 1, at: 1_000_000 });
  });
  await Promise.all(asked);
  // What has nothing more to do writes its store.
  await new Promise((resolve) => setImmediate(resolve));
  const before = (at: number) => task.explain({ tenant, item: `c_${at}` }).before;
  // The first runs: the only slot is its own.
  expect([0, 1, 2, 500, 1_001, 1_201].map(before)).toEqual([0, 0, 1, 499, 1_000, 1_000]);
  expect(task.explain({ tenant, item: 'c_500' })).toMatchObject({ ahead: 0, blocked: undefined, full: true });
  await task.close();
});

test('a task that is closed aborts what it runs at once, though its transaction hangs', async () => {
  const [entered, hanging] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let [aborted, hangs] = [0, false];
  const network = {
    async pass(operation: string) {
      if (operation !== 'commit' || !hangs) return;
      entered.resolve();
      await hanging.promise;
    },
  };
  const broker = new MemoryBroker(() => 1_000_000);
  const task = await taskOf(
    broker,
    () => 0,
    { owned: () => true, network },
    () => void aborted++,
  );
  const ask = (at: number) => ({ ...late, mark: `r_${at}` as RequestId, appended: 1_000_000, deadlineMs: 60_000 });
  await task.offer(created, { topic: 'tenant.commands', from: 0, next: 1 });
  await task.offer(ask(1), { topic: 'support.requests', from: 0, next: 1, at: 1_000_000 });
  hangs = true;
  const second = task.offer(ask(2), { topic: 'support.requests', from: 1, next: 2, at: 1_000_000 });
  await entered.promise;
  const closing = task.close();
  expect(aborted).toBe(1);
  hanging.resolve();
  await Promise.all([closing, second]);
});

test('whoever peeks while a task opens again sees what the log says, also where the group is asked once more', async () => {
  let [now, lost] = [0, false];
  const seen: unknown[] = [];
  const network = {
    async pass(operation: string) {
      if (operation === 'open' && lost) now += 10_000;
      if (operation !== 'committed' || !lost || seen.length > 0) return;
      seen.push('a reply is lost');
      throw new EvenkeelError('commit_failed', 'commit reply lost');
    },
  };
  const stage = () => {
    try {
      return task.peek({ tenant, mark: 'r_1' }).mark?.stage;
    } catch (error) {
      return (error as EvenkeelError).code;
    }
  };
  const owned = () => {
    if (lost) seen.push(stage());
    return true;
  };
  const task = await taskOf(new MemoryBroker(() => 1_000_000 + now), () => now, { owned, network });
  await task.offer(created, { topic: 'tenant.commands', from: 0, next: 1 });
  lost = true;
  await task.offer({ ...late, appended: 1_000_000, deadlineMs: 60_000 }, { topic: 'support.requests', from: 0, next: 1, at: 1_000_000 });
  expect(seen).toEqual(['a reply is lost', undefined, 'running']);
  await task.close();
});

const written = () => new Promise((resolve) => setImmediate(resolve));

/** A task that is never idle for twenty transactions once `begin` was called; `each` hears of each as it commits. */
async function underLoad(monotonic: () => number, each: (round: number) => void) {
  let [round, next] = [-1, 0];
  const offer = (input: typeof late) => task.offer(input, { topic: 'support.requests', from: next, next: ++next, at: 1_000_000 });
  const refused = () => offer({ ...late, mark: `r_late_${next}` as RequestId });
  const network = {
    async pass(operation: string) {
      if (operation !== 'committed' || round < 0) return;
      each(round++);
      // There is always more to do.
      if (round < 20) refused().catch(() => undefined);
    },
  };
  const broker = new MemoryBroker(() => 1_000_000 + monotonic());
  const task = await taskOf(broker, monotonic, { owned: () => true, network });
  await task.offer(created, { topic: 'tenant.commands', from: 0, next: 1 });
  const begin = async () => {
    round = 0;
    await refused();
    await written();
  };
  const batches = () => history(broker).filter(({ name }) => name === 'batch').length;
  return { task, offer, begin, batches };
}

// Two that wait side by side share a page of the queue, and its one due key.
test('under load, too, a deadline falls on time after another of the same page', async () => {
  let now = 0;
  const seen: unknown[] = [];
  const stages = () => [1, 2].map((at) => task.peek({ tenant, mark: `r_${at}` }).mark?.stage);
  const { task, offer, begin } = await underLoad(
    () => now,
    (round) => {
      if (round === 5 || round === 10) seen.push(stages());
      if (round === 5) now = 370;
    },
  );
  const ask = (at: number, deadlineMs: number) =>
    offer({ ...late, item: `c_${at}` as ConversationId, mark: `r_${at}` as RequestId, appended: 1_000_000, deadlineMs });
  await Promise.all([ask(0, 60_000), ask(1, 300), ask(2, 350)]);
  await written();
  now = 320;
  await begin();
  expect(seen).toEqual([
    ['finished', 'queued'],
    ['finished', 'finished'],
  ]);
  await task.close();
});

test('under load the store is written once a second, and when the load is over', async () => {
  let now = 0;
  const behind: number[] = [];
  const { task, begin, batches } = await underLoad(
    () => now,
    (round) => {
      behind.push(batches() - (task.store.meta?.batch ?? 0));
      if (round === 9) now = 5_000;
    },
  );
  await written();
  await begin();
  // As the tenth commits a second has passed.
  expect(behind).toEqual([...Array.from({ length: 10 }, (_, at) => at + 1), ...Array.from({ length: 10 }, (_, at) => at + 1)]);
  expect(task.store.meta?.batch).toBe(batches());
  await task.close();
});

test('a task that is closed under load has written what it committed', async () => {
  let closing: Promise<void> | undefined;
  const { task, begin, batches } = await underLoad(
    () => 0,
    (round) => {
      if (round === 5) closing = task.close();
    },
  );
  await written();
  const { store } = task;
  await begin();
  await closing;
  expect(store.meta?.batch).toBe(batches());
});
