/** Restoring a ledger: the engine's own recovery against Kafka Streams, over the same cost events on the same broker. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { MEMORY } from '#infra/local/parts.mjs';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { startKafka, type TestKafka } from '../start-kafka.ts';
import type { Recovered } from './fold-task.ts';
import {
  conversationId,
  created,
  DAY,
  event,
  money,
  personId,
  provisionTopics,
  requestId,
  TOPICS,
  tenantsByPartition,
  type Written,
  writeHistory,
} from './history.ts';
import { SMALL } from './options.ts';
import { kafkaStreamsFold } from './peers/kafka-streams.ts';
import type { Report } from './report.ts';

const EVENTS = SMALL ? 200_000 : 2_000_000;
const TENANTS = 10_000;
const TARGET = 3;
const HOPED_FOR = 4.5;
const AMOUNT = 7;

const round = (value: number, digits = 0) => Math.round(value * 10 ** digits) / 10 ** digits;
const schemas = localSchemas();

/** Every tenant has one request that runs; its model calls are recorded in turn with everyone else's. */
function* costs(tenants: ReturnType<typeof tenantsByPartition>[number], each: number): Iterable<Written> {
  const ids = tenants.map(({ n, tenant }) => ({ tenant, request: requestId(n), conversation: conversationId(n), n }));
  for (const { n, ...of } of ids) {
    yield created(of.tenant);
    const queued = { type: 'request_queued', ...of, person: personId(n), bodyDigest: `${n}`.padStart(22, '0'), source: 'http' } as const;
    yield event({ ...queued, arrival: 0, deadline: 9e12, estimate: money(AMOUNT * each) });
    yield event({ type: 'hold_placed', ...of, ...DAY, amount: money(AMOUNT * each), degraded: null, tokens: 908 * each });
  }
  for (let at = 0; at < each; at++) {
    const call = {
      step: `model-${at % 8}`,
      attempt: at,
      amount: money(AMOUNT),
      inputTokens: 812,
      outputTokens: 96,
      model: 'offline-extractive',
      presumed: false,
      priceVersion: 1,
    };
    for (const { n: _, ...of } of ids) yield event({ type: 'cost_recorded', ...of, ...DAY, ...call });
  }
}

/** As a runtime is started (infra/local/parts.mjs). */
async function recoverOnce(kafka: TestKafka, dir: string): Promise<Recovered> {
  const program = fileURLToPath(new URL('fold-task.ts', import.meta.url));
  const asked = JSON.stringify({ kafka, group: 'bench', dir, keep: false });
  const env = { ...process.env, ...MEMORY.env, NODE_COMPILE_CACHE: join(dir, '..', 'compiled') };
  const { stdout } = await promisify(execFile)(process.execPath, [...MEMORY.args, ...profiling(), program, asked], { maxBuffer: 1e7, env });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Recovered;
}

/** EVENKEEL_BENCH_PROFILE=dir writes a V8 profile of the recovery there. */
function profiling(): readonly string[] {
  const dir = process.env.EVENKEEL_BENCH_PROFILE;
  return dir ? ['--cpu-prof', `--cpu-prof-dir=${dir}`] : [];
}

export async function fold(): Promise<Report> {
  const each = Math.round(EVENTS / TENANTS);
  const events = each * TENANTS;
  const dir = mkdtempSync(join(tmpdir(), 'evenkeel-fold-'));
  const kafka = await startKafka();
  try {
    await provisionTopics(kafka);
    // A former life, when there was nothing yet, leaves its compiled code.
    await recoverOnce(kafka, join(dir, 'stores'));
    const tenants = tenantsByPartition(TENANTS);
    await writeHistory(kafka, createCodec(schemas), 'bench', (partition) => costs(tenants[partition] ?? [], each));
    const ours = await recoverOnce(kafka, join(dir, 'stores'));
    if (ours.accounts !== TENANTS || ours.settled !== events * AMOUNT) throw new Error(`the recovered balances are wrong: ${JSON.stringify(ours)}`);
    const schemaId = schemas.find(({ name }) => name === 'cost_recorded')?.id ?? 0;
    const streams = await kafkaStreamsFold({ kafka, topic: TOPICS.history, schemaId, events, stateDir: join(dir, 'streams') });
    return report(events, ours, streams);
  } finally {
    await kafka.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

function report(events: number, ours: Recovered, streams: Awaited<ReturnType<typeof kafkaStreamsFold>>): Report {
  const rate = events / ours.seconds;
  const [processing, restoring] = [streams.processed, streams.restored].map(({ records, seconds }) => records / seconds) as [number, number];
  return {
    name: 'fold',
    figures: {
      events,
      seconds: round(ours.seconds, 2),
      processor_seconds: round(ours.cpu_seconds, 2),
      events_per_second: round(rate),
      memory_mb: ours.memory_mb,
      streams_processing_per_second: round(processing),
      streams_restored_records: streams.restored.records,
      streams_restore_per_second: round(restoring),
      against_streams_restore: round(rate / restoring, 2),
    },
    ratio: round(rate / processing, 2),
    target: `at least ${TARGET} times Kafka Streams' processing (${HOPED_FOR} hoped for), and faster than its restore`,
    met: rate >= TARGET * processing && rate > restoring,
    not_measured: ['a broker on another machine', 'Kafka Streams with more than two threads', 'rows beyond the cache of decoded rows'],
  };
}
