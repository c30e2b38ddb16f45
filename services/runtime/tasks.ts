/** Opens a partition's task on its real parts: RocksDB, Kafka, vault and agent. */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Codec } from '#schemas/codec.ts';
import type { Log, Stores } from '#streams/engine/ports.ts';
import { Semaphore } from '#streams/engine/semaphore.ts';
import { openTask } from '#streams/engine/task.ts';
import type { Reader } from '#streams/kafka/reader.ts';
import type { Support } from '#streams/support/support.ts';
import { clock } from '../clock.ts';
import type { Config } from '../config.ts';
import type { LagWatch } from '../lag.ts';
import type { Vault } from '../vault.ts';
import type { Knowledge } from './agent/retrieval.ts';
import { deadLetterOf } from './ingress.ts';
import { type Opened, TOPICS_IN } from './partition.ts';
import { Restorer } from './restorer.ts';
import { type Agent, turns } from './turns.ts';

export type TaskParts = {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Registry;
  readonly kafka: Log;
  readonly reader: Reader;
  readonly codec: Codec;
  readonly machine: Support;
  readonly partitions: number;
  readonly vault: Vault;
  readonly knowledge: Knowledge;
  readonly agent: Agent;
  readonly stores: Stores;
  readonly topics: { readonly history: string; readonly words: string };
  readonly lag: LagWatch;
};

const SNAPSHOTS = 'tenant.snapshots';
/** While one waits for the broker, another folds; more would only share the caches of the processor. */
const FOLDS_AT_ONCE = 2;

export function taskOpener(parts: TaskParts): (partition: number) => Promise<Opened> {
  const { config, log, machine, partitions, topics, kafka, codec, stores } = parts;
  const folds = new Semaphore(FOLDS_AT_ONCE);
  const client = { ...config.kafka, clientId: `${config.instance}.restorer` };
  const restoring = { kafka: client, schemas: codec.registered, partitions, topics, snapshots: { topic: SNAPSHOTS } };
  const restorer = new Restorer(restoring, FOLDS_AT_ONCE, (message) => log.warn(message));
  const watched = partitionMetrics(parts.metrics);
  const snapshots = { topic: SNAPSHOTS, every: config.snapshotEvery, turns: new Semaphore(1) };
  return async (partition) => {
    const started = performance.now();
    // No retrieval starts before the partition's knowledge has been read to its end.
    const known = parts.knowledge.open(partition);
    const starting = TOPICS_IN.map(async (topic) => [topic, await parts.reader.start(topic, partition)] as const);
    const logStarts = Object.fromEntries(await Promise.all(starting));
    await known;
    const task = await openTask({
      machine,
      partition,
      partitions,
      topics,
      log: kafka,
      stores,
      snapshots,
      folds,
      aside: restorer.restore,
      clock,
      cap: config.inFlightPerPartition,
      effects: (owner) => turns({ ...parts, warn: (message, error) => log.warn({ err: error }, message) }, owner),
      deadLetter: (input, error, consumed) => [deadLetterOf(codec, partition, input, error, consumed)],
      report: {
        committed({ events, ms }) {
          watched.commits.observe(ms / 1_000);
          watched.events.inc(events);
          watched.last.set({ partition }, Date.now() / 1_000);
        },
        recovered({ source, events, ms }) {
          watched.restores.inc({ source });
          watched.restoredEvents.set({ partition }, events);
          watched.restoredIn.set({ partition }, ms / 1_000);
          log.info({ partition, source, events, ms: Math.round(ms) }, 'state restored');
        },
        snapshot({ rows, bytes, ms }) {
          watched.snapshots.inc();
          watched.snapshotBytes.set({ partition }, bytes);
          log.info({ partition, rows, bytes, ms: Math.round(ms) }, 'snapshot written');
        },
        warn: (message, error) => log.warn({ err: error }, message),
      },
    });
    const lags = TOPICS_IN.map((topic) => parts.lag.add({ topic, partition, position: () => task.position(topic) }));
    void task.lost.then(() => {
      parts.knowledge.shut(partition);
      for (const stop of lags) stop();
    });
    watched.opened.set({ partition }, (performance.now() - started) / 1_000);
    log.info({ partition, ms: Math.round(performance.now() - started) }, 'partition opened');
    return { task, logStarts };
  };
}

function partitionMetrics(register: Registry) {
  return {
    commits: new Histogram({
      name: 'evenkeel_commit_seconds',
      help: 'Duration of a transaction, from its first record to its acknowledgement',
      buckets: [0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers: [register],
    }),
    events: new Counter({ name: 'evenkeel_events_total', help: 'Events committed', registers: [register] }),
    last: new Gauge({
      name: 'evenkeel_partition_last_commit_timestamp_seconds',
      help: 'When the partition last committed a transaction here',
      labelNames: ['partition'],
      registers: [register],
    }),
    opened: new Gauge({
      name: 'evenkeel_partition_open_seconds',
      help: 'How long the last opening of a partition took',
      labelNames: ['partition'],
      registers: [register],
    }),
    restores: new Counter({
      name: 'evenkeel_restores_total',
      help: 'Openings of a partition by what its state was restored from: its local store, a snapshot, or nothing but the log',
      labelNames: ['source'],
      registers: [register],
    }),
    restoredEvents: new Gauge({
      name: 'evenkeel_restore_events',
      help: 'Events folded at the last opening of a partition, on top of what it was restored from',
      labelNames: ['partition'],
      registers: [register],
    }),
    restoredIn: new Gauge({
      name: 'evenkeel_restore_seconds',
      help: 'How long the last restoring of a partition took, fencing included',
      labelNames: ['partition'],
      registers: [register],
    }),
    snapshots: new Counter({ name: 'evenkeel_snapshots_total', help: 'Snapshots written to their end', registers: [register] }),
    snapshotBytes: new Gauge({
      name: 'evenkeel_snapshot_bytes',
      help: "Size of a partition's last snapshot",
      labelNames: ['partition'],
      registers: [register],
    }),
  };
}
