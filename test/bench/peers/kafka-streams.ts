/** Kafka Streams as a peer: fetched by Maven once, its one-file program compiled by the Java that runs it. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cached, downloadJars, KAFKA } from '#infra/local/download.mjs';
import { ensureJava, findJava } from '#infra/local/java.mjs';
import type { TestKafka } from '../../start-kafka.ts';

export type StreamsLife = { readonly records: number; readonly seconds: number };
export type StreamsFigures = { readonly processed: StreamsLife; readonly restored: StreamsLife };
export type StreamsFold = {
  readonly kafka: TestKafka;
  readonly topic: string;
  /** Registered id of the events to fold: the other records of the topic are passed over. */
  readonly schemaId: number;
  readonly events: number;
  readonly stateDir: string;
};

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const NAME = `kafka-streams-${KAFKA}`;

/** @throws Error with what the peer said, when it cannot be fetched, compiled or run to its end: that is no pass */
export async function kafkaStreamsFold({ kafka, topic, schemaId, events, stateDir }: StreamsFold): Promise<StreamsFigures> {
  await ensureJava(console.error);
  await downloadJars(NAME, here('pom.xml'), console.error);
  const { username, password } = kafka.admin;
  const args = [kafka.brokers.join(','), username, password, topic, String(schemaId), String(events), stateDir];
  const live = async (life: 'process' | 'restore') => {
    const out = await run(findJava(), ['-Xmx1g', '-cp', `${cached(NAME)}/*`, here('KafkaStreamsFold.java'), life, ...args]);
    return JSON.parse(out.trim().split('\n').at(-1) ?? '') as StreamsLife;
  };
  return { processed: await live('process'), restored: await live('restore') };
}

function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const endNow = () => child.kill('SIGKILL');
    process.once('exit', endNow);
    let [said, complained] = ['', ''];
    child.stdout.on('data', (data) => {
      said += data;
    });
    child.stderr.on('data', (data) => {
      complained = (complained + data).slice(-4_000);
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      process.off('exit', endNow);
      if (code === 0) resolve(said);
      else reject(new Error(`the Kafka Streams peer exited with ${code} (a JDK is needed, not a runtime alone):\n${complained}`));
    });
  });
}
