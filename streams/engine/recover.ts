/**
 * From the store's positions to the log's end: first the history, then the words (invariants 3 and 5). A store of another fold version,
 * or one that does not match its log, is thrown away and built anew from the log.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import { Folder, RESTORING } from './fold.ts';
import { HistoryReader } from './history.ts';
import { itemKey, wordsKey, wordsName } from './keys.ts';
import type { Machine, Row, Work } from './machine.ts';
import type { Meta, PartitionLog, ReadLog, Store, Stores, Write } from './ports.ts';
import { restore, restoreLast } from './restore.ts';
import type { Semaphore } from './semaphore.ts';
import { keepWords } from './words.ts';

export type Topics = { readonly history: string; readonly words: string };
export type Restoration<A, R, K, I extends Row, E, X extends Work> = {
  readonly machine: Machine<A, R, K, I, E, X>;
  readonly partitions: number;
  readonly topics: Topics;
  /** Where snapshots of the state are found; without it there are none. */
  readonly snapshots?: { readonly topic: string } | undefined;
  /** Of a process: partitions whose histories are folded at once. Few are folded sooner than many are, each in a fraction of the time. */
  readonly folds?: Semaphore | undefined;
  /** A snapshot was ignored, and why. */
  readonly ignored?: (why: string) => void;
};
export type Recovery<A, R, K, I extends Row, E, X extends Work> = Restoration<A, R, K, I, E, X> & {
  readonly stores: Stores;
  readonly partition: number;
  /** Does `restoreFrom` for a long history in another thread, which leaves this one to others and has a processor of its own. */
  readonly aside?: ((partition: number, store: Store, source: Source) => Promise<Restored | undefined>) | undefined;
  /** A store was thrown away, and why. */
  readonly discarded: (why: string) => void;
};
/** What a store was opened from, beside the tail of the log. */
type Origin = 'store' | 'snapshot' | 'log';
/** A way to it. `last snapshot`: if the topic ends with one; else the newest that a survey of the topic finds whole. */
export type Source = Origin | 'last snapshot';
/** `events`: how many were folded. */
export type Restored = { readonly source: Origin; readonly events: number };
export type Recovered = Restored & { readonly store: Store };

/** Offsets of the history: below, another thread would still be starting when this one has folded them. */
const LONG = 50_000;

/** The store as it is, else the newest whole snapshot, else nothing: then what the log holds beyond it. The first way that fits is taken. */
export async function recover<A, R, K, I extends Row, E, X extends Work>(
  recovery: Recovery<A, R, K, I, E, X>,
  log: PartitionLog,
  open: Store | undefined,
): Promise<Recovered> {
  let store = open ?? (await openStore(recovery));
  const afresh: readonly Source[] = ['last snapshot', 'snapshot', 'log'];
  const ways: readonly Source[] = store.meta ? ['store', ...afresh] : afresh;
  for (const source of ways) {
    try {
      const aside = recovery.aside && (await isLong(recovery, log, store)) ? recovery.aside : undefined;
      const restored = await (aside ? aside(recovery.partition, store, source) : restoreFrom(recovery, log, store, source));
      if (restored) return { store, ...restored };
    } catch (error) {
      if (source === 'log' || !misfit(error)) {
        await store.close();
        throw error;
      }
      store = await discard(recovery, store, (error as Error).message);
    }
  }
  throw new EvenkeelError('store_ahead', 'neither store, snapshot nor log');
}

/** Into `store`, by one of the ways. undefined: there is no snapshot. @throws EvenkeelError `store_ahead`, `record_unreadable` for another way */
export async function restoreFrom<A, R, K, I extends Row, E, X extends Work>(
  restoration: Restoration<A, R, K, I, E, X>,
  log: ReadLog,
  store: Store,
  source: Source,
): Promise<Restored | undefined> {
  const snapshot = source === 'snapshot' || source === 'last snapshot';
  if (snapshot && !(await fromSnapshot(restoration, source === 'snapshot' ? restore : restoreLast, log, store))) return undefined;
  const { folds } = restoration;
  return {
    source: snapshot ? 'snapshot' : source,
    events: await (folds ? folds.run(() => readLogs(restoration, log, store)) : readLogs(restoration, log, store)),
  };
}

async function isLong<A, R, K, I extends Row, E, X extends Work>({ topics }: Restoration<A, R, K, I, E, X>, log: ReadLog, { meta }: Store): Promise<boolean> {
  return (await log.end(topics.history)) - (meta?.positions.history ?? 0) >= LONG;
}

/** What another way in may mend: the store, or the snapshot in it, does not fit its log. */
const misfit = (error: unknown): boolean => error instanceof EvenkeelError && (error.code === 'store_ahead' || error.code === 'record_unreadable');

async function fromSnapshot<A, R, K, I extends Row, E, X extends Work>(
  { machine, partitions, snapshots, ignored }: Restoration<A, R, K, I, E, X>,
  load: typeof restore,
  log: ReadLog,
  store: Store,
): Promise<boolean> {
  if (!snapshots) return false;
  return load({ codec: machine.snapshots, topic: snapshots.topic, version: machine.version, partitions, ignored }, log, store);
}

async function openStore<A, R, K, I extends Row, E, X extends Work>(recovery: Recovery<A, R, K, I, E, X>): Promise<Store> {
  const { stores, partition, machine } = recovery;
  let store: Store;
  try {
    store = await stores.open(partition);
  } catch (error) {
    if (!misfit(error)) throw error;
    return discard(recovery, undefined, (error as Error).message);
  }
  const version = store.meta?.version;
  if (version === undefined || version === machine.version) return store;
  if (version === RESTORING) return discard(recovery, store, 'it was filled in part');
  return discard(recovery, store, `it was folded by version ${version}, this is ${machine.version}`);
}

/** Throws the store away: its log is the truth. */
export async function discard<A, R, K, I extends Row, E, X extends Work>(
  { stores, partition, discarded }: Recovery<A, R, K, I, E, X>,
  store: Store | undefined,
  why: string,
): Promise<Store> {
  discarded(why);
  await store?.close();
  await stores.destroy(partition);
  return stores.open(partition);
}

async function readLogs<A, R, K, I extends Row, E, X extends Work>(recovery: Restoration<A, R, K, I, E, X>, log: ReadLog, store: Store): Promise<number> {
  const { machine, topics, partitions } = recovery;
  const folder = new Folder(machine, store, partitions, store.meta === undefined);
  const reader = new HistoryReader(machine);
  const [reflected, end] = [folder.meta.positions.history, await log.end(topics.history)];
  if (reflected > end) throw new EvenkeelError('store_ahead', `the store reflects the history up to ${reflected}, the log ends at ${end}`);
  let events = 0;
  for await (const { records } of log.read(topics.history, folder.meta.positions.history)) {
    for (const record of records) {
      const transaction = reader.push(record);
      if (!transaction) continue;
      folder.add(transaction);
      events += transaction.events.length;
    }
  }
  folder.flush();
  await readWords(recovery, log, store, folder.meta);
  return events;
}

/** Words are a cache beside the state, at their own position: only those that a row still wants are kept. */
async function readWords<A, R, K, I extends Row, E, X extends Work>(
  { machine, topics }: Restoration<A, R, K, I, E, X>,
  log: ReadLog,
  store: Store,
  meta: Meta,
): Promise<void> {
  for await (const { records, next } of log.read(topics.words, meta.positions.words)) {
    const writes: Write[] = [];
    const found = records.flatMap(({ offset, value }) => (value === null ? [] : [{ offset, value, words: machine.wordsOf(value) }]));
    const rows = store.getMany(
      'item',
      found.map(({ words }) => itemKey(words.tenant, words.item)),
    );
    for (const [at, { offset, value, words }] of found.entries()) {
      const row = rows[at];
      const wanted = row && machine.itemWords(machine.rows.item.decode(row)).includes(wordsName(words.mark, words.step));
      if (wanted) writes.push({ table: 'words', key: wordsKey(words.tenant, words.mark, words.step), value: keepWords(offset, value) });
    }
    const current = store.meta ?? meta;
    store.write(writes, { ...current, positions: { ...current.positions, words: next } });
  }
}
