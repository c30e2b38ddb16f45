/** The logs on Kafka, read as a principal and to the end that they have now. */
import { type Codec, createCodec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch } from '#streams/engine/ports.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { loadSchemas } from '#streams/kafka/registry.ts';
import { CommandError } from './command.ts';
import { kafkaAccess } from './local.ts';

export type LogAccess = {
  readonly codec: Codec;
  partitions(topic: string): Promise<number>;
  read(topic: string, partition: number): AsyncIterable<Batch>;
};

/** Gives `use` the logs as `principal` sees them, and lets go of the connections whatever happens. */
export async function withLog<T>(principal: string, use: (log: LogAccess) => Promise<T>): Promise<T> {
  const { registryUrl, ...settings } = await kafkaAccess(principal);
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  const kafka = createKafka({ ...settings, clientId: 'evenkeel-cli', warn });
  const reader = new Reader(kafka, warn);
  try {
    const codec = createCodec(await loadSchemas(registryUrl));
    return await use({
      codec,
      read: (topic, partition) => reader.read(topic, partition, 0),
      async partitions(topic) {
        const admin = kafka.admin();
        await admin.connect();
        try {
          const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
          return topics[0]?.partitions.length ?? 0;
        } finally {
          await admin.disconnect();
        }
      },
    });
  } catch (cause) {
    if (cause instanceof CommandError || cause instanceof EvenkeelError) throw cause;
    const { name, type, message } = cause as { name?: string; type?: string; message?: string };
    if (name?.startsWith('KafkaJS') || type !== undefined)
      throw new CommandError(`Kafka at ${settings.brokers.join(',')} does not serve ${principal}: ${message}.`, hint(type, name), { cause });
    throw cause;
  } finally {
    await reader.close().catch((error: Error) => warn(error.message));
  }
}

function hint(type: string | undefined, name: string | undefined): string {
  if (type?.endsWith('AUTHORIZATION_FAILED')) return 'This principal may not read that topic.';
  if (type === 'UNKNOWN_TOPIC_OR_PARTITION') return 'The topic is not there: does the tenant exist, and has the provisioner run for it?';
  if (name?.includes('SASL') || type?.includes('SASL')) return 'Are the principal and its password those of this cluster?';
  return 'Start everything with npm start; npm run status shows what runs.';
}
