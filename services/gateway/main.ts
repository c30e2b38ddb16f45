/** Wires the gateway: the projection of the history, the results, the vault, and the HTTP server. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createCodec } from '#schemas/codec.ts';
import { platformSignatureKey } from '#schemas/signature.ts';
import { partitionOf, RUNTIME_GROUP } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import { openProjection } from '#streams/engine/projection.ts';
import { partitionCount } from '#streams/kafka/admin.ts';
import { createKafka, withAdmin } from '#streams/kafka/client.ts';
import { GroupOwners } from '#streams/kafka/group-owners.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { support } from '#streams/support/support.ts';
import { clock } from '../clock.ts';
import { LagWatch } from '../lag.ts';
import { type Context, runMain, type Started } from '../ops.ts';
import { openVault } from '../vault.ts';
import { Authenticator, loadIssuers } from './auth.ts';
import { Lifecycle } from './lifecycle.ts';
import { measure } from './metrics.ts';
import { placesFrom } from './places.ts';
import { RateCounter } from './rate.ts';
import { recall } from './recall.ts';
import { RefusalReports } from './refusal-reports.ts';
import { Results } from './results.ts';
import { createServer } from './server.ts';
import { StreamBound } from './sse.ts';
import { Submissions } from './submissions.ts';
import { View } from './view.ts';

const VERDICT_MS = 1_000;
const COMMAND_MS = 5_000;
/** Under load: what clients wait for is seen so much later at most. */
const REST_MS = 5;
const STREAMS_OF_ONE_TENANT = 500;

async function start({ config, log, metrics, watchdog, fail }: Context): Promise<Started> {
  const warn = (message: string) => log.warn(message);
  const client = (name: string) => createKafka({ ...config.kafka, clientId: `${config.instance}.${name}`, warn });
  const codec = createCodec(await loadSchemas(config.registryUrl));
  const partitions = await watchdog.during('the first answer of Kafka', () => withAdmin(client('admin'), (admin) => partitionCount(admin, 'gateway')));
  const [reader, ends, sender] = [new Reader(client('reader'), warn, 1, REST_MS), new Reader(client('ends'), warn), createSender(client('sender'))];
  const owners = new GroupOwners(client('owners'), RUNTIME_GROUP, 'support.requests');
  const lag = new LagWatch({ reader: ends, watchdog, metrics, warn });
  const vault = openVault({ log: reader, send: (records) => sender.send(records), codec, masterKey: config.masterKey, partitions });
  void vault.failed.then(fail);
  const results = await Results.open({ log: reader, codec, stores: rocksStores(join(config.dataDir, 'results')), partitions });
  // First: a result must be here before the event that forgets it is folded.
  await results.start(fail);
  const [view, lifecycle, submissions] = [new View(), new Lifecycle(), new Submissions()];
  const measured = measure(metrics, view);
  const projection = await openProjection({
    machine: support(codec),
    log: reader,
    stores: rocksStores(join(config.dataDir, 'view')),
    partitions,
    topic: 'tenant.events',
    partitionOf: ({ tenant }) => partitionOf(tenant, partitions),
    clock,
    // A result whose request is forgotten there must not stay here.
    onWrite: (partition) => results.write(partition),
    onBatch(partition, batch, events) {
      for (const { event, offset, after } of events) {
        const happened = { event, offset, at: batch.time };
        view.take(happened, after);
        for (const told of [measured, submissions, lifecycle]) told.happened(happened);
        if (event.type === 'request_forgotten') results.forget(partition, event.tenant, event.request);
      }
    },
  });
  void projection.failed.then(fail);
  for (let partition = 0; partition < partitions; partition++) {
    recall(view, projection.store(partition));
    lag.add({ topic: 'tenant.events', partition, position: () => projection.position(partition) });
  }
  const send = (records: readonly Output[]) => sender.send(records);
  const reports = new RefusalReports({ codec, partitions, instance: config.instance, send, random: randomUUID, now: () => view.now, warn });
  const auth = new Authenticator(loadIssuers(config.issuersFile, config.httpHost));
  const app = await createServer(
    {
      auth,
      codec,
      vault,
      masterKey: config.masterKey,
      platformKey: platformSignatureKey(config.masterKey),
      partitions,
      send,
      peek: (row) => projection.peek(row),
      result: (partition, tenant, request, ms) => results.arrival(partition, tenant, request, ms),
      placeOf: placesFrom(owners, config.masterKey, warn),
      lifecycle,
      rate: new RateCounter(),
      streams: new StreamBound(STREAMS_OF_ONE_TENANT),
      submissions,
      view,
      refused(tenant, code, limitName) {
        measured.refused(tenant, code);
        reports.count(tenant, limitName);
      },
      random: randomUUID,
      verdictMs: VERDICT_MS,
      commandMs: COMMAND_MS,
    },
    log,
  );
  await Promise.all([projection.ready, vault.ready]);
  await app.listen({ host: config.httpHost, port: config.httpPort });
  return {
    waitingFor: () => lag.waitingFor,
    async close() {
      lag.close();
      await app.close();
      await reports.close();
      await projection.close();
      await results.close();
      await Promise.all([owners.close(), vault.close(), sender.close(), reader.close(), ends.close()]);
    },
  };
}

await runMain(start);
