/**
 * `npm run replay -- verify`: folds the whole history with the same machine and compares with each runtime's committed state at exactly the
 * same batch (invariants 3 and 5). Nothing outside is called, and nothing is written but a store of its own, thrown away afterwards.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pc from 'picocolors';
import { Folder } from '#streams/engine/fold.ts';
import { HistoryReader } from '#streams/engine/history.ts';
import type { Store } from '#streams/engine/ports.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { rocksStores } from '#streams/rocksdb/store.ts';
import { support } from '#streams/support/support.ts';
import { EXIT } from '../exit.ts';
import { CommandError, noPositionals, parseOptions, type Terminal } from './command.ts';
import { runtimes } from './local.ts';
import { type LogAccess, withLog } from './log.ts';

const HISTORY = 'tenant.events';
const OPTIONS = { json: { type: 'boolean' } } as const;
/** A partition moves between runtimes: for as long as this it may have no owner. */
const OWNER_WAIT_MS = 15_000;

export type Live = { readonly partition: number; readonly batch: number; readonly hash: string; readonly rows: number };
type Verified = { readonly partition: number; readonly batch: number; readonly rows: number; readonly ok: boolean; readonly why: string | undefined };

export async function verifyState(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseOptions(args, OPTIONS);
  noPositionals(positionals);
  const urls = await runtimes();
  const verified: Verified[] = [];
  await withLog('operator', async (log) => {
    const partitions = await log.partitions(HISTORY);
    for (let partition = 0; partition < partitions; partition++) {
      terminal.status(`folding partition ${partition + 1} of ${partitions}`);
      const result = await verifyPartition(log, await liveState(urls, partition), partitions);
      terminal.status('');
      verified.push(result);
      if (!values.json) terminal.out(asText(result));
    }
  });
  const ok = verified.every((each) => each.ok);
  if (values.json) terminal.out(JSON.stringify({ ok, partitions: verified }));
  else terminal.note(ok ? pc.green('The live state is the fold of its history.') : pc.red('The live state is not the fold of its history.'));
  return ok ? EXIT.ok : EXIT.failed;
}

export async function verifyPartition(log: LogAccess, live: Live, partitions: number): Promise<Verified> {
  const directory = await mkdtemp(join(tmpdir(), 'evenkeel-verify-'));
  const store = await rocksStores(directory).open(live.partition);
  try {
    const batch = await fold(log, store, live, partitions);
    const { hash, rows } = stateHash(store);
    const same = batch === live.batch && hash === live.hash;
    const why =
      batch < live.batch
        ? `the history ends at batch ${batch}`
        : `${rows} rows folded, their hash is ${hash.slice(0, 12)}…; the live one is ${live.hash.slice(0, 12)}…`;
    return { partition: live.partition, batch: live.batch, rows: live.rows, ok: same, why: same ? undefined : why };
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Up to exactly the batch that the live state reflects; the number of the last one folded. */
async function fold(log: LogAccess, store: Store, live: Live, partitions: number): Promise<number> {
  const machine = support(log.codec);
  const folder = new Folder(machine, store, partitions);
  const reader = new HistoryReader(machine);
  if (live.batch > 0) {
    reading: for await (const { records } of log.read(HISTORY, live.partition)) {
      for (const record of records) {
        const transaction = reader.push(record);
        if (!transaction) continue;
        folder.add(transaction);
        if (transaction.batch.number === live.batch) break reading;
      }
    }
  }
  folder.flush();
  return folder.meta.batch;
}

/** Asks every runtime until one owns the partition. */
async function liveState(urls: readonly string[], partition: number): Promise<Live> {
  const end = performance.now() + OWNER_WAIT_MS;
  do {
    for (const url of urls) {
      const live = await askState(url, partition);
      if (live) return live;
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
  } while (performance.now() < end);
  throw new CommandError(`No runtime owns partition ${partition}.`, 'npm run status shows which run; one that has just started takes a few seconds.');
}

async function askState(url: string, partition: number): Promise<Live | undefined> {
  let response: Response;
  try {
    response = await fetch(`${url}/state?partition=${partition}`, { signal: AbortSignal.timeout(60_000) });
  } catch {
    return undefined;
  }
  if (response.status !== 200) return undefined;
  // A partition without a single transaction has no batch.
  const { batch = 0, hash, rows } = (await response.json()) as Partial<Live>;
  if (typeof hash === 'string' && typeof rows === 'number') return { partition, batch, hash, rows };
  throw new CommandError(`${url}/state names no hash.`, 'Are runtime and command line of the same version?');
}

function asText({ partition, batch, rows, ok, why }: Verified): string {
  const at = `partition ${partition}: ${rows} rows at batch ${batch}`;
  return ok ? `${pc.green('ok')}         ${at}` : `${pc.red('different')}  ${at}: ${why}`;
}
