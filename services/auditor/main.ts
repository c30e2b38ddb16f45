/** The auditor: follows the history of all partitions, and is the only one to write `audit.<tenant>`. */
import { join } from 'node:path';
import { Counter, Gauge, type Registry } from 'prom-client';
import { createCodec } from '#schemas/codec.ts';
import { LagWatch } from '#services/lag.ts';
import { runMain } from '#services/ops.ts';
import { partitionCount } from '#streams/kafka/admin.ts';
import { createKafka, withAdmin } from '#streams/kafka/client.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { PartitionCopier } from './copy.ts';

const HISTORY = 'tenant.events';
/** Nobody waits for the audit: under load it comes in larger rounds, which cost less. */
const IN_ONE_ANSWER_BYTES = 65_536;

await runMain(async ({ config, log, metrics, watchdog, fail }) => {
  const warn = (message: string) => log.warn(message);
  const kafka = createKafka({ ...config.kafka, clientId: config.instance, warn });
  // What a producer fails at is said by the copier, by tenant and once.
  const producing = createKafka({ ...config.kafka, clientId: `${config.instance}.sender` });
  const [codec, partitions] = await Promise.all([
    loadSchemas(config.registryUrl).then(createCodec),
    watchdog.during('the first answer of Kafka', () => withAdmin(kafka, (admin) => partitionCount(admin, 'auditor'))),
  ]);
  const [reader, again, ends] = [new Reader(kafka, warn, IN_ONE_ANSWER_BYTES), new Reader(kafka, warn), new Reader(kafka, warn)];
  const stores = rocksStores(join(config.dataDir, 'audit'));
  const measured = measure(metrics, () => copiers.reduce((sum, each) => sum + each.failing, 0));
  const shared = { partitions, topic: HISTORY, codec, log: reader, again, stores, connect: () => createSender(producing), warn, ...measured };
  const copiers = Array.from({ length: partitions }, (_, partition) => new PartitionCopier({ partition, ...shared }));
  for (const copier of copiers) void copier.failed.then(fail);
  await Promise.all(copiers.map((copier) => copier.start()));
  const lag = new LagWatch({ reader: ends, watchdog, metrics, warn });
  for (const [partition, copier] of copiers.entries()) lag.add({ topic: HISTORY, partition, position: () => copier.position });
  return {
    waitingFor: () => lag.waitingFor,
    async close() {
      lag.close();
      await Promise.all(copiers.map((copier) => copier.close()));
      await Promise.all([reader.close(), again.close(), ends.close()]);
    },
  };
});

function measure(registry: Registry, failingTenants: () => number) {
  const registers = [registry];
  const entries = new Counter({ name: 'evenkeel_audit_entries_total', help: 'Entries acknowledged by audit topics', registers });
  new Gauge({
    name: 'evenkeel_audit_failing_tenants',
    help: 'Tenants whose audit topic takes no entries at the moment',
    registers,
    collect() {
      this.set(failingTenants());
    },
  });
  return { copied: (count: number) => entries.inc(count) };
}
