/**
 * From the store's positions to the log's end: first the history, then the words (invariants 3 and 5). A store of another fold version,
 * or one that does not match its log, is thrown away and built anew from the log.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import { Folder } from './fold.ts';
import { HistoryReader } from './history.ts';
import { itemKey, wordsKey, wordsName } from './keys.ts';
import type { Machine, Row, Work } from './machine.ts';
import type { Meta, PartitionLog, Store, Stores, Write } from './ports.ts';
import { RESTORING, restore } from './restore.ts';
import type { Semaphore } from './semaphore.ts';
import { keepWords } from './words.ts';

export type Topics = { readonly history: string; readonly words: string };
export type Recovery<A, R, K, I extends Row, E, X extends Work> = {
  readonly machine: Machine<A, R, K, I, E, X>;
  readonly stores: Stores;
  readonly partition: number;
  readonly partitions: number;
  readonly topics: Topics;
  /** Where snapshots of the state are found; without it there are none. */
  readonly snapshots?: { readonly topic: string } | undefined;
  /** Of a process: partitions whose histories are folded at once. Few are folded sooner than many are, each in a fraction of the time. */
  readonly folds?: Semaphore | undefined;
  /** A store was thrown away, and why. */
  readonly discarded: (why: string) => void;
  /** A snapshot was, and why. */
  readonly ignored?: (why: string) => void;
};
/** What a store was opened from, beside the tail of the log. */
export type Source = 'store' | 'snapshot' | 'log';
/** `events`: how many were folded. */
export type Recovered = { readonly store: Store; readonly source: Source; readonly events: number };

/** The store as it is, else the newest whole snapshot, else nothing: then what the log holds beyond it. The first way that fits is taken. */
export async function recover<A, R, K, I extends Row, E, X extends Work>(
  recovery: Recovery<A, R, K, I, E, X>,
  log: PartitionLog,
  open: Store | undefined,
): Promise<Recovered> {
  let store = open ?? (await openStore(recovery));
  const ways: Source[] = store.meta ? ['store', 'snapshot', 'log'] : ['snapshot', 'log'];
  for (const source of ways) {
    try {
      if (source === 'snapshot' && !(await fromSnapshot(recovery, log, store))) continue;
      return { store, source, events: await catchUp(recovery, log, store) };
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

/** What another way in may mend: the store, or the snapshot in it, does not fit its log. */
const misfit = (error: unknown): boolean => error instanceof EvenkeelError && (error.code === 'store_ahead' || error.code === 'record_unreadable');

async function fromSnapshot<A, R, K, I extends Row, E, X extends Work>(
  { machine, partitions, snapshots, ignored }: Recovery<A, R, K, I, E, X>,
  log: PartitionLog,
  store: Store,
): Promise<boolean> {
  if (!snapshots) return false;
  return restore({ codec: machine.snapshots, topic: snapshots.topic, version: machine.version, partitions, ignored }, log, store);
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
  if (version === RESTORING) return discard(recovery, store, 'a snapshot was loaded into it in part');
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

function catchUp<A, R, K, I extends Row, E, X extends Work>(recovery: Recovery<A, R, K, I, E, X>, log: PartitionLog, store: Store): Promise<number> {
  const { folds } = recovery;
  return folds ? folds.run(() => readLogs(recovery, log, store)) : readLogs(recovery, log, store);
}

async function readLogs<A, R, K, I extends Row, E, X extends Work>(recovery: Recovery<A, R, K, I, E, X>, log: PartitionLog, store: Store): Promise<number> {
  const { machine, topics, partitions } = recovery;
  const folder = new Folder(machine, store, partitions);
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
  { machine, topics }: Recovery<A, R, K, I, E, X>,
  log: PartitionLog,
  store: Store,
  meta: Meta,
): Promise<void> {
  for await (const { records, next } of log.read(topics.words, meta.positions.words)) {
    const writes: Write[] = [];
    for (const record of records) {
      if (record.value === null) continue;
      const words = machine.wordsOf(record.value);
      const row = store.get('item', itemKey(words.tenant, words.item));
      const wanted = row && machine.itemKeys(machine.rows.item.decode(row)).words?.includes(wordsName(words.mark, words.step));
      if (wanted) writes.push({ table: 'words', key: wordsKey(words.tenant, words.mark, words.step), value: keepWords(record.offset, record.value) });
    }
    const current = store.meta ?? meta;
    store.write(writes, { ...current, positions: { ...current.positions, words: next } });
  }
}
