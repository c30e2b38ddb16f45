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

export type Topics = { readonly history: string; readonly words: string };
export type Recovery<A, R, K, I extends Row, E, X extends Work> = {
  readonly machine: Machine<A, R, K, I, E, X>;
  readonly stores: Stores;
  readonly partition: number;
  readonly partitions: number;
  readonly topics: Topics;
  /** A store was thrown away, and why. */
  readonly discarded: (why: string) => void;
};

export async function recover<A, R, K, I extends Row, E, X extends Work>(
  recovery: Recovery<A, R, K, I, E, X>,
  log: PartitionLog,
  open: Store | undefined,
): Promise<Store> {
  let store = open ?? (await openStore(recovery));
  try {
    await catchUp(recovery, log, store);
  } catch (error) {
    if (!(error instanceof EvenkeelError) || error.code !== 'store_ahead') {
      await store.close();
      throw error;
    }
    store = await discard(recovery, store, error.message);
    await catchUp(recovery, log, store);
  }
  return store;
}

async function openStore<A, R, K, I extends Row, E, X extends Work>(recovery: Recovery<A, R, K, I, E, X>): Promise<Store> {
  const { stores, partition, machine } = recovery;
  let store: Store;
  try {
    store = await stores.open(partition);
  } catch (error) {
    return discard(recovery, undefined, (error as Error).message);
  }
  const version = store.meta?.version;
  if (version === undefined || version === machine.version) return store;
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

async function catchUp<A, R, K, I extends Row, E, X extends Work>(recovery: Recovery<A, R, K, I, E, X>, log: PartitionLog, store: Store): Promise<void> {
  const { machine, topics, partitions } = recovery;
  const folder = new Folder(machine, store, partitions);
  const reader = new HistoryReader(machine);
  for await (const { records } of log.read(topics.history, folder.meta.positions.history)) {
    for (const record of records) {
      const transaction = reader.push(record);
      if (transaction) folder.add(transaction);
    }
  }
  folder.flush();
  await readWords(recovery, log, store, folder.meta);
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
      if (wanted) writes.push({ table: 'words', key: wordsKey(words.tenant, words.mark, words.step), value: record.value });
    }
    const current = store.meta ?? meta;
    store.write(writes, { ...current, positions: { ...current.positions, words: next } });
  }
}
