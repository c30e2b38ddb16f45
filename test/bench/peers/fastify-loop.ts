/**
 * The peer of `gateway`: Fastify and kafkajs's producer, and nothing else. A request is answered when its record, of the gateway's size and
 * with as many headers, is acknowledged by all in-sync replicas; what arrives while a send is in flight goes in the next one, as our gateway
 * does it.
 */
import fastify from 'fastify';
import { createKafka, type KafkaSettings } from '#streams/kafka/client.ts';
import { explicitPartition } from '#test/plain-producer.ts';
import type { Sized } from './written.ts';

type Settings = Pick<KafkaSettings, 'brokers' | 'username' | 'password'> & {
  readonly port: number;
  readonly topic: string;
  readonly partitions: number;
  /** One record, as the gateway writes it. */
  readonly record: Sized;
};
const { port, topic, partitions, record, ...settings } = JSON.parse(process.argv[2] as string) as Settings;
const producer = createKafka({ ...settings, clientId: 'bare-gateway' }).producer({ idempotent: true, createPartitioner: explicitPartition });
await producer.connect();

const key = 'k'.repeat(record.key);
const headers = Object.fromEntries(Object.entries(record.headers).map(([name, bytes]) => [name, Buffer.alloc(bytes, 1)]));

type Waiting = { readonly value: Buffer; readonly done: () => void; readonly failed: (error: Error) => void };
let waiting: Waiting[] = [];
let busy = false;
let sent = 0;

const toMessage = ({ value }: Waiting) => ({ key, value, headers, partition: sent++ % partitions });

async function drain(): Promise<void> {
  busy = true;
  await Promise.resolve();
  while (waiting.length > 0) {
    const batch = waiting;
    waiting = [];
    try {
      await producer.send({ topic, acks: -1, messages: batch.map(toMessage) });
      for (const { done } of batch) done();
    } catch (error) {
      for (const { failed } of batch) failed(error as Error);
    }
  }
  busy = false;
}

const app = fastify();
app.post('/v1/requests', async (request, reply) => {
  const value = Buffer.from(JSON.stringify(request.body).padEnd(record.value));
  await new Promise<void>((done, failed) => {
    waiting.push({ value, done, failed });
    if (!busy) void drain();
  });
  return reply.code(202).send({ stage: 'submitted' });
});
await app.listen({ host: '127.0.0.1', port });
