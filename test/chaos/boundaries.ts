/**
 * Loaded into a service before its own code (`node --import`), so that the product needs no switch: wraps the Kafka client's transactions and
 * RocksDB's batches, and kills its own process (SIGKILL, nothing is cleaned up) at the n-th time that a named boundary is reached.
 * Which one is read from a file: at the start, and on SIGUSR2.
 */
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import kafkajs from 'kafkajs';
import { RocksLevel } from 'rocksdb';

/** Where a process may be killed: what has happened, and what has not. */
export const BOUNDARIES = {
  fenced: 'a partition was fenced, its log not yet read',
  'store-opened': 'RocksDB was opened, the log not yet read',
  'first-send': 'the first records of a transaction were written, the others not',
  sends: 'the records of a transaction were written, its offsets not',
  offsets: 'records and offsets were written, the commit was not asked for',
  unknown: 'the commit was asked for, and its answer not read',
  committed: 'Kafka has committed, RocksDB has not',
  unstored: 'Kafka has taken what there was, the batch for RocksDB is not written',
  stored: 'Kafka and RocksDB have committed, no effect has started',
} as const;
export type Boundary = keyof typeof BOUNDARIES;
/** The n-th time from now. */
export type Armed = { readonly boundary: Boundary; readonly nth: number };

type Transaction = Record<'send' | 'sendOffsets' | 'commit' | 'abort', (...args: readonly unknown[]) => Promise<unknown>>;

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
  type Producer = { transaction(): Promise<Transaction> };
  const prototype = kafkajs.Kafka.prototype as unknown as { producer(options: object): Producer };
  const make = prototype.producer;
  prototype.producer = function (options) {
    const producer = make.call(this, options);
    const begin = producer.transaction;
    producer.transaction = async () => wrapped(await begin());
    return producer;
  };
}

function wrapped(transaction: Transaction): Transaction {
  const { send, sendOffsets, commit, abort } = transaction;
  let sent = 0;
  const open = { offsets: false };
  return {
    ...transaction,
    async send(...args) {
      const answer = await send(...args);
      sent++;
      if (sent === 1) at('first-send');
      return answer;
    },
    async sendOffsets(...args) {
      at('sends');
      const answer = await sendOffsets(...args);
      open.offsets = true;
      at('offsets');
      return answer;
    },
    async commit() {
      // Asked for, on its way, and nobody waits for the answer: it may be in the log or not.
      if (open.offsets && reached('unknown')) setTimeout(die, 1);
      const answer = await commit();
      if (open.offsets) at('committed');
      return answer;
    },
    async abort() {
      const answer = await abort();
      // Opening runs an empty transaction and aborts it: that is what fences.
      if (sent === 0) at('fenced');
      return answer;
    },
  };
}

function wrapStore(): void {
  const { open } = RocksLevel;
  RocksLevel.open = async (...args) => {
    const store = await open.apply(RocksLevel, args);
    at('store-opened');
    return store;
  };
  const make = RocksLevel.prototype.batch;
  RocksLevel.prototype.batch = function () {
    const batch = make.call(this);
    const write = batch._writeSync;
    batch._writeSync = () => {
      at('unstored');
      write.call(batch);
      at('stored');
    };
    return batch;
  };
}
