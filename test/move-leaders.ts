/** Moves the leaders of whole topics on a real cluster, with nothing down: replicas change places, and the first is elected. */
import { createRequire } from 'node:module';
import type { Kafka } from 'kafkajs';
import { createCluster, sendTo, withAdmin } from '#streams/kafka/client.ts';

const ELECT_LEADERS = 43;
const PREFERRED = 0;
const TIMEOUT_MS = 5_000;

type Encoder = {
  writeInt8(value: number): Encoder;
  writeInt32(value: number): Encoder;
  writeString(value: string): Encoder;
  writeArray(values: readonly unknown[]): Encoder;
};
const Encoder = createRequire(import.meta.url)('kafkajs/src/protocol/encoder') as new () => Encoder;
type Move = { readonly topic: string; readonly partitionAssignment: { readonly partition: number; readonly replicas: number[] }[] };

/** How many partitions are led by another broker than before. */
export function moveLeaders(kafka: Kafka, topics: readonly string[]): Promise<number> {
  return withAdmin(kafka, async (admin) => {
    const metadata = async () => (await admin.fetchTopicMetadata({ topics: [...topics] })).topics;
    const before = await metadata();
    const moves = before.map(({ name, partitions }) => ({
      topic: name,
      partitionAssignment: partitions.map(({ partitionId, replicas }) => ({
        partition: partitionId,
        replicas: [...replicas.slice(1), ...replicas.slice(0, 1)],
      })),
    }));
    await admin.alterPartitionReassignments({ topics: moves, timeout: TIMEOUT_MS });
    await electFirst(kafka, moves);
    const leaders = new Map(before.flatMap(({ name, partitions }) => partitions.map(({ partitionId, leader }) => [`${name}/${partitionId}`, leader] as const)));
    return (await metadata()).flatMap(({ name, partitions }) =>
      partitions.filter(({ partitionId, leader }) => leaders.get(`${name}/${partitionId}`) !== leader),
    ).length;
  });
}

/** ElectLeaders (version 1), which kafkajs does not have. */
async function electFirst(kafka: Kafka, moves: readonly Move[]): Promise<void> {
  const cluster = createCluster(kafka);
  await cluster.connect();
  try {
    await cluster.addMultipleTargetTopics(moves.map(({ topic }) => topic));
    const [first] = moves;
    const [nodeId = ''] = first ? Object.keys(cluster.findLeaderForPartitions(first.topic, [0])) : [];
    const topics = moves.map(({ topic, partitionAssignment }) =>
      new Encoder().writeString(topic).writeArray(partitionAssignment.map(({ partition }) => new Encoder().writeInt32(partition))),
    );
    const request = {
      apiKey: ELECT_LEADERS,
      apiVersion: 1,
      apiName: 'ElectLeaders',
      encode: async () => new Encoder().writeInt8(PREFERRED).writeArray(topics).writeInt32(TIMEOUT_MS),
    };
    // Partitions that need none answer with an error of their own, which is no matter: the metadata say what has moved.
    await sendTo(await cluster.findBroker({ nodeId }), { request, response: { decode: async () => ({}), parse: async () => undefined } });
  } finally {
    await cluster.disconnect();
  }
}
