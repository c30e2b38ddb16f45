/** The runtimes' group on a real broker: co-partitioned, sticky, paused until told, left at once, never committing by itself. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { connectMember, type Member } from '#streams/kafka/consumer.ts';
import { GroupOwners } from '#streams/kafka/group-owners.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { client, cutHead, newTopic, until } from './kafka-under-test.ts';

const PARTITIONS = 8;
const members: Member[] = [];
afterEach(async () => {
  await Promise.all(members.splice(0).map((member) => member.close()));
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});
let groups = 0;
const newGroup = () => `contract.group.${Date.now()}.${groups++}`;
const dirs: string[] = [];
const file = () => {
  dirs.push(mkdtempSync(join(tmpdir(), 'evenkeel-member-')));
  return join(dirs.at(-1) as string, 'member-id');
};

class Watcher {
  held: readonly number[] = [];
  joins = 0;
  readonly lost: number[] = [];
  readonly seen: { topic: string; partition: number; offset: number }[] = [];
  /** Where each hand-over began, and the position after it. */
  readonly spans: (readonly [from: number, next: number])[] = [];
  assigned(partitions: readonly number[]): void {
    this.held = partitions;
    this.joins++;
  }
  revoked(partitions: readonly number[]): void {
    this.lost.push(...partitions);
  }
  records(topic: string, partition: number, records: readonly { readonly offset: number }[], from: number, next: number): void {
    this.spans.push([from, next]);
    for (const { offset } of records) this.seen.push({ topic, partition, offset });
  }
}

async function joined(group: string, topics: readonly string[], memberFile = file(), sessionTimeoutMs = 30_000, address?: string) {
  const watcher = new Watcher();
  const member = await connectMember({ kafka: client('member'), group, topics, memberFile, sessionTimeoutMs, ...(address ? { address } : {}) });
  members.push(member);
  await member.join(watcher);
  return { watcher, member };
}

test('two members share the partitions evenly, the same of each topic; one that leaves gives its own at once', async () => {
  const topics = [await newTopic(PARTITIONS), await newTopic(PARTITIONS)];
  const group = newGroup();
  const a = await joined(group, topics);
  await until(() => a.watcher.held.length === PARTITIONS);
  const b = await joined(group, topics);
  await until(() => b.watcher.held.length === PARTITIONS / 2 && a.watcher.held.length === PARTITIONS / 2);
  const kept = a.watcher.held;
  expect([...kept, ...b.watcher.held].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect([...a.watcher.lost].sort()).toEqual([...b.watcher.held].sort());
  expect(await a.member.owned(kept[0] as number)).toBe(true);
  expect(await a.member.owned(b.watcher.held[0] as number)).toBe(false);
  const started = performance.now();
  await members.pop()?.close();
  await until(() => a.watcher.held.length === PARTITIONS);
  expect(performance.now() - started).toBeLessThan(3_000);
});

test('a partition’s owner is found by the address in its membership, through a rebalance; a group without members has none', async () => {
  const topics = [await newTopic(PARTITIONS)];
  const group = newGroup();
  const owners = new GroupOwners(client('owners'), group, topics[0] as string);
  const named = async (partition: number) => {
    owners.forget();
    return owners.addressOf(partition);
  };
  expect(await named(0)).toBeUndefined();
  const a = await joined(group, topics, file(), 30_000, 'a:1');
  await until(() => a.watcher.held.length === PARTITIONS);
  expect(await named(3)).toBe('a:1');
  const b = await joined(group, topics, file(), 30_000, 'b:2');
  await until(() => b.watcher.held.length === PARTITIONS / 2);
  expect(await named(b.watcher.held[0] as number)).toBe('b:2');
  expect(await named(a.watcher.held[0] as number)).toBe('a:1');
  await owners.close();
});

test('partitions are paused until they are sought and resumed, and nothing is committed', async () => {
  const topic = await newTopic(2);
  const [group, out] = [newGroup(), createSender(client('sender'))];
  await out.send(Array.from({ length: 10 }, (_, at) => ({ topic, partition: 0, key: 'k', value: Buffer.from(`${at}`) })));
  const { watcher, member } = await joined(group, [topic]);
  await until(() => watcher.held.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(watcher.seen).toEqual([]);
  member.seek(topic, 0, 4);
  member.resume(0);
  await until(() => watcher.seen.length === 6);
  expect(watcher.seen.map(({ offset }) => offset)).toEqual([4, 5, 6, 7, 8, 9]);
  const admin = client('offsets').admin();
  await admin.connect();
  const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
  expect(found?.partitions.map(({ offset }) => offset)).toEqual(['-1', '-1']);
  await Promise.all([admin.disconnect(), out.close()]);
});

test('a position that retention has overtaken is not reset: the partition is opened anew', async () => {
  const topic = await newTopic(1);
  const [group, out] = [newGroup(), createSender(client('sender'))];
  await out.send(Array.from({ length: 10 }, (_, at) => ({ topic, partition: 0, key: 'k', value: Buffer.from(`${at}`) })));
  await cutHead(topic, 5);
  const admin = client('offsets').admin();
  await admin.connect();
  const { watcher, member } = await joined(group, [topic]);
  await until(() => watcher.held.length === 1);
  member.seek(topic, 0, 2);
  member.resume(0);
  await until(() => watcher.lost.length > 0 && watcher.joins === 2);
  expect(watcher.seen).toEqual([]);
  member.seek(topic, 0, 5);
  member.resume(0);
  await until(() => watcher.seen.length === 5);
  const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
  expect(found?.partitions[0]?.offset).toBe('-1');
  await Promise.all([admin.disconnect(), out.close()]);
});

test('a restarted process leaves in its dead predecessor’s name, and has all partitions long before the session ends', async () => {
  const topic = await newTopic(PARTITIONS);
  const [group, memberFile] = [newGroup(), file()];
  const dead = await joined(group, [topic], memberFile);
  await until(() => dead.watcher.held.length === PARTITIONS);
  const memberId = readFileSync(memberFile, 'utf8');
  // As kill -9 leaves it: a member of the group whose process says nothing more. Its successor has the same file.
  const other = file();
  writeFileSync(other, memberId);
  const started = performance.now();
  const next = await joined(group, [topic], other);
  await until(() => next.watcher.held.length >= PARTITIONS / 2, 5_000);
  expect(performance.now() - started).toBeLessThan(4_000);
  expect(readFileSync(other, 'utf8')).not.toBe(memberId);
});

test('aborted transactions leave no gap between what is handed over: a task drops what does not begin where it stands', async () => {
  const topic = await newTopic(1);
  const [group, out] = [newGroup(), createSender(client('sender'))];
  const plain = (value: string) => out.send([{ topic, partition: 0, key: 'k', value: Buffer.from(value) }]);
  const transactional = client('tx').producer({ transactionalId: group, idempotent: true });
  await transactional.connect();
  const { watcher, member } = await joined(group, [topic]);
  await until(() => watcher.held.length === 1);
  member.seek(topic, 0, 0);
  member.resume(0);
  for (let round = 0; round < 3; round++) {
    await plain(`before ${round}`);
    const transaction = await transactional.transaction();
    await transaction.send({ topic, messages: [{ key: 'k', value: 'never' }] });
    await transaction.abort();
    // Long enough for the abort to be fetched alone.
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  await plain('last');
  await until(() => watcher.seen.length === 4);
  expect(watcher.seen.map(({ offset }) => offset)).toEqual([0, 3, 6, 9]);
  let expected = 0;
  for (const [from, next] of watcher.spans) {
    expect(from).toBe(expected);
    expected = next;
  }
  await Promise.all([transactional.disconnect(), out.close()]);
});
