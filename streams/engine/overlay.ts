/**
 * Rows decided and not yet committed, over the store. Reads see the overlay first, so that the next input of the same transaction sees
 * what the last one did. Secondary keys are derived from the rows before and after; `evolve` never touches one.
 * Invariant 3: what `writes` returns is, with the position, one batch of the store.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, Offset, TenantId } from '#schemas/ids.ts';
import { queueItem, queueKey, tenantOf, wordsKey, wordsName } from './keys.ts';
import type { ItemId, Machine, Output, Row, State, Work } from './machine.ts';
import type { View, Write } from './ports.ts';
import { pageEnd, waitingIn } from './queue-pages.ts';
import { RowCache } from './row-cache.ts';
import { RowMap } from './row-map.ts';
import { type RowTable, RowWrites, rowKey } from './row-writes.ts';
import { TenantQueues } from './tenant-queues.ts';
import { keepWords } from './words.ts';

type Cell = { readonly table: RowTable; readonly tenant: TenantId; readonly id: string; readonly before: unknown; after: unknown };
/** What one input has changed, to be taken back: a cell and what it held before, or a move in a queue. */
type Change =
  | { readonly cell: Cell; readonly previous: unknown; readonly fresh: boolean }
  | { readonly tenant: TenantId; readonly remove: string | undefined; readonly add: string | undefined };
type Of = { readonly tenant: TenantId; readonly id: string };
type Words = NonNullable<Output['words']> & { readonly bytes: Uint8Array };

/** A tenant has one account. */
const OF_TENANT = '';

export class Overlay<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #view: View;
  readonly #cells = { account: new RowMap<Cell>(), item: new RowMap<Cell>(), mark: new RowMap<Cell>() };
  readonly #cache = { account: new RowCache(), item: new RowCache(), mark: new RowCache() };
  readonly #queues: TenantQueues;
  readonly #rowWrites: RowWrites<A, R, K, I, E, X>;
  #words: Words[] = [];
  /** Words that the last transaction has put into the store, by their key there: what it starts asks for them at once. */
  #newWords = new Map<string, Uint8Array>();
  #changes: Change[] = [];
  /** As they were before the input that is being decided. */
  #settled = { words: 0, runningDelta: 0 };
  /** How many more items should run than are committed. */
  runningDelta = 0;

  constructor(machine: Machine<A, R, K, I, E, X>, view: View) {
    this.#machine = machine;
    this.#view = view;
    this.#queues = new TenantQueues(view);
    this.#rowWrites = new RowWrites(machine, view);
  }

  state(row: Row): State<A, R, K> {
    const { tenant, item, mark } = row;
    return {
      account: (this.#read('account', tenant, OF_TENANT) as A | undefined) ?? this.#machine.initial(tenant),
      item: item === undefined ? undefined : (this.#read('item', tenant, item) as R | undefined),
      mark: mark === undefined ? undefined : (this.#read('mark', tenant, mark) as K | undefined),
    };
  }

  /** As the store has it. */
  committedState({ tenant, item, mark }: Row): State<A, R, K> {
    return {
      account: (this.#committed('account', tenant, OF_TENANT) as A | undefined) ?? this.#machine.initial(tenant),
      item: item === undefined ? undefined : (this.#committed('item', tenant, item) as R | undefined),
      mark: mark === undefined ? undefined : (this.#committed('mark', tenant, mark) as K | undefined),
    };
  }

  /** At opening: the first committed page of a tenant's queue. Returns the row that waits first. */
  primeQueue(key: string, page: Uint8Array): { readonly tenant: TenantId; readonly item: ItemId } {
    const [tenant, waiting] = [tenantOf(key), waitingIn(key, page)];
    const [first] = waiting;
    if (!first) throw new EvenkeelError('wedged', `the page ${key} of a queue is empty`);
    this.#queues.prime(tenant, waiting, pageEnd(key));
    return { tenant, item: first.item };
  }

  /** Reads the rows that inputs name in one go. */
  prefetch(rows: readonly Row[]): void {
    const unknown = { account: new Map<string, Of>(), item: new Map<string, Of>(), mark: new Map<string, Of>() };
    const want = (table: RowTable, tenant: TenantId, id: string) => {
      if (this.#cache[table].get(tenant, id) === undefined) unknown[table].set(rowKey(table, tenant, id), { tenant, id });
    };
    for (const { tenant, item, mark } of rows) {
      want('account', tenant, OF_TENANT);
      if (item !== undefined) want('item', tenant, item);
      if (mark !== undefined) want('mark', tenant, mark);
    }
    for (const table of ['account', 'item', 'mark'] as const) this.#readMany(table, unknown[table]);
  }

  /** Evolves the rows that the event names, and returns them. */
  apply(event: E, at: Instant): State<A, R, K> {
    const row = this.#machine.rowOf(event);
    const before = this.state(row);
    const after = this.#machine.evolve(before, event, at);
    if (after.account !== before.account) this.#set('account', row.tenant, OF_TENANT, after.account);
    if (row.item !== undefined && after.item !== before.item) this.#setItem(row.tenant, row.item, before.item, after.item);
    if (row.mark !== undefined && after.mark !== before.mark) this.#set('mark', row.tenant, row.mark, after.mark);
    return after;
  }

  keepWords(words: NonNullable<Output['words']>, bytes: Uint8Array): void {
    this.#words.push({ ...words, bytes });
  }

  /** As the store has them. */
  committedWords(key: string): Uint8Array | undefined {
    return this.#newWords.get(key) ?? this.#view.get('words', key);
  }

  /** The head of a tenant's queue: its first idle conversation, in order of arrival. */
  head(tenant: TenantId): ItemId | undefined {
    const key = this.#queues.head(tenant);
    return key === undefined ? undefined : queueItem(key);
  }

  /** Everything since the last `settle` of one input can be taken back: a throw in `decide` drops only that input's changes. */
  settle(): void {
    this.#changes.length = 0;
    this.#settled.words = this.#words.length;
    this.#settled.runningDelta = this.runningDelta;
  }
  rollback(): void {
    for (const change of this.#changes.reverse()) {
      if (!('cell' in change)) this.#queues.change(change.tenant, change.add, change.remove);
      else if (change.fresh) this.#cells[change.cell.table].delete(change.cell.tenant, change.cell.id);
      else change.cell.after = change.previous;
    }
    this.#words.length = this.#settled.words;
    this.runningDelta = this.#settled.runningDelta;
    this.settle();
  }

  touchedItems(): { readonly row: { readonly tenant: TenantId; readonly item: ItemId }; readonly item: R | undefined }[] {
    return this.#cells.item.values().map((cell) => ({
      row: { tenant: cell.tenant, item: cell.id },
      item: cell.after as R | undefined,
    }));
  }

  /** The batch for the store: rows and the secondary keys that follow from them. Words to keep stand at `wordsFrom` or after it. */
  writes(wordsFrom: Offset = 0): readonly Write[] {
    const writes: Write[] = [];
    for (const table of ['account', 'mark', 'item'] as const) for (const cell of this.#cells[table].values()) this.#rowWrites.add(writes, table, cell);
    this.#rowWrites.addPages(writes);
    this.#writeWords(writes, wordsFrom);
    return writes;
  }

  /** After the store was written: the overlay is empty, its rows are cached as committed. */
  committed(): void {
    for (const table of ['account', 'item', 'mark'] as const) {
      const cache = this.#cache[table];
      for (const cell of this.#cells[table].values()) {
        if (this.#isOver(cell)) cache.forget(cell.tenant, cell.id);
        else cache.set(cell.tenant, cell.id, cell.after);
      }
      this.#cells[table].clear();
    }
    this.#queues.committed();
    this.#words = [];
    this.runningDelta = 0;
    this.settle();
  }

  /** It is gone, or waits for nothing but to be forgotten: kept, such rows would fill the cache, and be copied by the collector again and again. */
  #isOver({ table, after }: Cell): boolean {
    return after === undefined || (table === 'mark' && this.#machine.markKeys(after as K).due !== undefined);
  }

  #read(table: RowTable, tenant: TenantId, id: string): unknown {
    const cell = this.#cells[table].get(tenant, id);
    return cell ? cell.after : this.#committed(table, tenant, id);
  }

  #committed(table: RowTable, tenant: TenantId, id: string): unknown {
    const cache = this.#cache[table];
    const cached = cache.get(tenant, id);
    if (cached !== undefined) return cached ?? undefined;
    const bytes = this.#view.get(table, rowKey(table, tenant, id));
    const value = bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes);
    cache.set(tenant, id, value);
    return value;
  }

  #readMany(table: RowTable, rows: ReadonlyMap<string, Of>): void {
    if (rows.size === 0) return;
    const found = this.#view.getMany(table, [...rows.keys()]);
    let at = 0;
    for (const { tenant, id } of rows.values()) {
      const bytes = found[at++];
      this.#cache[table].set(tenant, id, bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes));
    }
  }

  #set(table: RowTable, tenant: TenantId, id: string, after: unknown): void {
    const known = this.#cells[table].get(tenant, id);
    if (known) {
      this.#changes.push({ cell: known, previous: known.after, fresh: false });
      known.after = after;
      return;
    }
    const cell = { table, tenant, id, before: this.#committed(table, tenant, id), after };
    this.#cells[table].set(tenant, id, cell);
    this.#changes.push({ cell, previous: undefined, fresh: true });
  }

  #setItem(tenant: TenantId, id: ItemId, before: R | undefined, after: R | undefined): void {
    this.#set('item', tenant, id, after);
    this.#moveQueue(tenant, id, this.#rowWrites.itemKeys(before).queue, this.#rowWrites.itemKeys(after).queue);
    this.runningDelta += Number(this.#rowWrites.running(after)) - Number(this.#rowWrites.running(before));
  }

  #moveQueue(tenant: TenantId, id: ItemId, from: number | undefined, to: number | undefined): void {
    if (from === to) return;
    const remove = from === undefined ? undefined : queueKey(tenant, from, id);
    const add = to === undefined ? undefined : queueKey(tenant, to, id);
    this.#queues.change(tenant, remove, add);
    this.#changes.push({ tenant, remove, add });
  }

  /** Words whose request ended within the same transaction are not kept. */
  #writeWords(writes: Write[], from: Offset): void {
    this.#newWords = new Map();
    for (const words of this.#words) {
      const item = this.#read('item', words.tenant, words.item) as R | undefined;
      if (item === undefined || !this.#machine.itemWords(item).includes(wordsName(words.mark, words.step))) continue;
      const [key, value] = [wordsKey(words.tenant, words.mark, words.step), keepWords(from, words.bytes)];
      writes.push({ table: 'words', key, value });
      this.#newWords.set(key, value);
    }
  }
}
