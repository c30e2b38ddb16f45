/** A process of its own that recovers all partitions by the engine's own path, from nothing, and says how long that took. */
import { rmSync } from 'node:fs';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { Restorer } from '#services/runtime/restorer.ts';
import { recover } from '#streams/engine/recover.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { rows } from '#streams/support/state.ts';
import { support } from '#streams/support/support.ts';
import type { TestKafka } from '../start-kafka.ts';
import { PARTITIONS, TOPICS } from './history.ts';

export type Recovered = {
  readonly seconds: number;
  readonly cpu_seconds: number;
  readonly accounts: number;
  readonly settled: number;
  readonly queued: number;
  readonly memory_mb: number;
};

const { kafka, group, dir, keep } = JSON.parse(process.argv[2] ?? '{}') as { kafka: TestKafka; group: string; dir: string; keep: boolean };
const client = (name: string) => createKafka({ brokers: kafka.brokers, ...kafka.admin, clientId: `bench.${name}` });
const reader = new Reader(client('reader'), console.error);
const log = kafkaLog({ kafka: client('transactions'), reader, follower: reader, group, topics: TOPICS, owned: async () => true });
const stores = rocksStores(dir);
const machine = support(createCodec(localSchemas()));
/** As a runtime does (services/runtime/tasks.ts). */
const restoring = {
  kafka: { brokers: kafka.brokers, ...kafka.admin, clientId: 'bench.restorer' },
  schemas: localSchemas(),
  partitions: PARTITIONS,
  topics: TOPICS,
  snapshots: { topic: 'tenant.snapshots' },
};
const { restore: aside } = new Restorer(restoring, 2, console.error);
const discarded = (why: string) => console.error(why);

const [began, used] = [performance.now(), process.cpuUsage()];
const opened = await Promise.all(
  Array.from({ length: PARTITIONS }, async (_, partition) => {
    const partitionLog = await log.open(partition);
    const { store } = await recover({ machine, stores, partition, partitions: PARTITIONS, topics: TOPICS, aside, discarded }, partitionLog, undefined);
    return { partitionLog, store };
  }),
);
const seconds = (performance.now() - began) / 1_000;
const { user, system } = process.cpuUsage(used);

let [accounts, settled, queued] = [0, 0, 0];
for (const { partitionLog, store } of opened) {
  for (const [table, , bytes] of store.entries()) {
    if (table !== 'account') continue;
    const account = rows.account.decode(bytes);
    accounts++;
    queued += account.queued;
    settled += account.balances.find(({ window }) => window === 'total')?.settled ?? 0;
  }
  await store.close();
  await partitionLog.close();
}
await reader.close();
if (!keep) rmSync(dir, { recursive: true, force: true });
const found: Recovered = {
  seconds,
  cpu_seconds: (user + system) / 1e6,
  accounts,
  settled,
  queued,
  memory_mb: Math.round(process.resourceUsage().maxRSS / 1_024),
};
console.log(JSON.stringify(found));
