import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { ConversationId, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { openTask } from '#streams/engine/task.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import type { Input } from '#streams/support/input.ts';
import { support } from '#streams/support/support.ts';

const tenant = 'acme' as TenantId;
const topics = { history: 'tenant.events', words: 'support.steps' };
const codec = createCodec(localSchemas());

async function taskOf(broker: MemoryBroker) {
  return openTask({
    machine: support(codec),
    partition: 0,
    partitions: 1,
    topics,
    log: memoryLog({ broker, topics, owned: () => true }),
    stores: memoryStores(),
    effects: () => ({ start: (work) => ({ key: work.key, abort: () => undefined }) }),
    clock: { monotonic: () => 0, after: () => () => undefined },
    cap: 1,
    deadLetter: () => [],
    report: { committed: () => undefined, warn: () => undefined },
  });
}

const created: Input = {
  kind: 'command',
  tenant,
  mark: 'k_create',
  command: { type: 'create_tenant', tenantId: tenant, commandId: 'create', by: 'test', role: 'operator', changes: '{}' },
};
const late: Input = {
  kind: 'request',
  tenant,
  item: 'c_1' as ConversationId,
  mark: 'r_1' as RequestId,
  person: 'p_1' as PersonId,
  bodyDigest: '',
  source: 'kafka',
  appended: 0,
  deadlineMs: 1,
  sealed: new Uint8Array(),
};

// Found by the simulation: a refusal leaves no row, so nothing but the offset says that the record has had its verdict.
test('a record that is fed twice before its first commit is refused once (invariant 10)', async () => {
  const broker = new MemoryBroker(() => 1_000_000);
  const task = await taskOf(broker);
  await task.offer(created, { topic: 'tenant.commands', from: 0, next: 1 });
  const record = { topic: 'support.requests', from: 0, next: 1, at: 0 };
  await Promise.all([task.offer(late, record), task.offer(late, record)]);
  const names = broker.partition(topics.history, 0).records.map(({ value }) => codec.decode(value ?? new Uint8Array()).name);
  expect(names.filter((name) => name === 'request_refused')).toHaveLength(1);
  await task.close();
});
