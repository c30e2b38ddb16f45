/**
 * The peer of `gateway`: Fastify and kafkajs's producer, and nothing else. A request is answered when its record, as large as the gateway's,
 * is acknowledged by all in-sync replicas; what arrives while a send is in flight goes in the next one, as our gateway does it.
 */
import fastify from 'fastify';
import { createKafka, type KafkaSettings } from '#streams/kafka/client.ts';
import { explicitPartition } from '#test/plain-producer.ts';

type Settings = Pick<KafkaSettings, 'brokers' | 'username' | 'password'> & {
  readonly port: number;
  readonly topic: string;
  readonly partitions: number;
  /** Of a record's value, at least. */
  readonly bytes: number;
};
const { port, topic, partitions, bytes, ...settings } = JSON.parse(process.argv[2] as string) as Settings;
const producer = createKafka({ ...settings, clientId: 'bare-gateway' }).producer({ idempotent: true, createPartitioner: explicitPartition });
await producer.connect();

type Waiting = { readonly value: Buffer; readonly done: () => void; readonly failed: (error: Error) => void };
let waiting: Waiting[] = [];
let busy = false;
let sent = 0;

async function drain(): Promise<void> {
  busy = true;
  await Promise.resolve();
  while (waiting.length > 0) {
    const batch = waiting;
    waiting = [];
    try {
      await producer.send({ topic, acks: -1, messages: batch.map(({ value }) => ({ key: 'tenant', value, partition: sent++ % partitions })) });
      for (const { done } of batch) done();
    } catch (error) {
      for (const { failed } of batch) failed(error as Error);
    }
  }
  busy = false;
}

const app = fastify();
app.post('/v1/requests', async (request, reply) => {
  const value = Buffer.from(JSON.stringify(request.body).padEnd(bytes));
  await new Promise<void>((done, failed) => {
    waiting.push({ value, done, failed });
    if (!busy) void drain();
  });
  return reply.code(202).send({ stage: 'submitted' });
});
await app.listen({ host: '127.0.0.1', port });
