/** Three brokers: the contract suites hold there too; leaders move and brokers die under load, and every committed record is there exactly once (invariants 6 and 10). */
import { spawn } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKafka } from '#streams/kafka/client.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { moveLeaders } from '../move-leaders.ts';
import { type RunningKafka, startKafka } from '../start-kafka.ts';
import { type Count, type Load, startLoad, TOPICS_OF_WRITERS } from './writers.ts';

const PARTITIONS = 4;
const MOVES = 12;
/** Their leaders are the coordinators of transactions and groups. */
const COORDINATORS = ['__transaction_state', '__consumer_offsets'];
let kafka: RunningKafka;
let load: Load;
const client = () => createKafka({ brokers: kafka.brokers, ...kafka.admin, clientId: 'brokers-test' });

beforeAll(async () => {
  kafka = await startKafka({ brokers: 3, registry: true });
  const admin = client().admin();
  await admin.connect();
  // As ours are: a commit leaves the time to the broker, and retention would soon delete what seems to be of 1970.
  const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }];
  const topics = TOPICS_OF_WRITERS.map((topic) => ({ topic, numPartitions: PARTITIONS, replicationFactor: 3, configEntries }));
  await admin.createTopics({ waitForLeaders: false, topics });
  await admin.disconnect();
  await until('three copies in sync', () => whole(TOPICS_OF_WRITERS));
});
afterAll(() => kafka.stop());

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100)))
    if (await condition().catch(() => false)) return;
  throw new Error(`waited 60 s for ${what}`);
}
async function whole(names: readonly string[]): Promise<boolean> {
  const admin = client().admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: [...names] }).finally(() => admin.disconnect());
  return topics.every(({ partitions }) => partitions.length > 0 && partitions.every(({ isr }) => isr.length === 3));
}
async function moreCommitted(count: number): Promise<void> {
  const from = load.committed();
  await until(`${count} further commits`, async () => load.committed() >= from + count);
}

function check({ partitions, plain }: Count): void {
  for (const { acknowledged, history, words, offset } of partitions) {
    expect(history).toEqual(history.map((_, at) => at));
    expect(words).toEqual(history);
    expect(history.length).toBeGreaterThanOrEqual(acknowledged);
    expect(offset).toBe(history.length);
  }
  // Idempotent: nothing twice, whatever was tried again; and what was acknowledged is there.
  expect(new Set(plain.found).size).toBe(plain.found.length);
  const found = new Set(plain.found);
  expect([...plain.acknowledged].filter((number) => !found.has(number))).toEqual([]);
}

test('the contract suites of log, reader, group, lag, quotas and provisioning hold on three brokers', async () => {
  const { brokers, registryUrl, admin, dataDir, pids } = kafka;
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST'));
  const env = { ...Object.fromEntries(inherited), EVENKEEL_TEST_KAFKA: JSON.stringify({ brokers, registryUrl, admin, dataDir, pids }) };
  const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'real', 'test/contract'], { env });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (said += data.toString()));
  const code = await new Promise((resolve) => child.once('exit', resolve));
  expect(code, said).toBe(0);
});

test('leaders move under load, those of the coordinators too: every record once, in history and words alike', async () => {
  load = startLoad(client, createSender(client()), PARTITIONS, 0);
  await moreCommitted(200);
  let moved = 0;
  for (let times = 0; times < MOVES; times++) {
    moved += await moveLeaders(client(), times % 3 === 2 ? COORDINATORS : TOPICS_OF_WRITERS);
    await moreCommitted(40);
  }
  const count = await load.count();
  console.log(`${moved} leaders moved, ${count.errors} commits failed, ${count.unknown} of them are in the log, ${count.plain.found.length} plain records`);
  expect(moved).toBeGreaterThan(MOVES);
  check(count);
});

test('each broker is killed in turn under load: every record once, and each is back with all copies', async () => {
  load = startLoad(client, createSender(client()), PARTITIONS, 1_000_000);
  for (const broker of [0, 1, 2]) {
    await moreCommitted(200);
    await kafka.kill(broker);
    await moreCommitted(200);
    await kafka.restart(broker);
    await until('three copies in sync', () => whole([...TOPICS_OF_WRITERS, ...COORDINATORS]));
  }
  const count = await load.count();
  console.log(`${count.errors} commits failed, ${count.unknown} of them are in the log, ${count.plain.found.length} plain records`);
  check(count);
});
