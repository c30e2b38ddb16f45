/** The logs on Kafka, read as a principal and to the end that they have now. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { type Codec, createCodec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch } from '#streams/engine/ports.ts';
import { createKafka, withAdmin } from '#streams/kafka/client.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { CommandError } from './command.ts';
import { type Access, kafkaAccess } from './local.ts';

const CONNECT_MS = 5_000;

export type LogAccess = {
  readonly codec: Codec;
  partitions(topic: string): Promise<number>;
  read(topic: string, partition: number): AsyncIterable<Batch>;
};

/** Gives `use` the logs as `principal` sees them, and lets go of the connections whatever happens. */
export async function withLog<T>(principal: string, use: (log: LogAccess) => Promise<T>): Promise<T> {
  const { registryUrl, ...settings } = await kafkaAccess(principal);
  return overKafka(settings, () => readWith(registryUrl, settings, use));
}

async function readWith<T>(registryUrl: string, settings: KafkaAccess, use: (log: LogAccess) => Promise<T>): Promise<T> {
  const kafka = createKafka({ ...settings, clientId: 'evenkeel-cli' });
  // A reading either ends or throws: what was tried again on the way needs no line.
  const reader = new Reader(kafka, () => undefined);
  try {
    const codec = createCodec(await loadSchemas(registryUrl));
    return await use({
      codec,
      read: (topic, partition) => reader.read(topic, partition, 0),
      partitions: (topic) =>
        withAdmin(kafka, async (admin) => {
          const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
          return topics[0]?.partitions.length ?? 0;
        }),
    });
  } finally {
    await reader.close().catch(() => undefined);
  }
}

type KafkaAccess = Omit<Access, 'registryUrl'>;

/** A client's own words become what happened and what to do. */
export async function overKafka<T>(settings: KafkaAccess, run: () => Promise<T>): Promise<T> {
  await listening(settings.brokers);
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof CommandError || cause instanceof EvenkeelError) throw cause;
    const { name, type, message } = cause as { name?: string; type?: string; message?: string };
    if (name?.startsWith('KafkaJS') || type !== undefined)
      throw new CommandError(`Kafka at ${settings.brokers.join(',')} does not serve ${settings.username}: ${message}.`, hint(type, name), { cause });
    throw cause;
  }
}

/** The client tries again for long, as a service should; a person is told at once. */
async function listening(brokers: readonly string[]): Promise<void> {
  const tries = brokers.map((broker) => {
    const { hostname, port } = new URL(`kafka://${broker}`);
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 9092), timeout: CONNECT_MS });
    return once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_MS) }).finally(() => socket.destroy());
  });
  try {
    await Promise.any(tries);
  } catch (cause) {
    throw new CommandError(`No Kafka listens at ${brokers.join(', ')}.`, 'Start everything with npm start, or set KAFKA_BROKERS.', { cause });
  }
}

function hint(type: string | undefined, name: string | undefined): string {
  if (type?.endsWith('AUTHORIZATION_FAILED')) return 'This principal may not read that topic.';
  if (type === 'UNKNOWN_TOPIC_OR_PARTITION') return 'The topic is not there: does the tenant exist, and has the provisioner run for it?';
  if (name?.includes('SASL') || type?.includes('SASL')) return 'Are the principal and its password those of this cluster?';
  return 'Start everything with npm start; npm run status shows what runs.';
}
