/**
 * Loaded into a service before its own code (`node --import`), so that the product needs no switch: wraps what the Kafka client sends and
 * RocksDB's batches, and kills its own process (SIGKILL, nothing is cleaned up) at the n-th time that a named boundary is reached.
 * Which one is read from a file: at the start, and on SIGUSR2.
 */
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { RocksLevel } from 'rocksdb';
import binding from 'rocksdb/binding.js';

/** Where a process may be killed: what has happened, and what has not. */
export const BOUNDARIES = {
  fenced: 'a partition was fenced, its log not yet read',
  'store-opened': 'RocksDB was opened, the log not yet read',
  announced: 'a transaction was announced, nothing of it written',
  sending: 'its records were sent, no answer was read',
  written: 'its first records were written, the commit was not asked for',
  offsets: 'its input offsets were written, the commit was not asked for',
  unknown: 'the commit was asked for, its answer not read',
  committed: 'Kafka has committed, RocksDB has not',
  unstored: 'Kafka has committed, effects may have started, the batch for RocksDB is not written',
  stored: 'RocksDB has what was committed until then',
} as const;
export type Boundary = keyof typeof BOUNDARIES;
/** The n-th time from now. */
export type Armed = { readonly boundary: Boundary; readonly nth: number };

/** Kafka's requests by their keys (KIP-98): what is killed at depends on no client library's own words for it. */
const AFTER: Readonly<Record<number, Boundary>> = { 22: 'fenced', 24: 'announced', 0: 'written', 28: 'offsets', 26: 'committed' };
const ON_ITS_WAY: Readonly<Record<number, Boundary>> = { 0: 'sending', 26: 'unknown' };
/** The client that writes transactions: others of the process write without one. */
const TRANSACTIONAL = '.transactions';

const { EVENKEEL_CHAOS_DIR: dir, EVENKEEL_INSTANCE: name } = process.env;
let armed: { boundary: string; left: number } | undefined;

if (isMainThread && dir && name) {
  arm(join(dir, `${name}.arm`));
  process.on('SIGUSR2', () => arm(join(dir, `${name}.arm`)));
  wrapTransactions();
  wrapStore();
}

function arm(file: string): void {
  try {
    const { boundary, nth } = JSON.parse(readFileSync(file, 'utf8')) as Armed;
    rmSync(file);
    armed = { boundary, left: nth };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function reached(boundary: Boundary): boolean {
  return armed?.boundary === boundary && --armed.left === 0;
}

function die(): void {
  appendFileSync(join(dir as string, `${name}.hit`), `${armed?.boundary}\n`);
  process.kill(process.pid, 'SIGKILL');
}

const at = (boundary: Boundary): void => {
  if (reached(boundary)) die();
};

function wrapTransactions(): void {
  type Sent = { readonly request: { readonly apiKey: number } };
  type Connection = { readonly clientId: string; send(sent: Sent): Promise<unknown> };
  const { prototype } = createRequire(import.meta.url)('kafkajs/src/network/connection') as { prototype: Connection };
  const { send } = prototype;
  prototype.send = async function (sent) {
    const answering = send.call(this, sent);
    if (!this.clientId.endsWith(TRANSACTIONAL)) return answering;
    const { apiKey } = sent.request;
    const [underway, after] = [ON_ITS_WAY[apiKey], AFTER[apiKey]];
    // Nobody waits for the answer: what was asked for may be done or not.
    if (underway && reached(underway)) setTimeout(die, 1);
    const answer = await answering;
    if (after) at(after);
    return answer;
  };
}

function wrapStore(): void {
  const { open } = RocksLevel;
  RocksLevel.open = async (...args) => {
    const store = await open.apply(RocksLevel, args);
    at('store-opened');
    return store;
  };
  const write = binding.batch_write;
  binding.batch_write = (...args) => {
    at('unstored');
    write(...args);
    at('stored');
  };
}
