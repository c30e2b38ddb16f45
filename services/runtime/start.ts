/** Wires a runtime on its real parts: the group, a task for each assigned partition, the vault, the knowledge, and an agent. */
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Kafka } from 'kafkajs';
import type { Registry } from 'prom-client';
import { createCodec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { platformSignatureKey } from '#schemas/signature.ts';
import { RUNTIME_GROUP } from '#schemas/topics.ts';
import { partitionCount } from '#streams/kafka/admin.ts';
import { createKafka, withAdmin } from '#streams/kafka/client.ts';
import { connectMember } from '#streams/kafka/consumer.ts';
import { kafkaLog } from '#streams/kafka/partition-log.ts';
import { createSender } from '#streams/kafka/producer.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { StoresAhead } from '#streams/rocksdb/stores-ahead.ts';
import { support } from '#streams/support/support.ts';
import type { Config } from '../config.ts';
import { writable } from '../disk.ts';
import { isSigned } from '../internal.ts';
import { LagWatch } from '../lag.ts';
import type { Call, Context, Started } from '../ops.ts';
import { openVault } from '../vault.ts';
import { Knowledge } from './agent/retrieval.ts';
import { Ingress } from './ingress.ts';
import { TOPICS_IN } from './partition.ts';
import { Runtime } from './runtime.ts';
import { pageOfState } from './state-page.ts';
import { taskOpener } from './tasks.ts';
import type { Agent } from './turns.ts';
import { watchedLog } from './watched-log.ts';

/** Messages that came and whose turns have not begun: as many as are asked of a busy machine at once, of 2 KiB at most. */
const KEPT_OPEN = 2_048;
const KNOWLEDGE = 'support.knowledge';
const TOPICS = { history: 'tenant.events', words: 'support.steps' };

export type AgentMaker = (parts: { readonly config: Config; readonly knowledge: Knowledge; readonly metrics: Registry }) => Agent;

const EVERYWHERE = '0.0.0.0';
/** Where others of the house may ask this process. */
const addressOf = ({ opsHost, opsPort }: Config): string => `${opsHost === EVERYWHERE ? hostname() : opsHost}:${opsPort}`;

/** @throws EvenkeelError `forbidden` for a call that none of our own processes signed */
function ours({ masterKey }: Config, query: URLSearchParams, { target, signature }: Call): URLSearchParams {
  if (isSigned(masterKey, target, signature)) return query;
  throw new EvenkeelError('forbidden', 'this page answers the platform’s own processes alone');
}

/** All that can be had before the group knows of this process. */
function connect({ config, watchdog }: Pick<Context, 'config' | 'watchdog'>, client: (name: string) => Kafka, warn: (message: string, error?: Error) => void) {
  const member = { group: RUNTIME_GROUP, topics: TOPICS_IN, memberFile: join(config.dataDir, 'member-id'), address: addressOf(config) };
  return Promise.all([
    loadSchemas(config.registryUrl).then(createCodec),
    watchdog.during('connecting to the group', () => connectMember({ kafka: client('group'), ...member })),
    watchdog.during('the first answer of Kafka', () => withAdmin(client('admin'), (admin) => partitionCount(admin, 'runtime'))),
    writable(config.dataDir, warn),
  ]);
}

export async function startRuntime({ config, log, metrics, watchdog, fail }: Context, createAgent: AgentMaker): Promise<Started> {
  mkdirSync(config.dataDir, { recursive: true });
  const stores = new StoresAhead(join(config.dataDir, 'stores'));
  const client = (name: string) => createKafka({ ...config.kafka, clientId: `${config.instance}.${name}` });
  const warn = (message: string, error?: Error) => log.warn({ err: error }, message);
  const [codec, member, partitions] = await connect({ config, watchdog }, client, warn);
  const [reader, follower, documents] = ['reader', 'follower', 'documents'].map((name) => new Reader(client(name), warn)) as [Reader, Reader, Reader];
  const sender = createSender(client('sender'));
  const kafka = watchedLog(
    kafkaLog({
      kafka: client('transactions'),
      reader,
      follower,
      group: RUNTIME_GROUP,
      topics: TOPICS,
      owned: (partition) => member.owned(partition),
    }),
    watchdog,
  );
  const vault = openVault({ log: kafka, send: (records) => sender.send(records), codec, masterKey: config.masterKey, partitions, keptOpen: KEPT_OPEN });
  void vault.failed.then(fail);
  // Not the vault's follower: a partition that opens would wait for its long poll.
  const knowledge = new Knowledge({ log: documents, codec, fail, warn });
  const agent = createAgent({ config, knowledge, metrics });
  const lag = new LagWatch({ reader, watchdog, metrics, warn });
  const open = taskOpener({
    lag,
    config,
    log,
    metrics,
    kafka,
    reader,
    codec,
    machine: support(codec),
    partitions,
    vault,
    knowledge,
    agent,
    stores,
    topics: TOPICS,
  });
  const runtime: Runtime = new Runtime({
    member,
    open,
    ingress: new Ingress({
      codec,
      masterKey: config.masterKey,
      platformKey: platformSignatureKey(config.masterKey),
      partitions,
      vault,
      policyOf: (tenant, partition) => {
        const { account } = runtime.task(partition).peek({ tenant });
        return account.created ? account.policy : undefined;
      },
    }),
    warn,
    fail,
  });
  // What an opening asks first, asked once before: its connections are made then.
  const asked = [...TOPICS_IN, ...Object.values(TOPICS)].map((topic) => reader.end(topic, 0));
  await Promise.all([vault.ready, documents.end(KNOWLEDGE, 0), ...asked]);
  void member.failed.then(fail);
  await watchdog.during('joining the group', () => member.join(runtime));
  stores.keepOnly(runtime.partitions);
  watchdog.watch('the group', () => member.heartbeats);
  return {
    waitingFor: () => [...(member.alive ? [] : ['its group']), ...runtime.waitingFor, ...lag.waitingFor],
    pages: { '/state': (query) => pageOfState(runtime.tasks, query), '/explain': (query, call) => runtime.explain(ours(config, query, call)) },
    async close() {
      lag.close();
      await runtime.close();
      await member.close();
      await Promise.all([vault.close(), knowledge.close(), sender.close(), reader.close(), follower.close(), documents.close()]);
    },
  };
}
