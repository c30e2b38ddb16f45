/**
 * Rows decided and not yet committed, over the store. Reads see the overlay first, so that the next input of the same transaction sees
 * what the last one did. Secondary keys are derived from the rows before and after; `evolve` never touches one.
 * Invariant 3: what `writes` returns is, with the position, one batch of the store.
 */
import type { Instant, Offset, TenantId } from '#schemas/ids.ts';
import { itemKey, markKey, queueItem, queueKey, tenantOf, wordsKey, wordsName } from './keys.ts';
import type { ItemId, Machine, Output, Row, State, Work } from './machine.ts';
import type { View, Write } from './ports.ts';
import { RowCache } from './row-cache.ts';
import { type RowTable, RowWrites } from './row-writes.ts';
import { TenantQueues } from './tenant-queues.ts';
import { keepWords } from './words.ts';

type Cell = { readonly table: RowTable; readonly key: string; readonly tenant: TenantId; readonly id: string; readonly before: unknown; after: unknown };
/** What one input has changed, to be taken back: a cell and what it held before, or a move in a queue. */
type Change =
  | { readonly cell: Cell; readonly previous: unknown; readonly fresh: boolean }
  | { readonly tenant: TenantId; readonly remove: string | undefined; readonly add: string | undefined };
type Words = NonNullable<Output['words']> & { readonly bytes: Uint8Array };

export class Overlay<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #view: View;
  readonly #cells = { account: new Map<string, Cell>(), item: new Map<string, Cell>(), mark: new Map<string, Cell>() };
  readonly #cache = { account: new RowCache(), item: new RowCache(), mark: new RowCache() };
  readonly #queues: TenantQueues;
  readonly #rowWrites: RowWrites<A, R, K, I, E, X>;
  readonly #keys = { item: new LastKey(itemKey), mark: new LastKey(markKey) };
  #words: Words[] = [];
  #changes: Change[] = [];
  /** As they were before the input that is being decided. */
  #settled = { words: 0, runningDelta: 0 };
  /** How many more items should run than are committed. */
  runningDelta = 0;

  constructor(machine: Machine<A, R, K, I, E, X>, view: View) {
    this.#machine = machine;
    this.#view = view;
    this.#queues = new TenantQueues(view);
    this.#rowWrites = new RowWrites(machine);
  }

  state(row: Row): State<A, R, K> {
    const { tenant, item, mark } = row;
    return {
      account: (this.#read('account', tenant, tenant) as A | undefined) ?? this.#machine.initial(tenant),
      item: item === undefined ? undefined : (this.#read('item', tenant, item) as R | undefined),
      mark: mark === undefined ? undefined : (this.#read('mark', tenant, mark) as K | undefined),
    };
  }

  /** As the store has it. */
  committedState({ tenant, item, mark }: Row): State<A, R, K> {
    return {
      account: (this.#committed('account', tenant) as A | undefined) ?? this.#machine.initial(tenant),
      item: item === undefined ? undefined : (this.#committed('item', this.#key('item', tenant, item)) as R | undefined),
      mark: mark === undefined ? undefined : (this.#committed('mark', this.#key('mark', tenant, mark)) as K | undefined),
    };
  }

  /** At opening: a tenant's first committed key in its queue. Returns the row that it names. */
  primeQueue(key: string): { readonly tenant: TenantId; readonly item: ItemId } {
    const tenant = tenantOf(key);
    this.#queues.prime(tenant, key);
    return { tenant, item: queueItem(key) };
  }

  /** Reads the rows that inputs name in one go. */
  prefetch(rows: readonly Row[]): void {
    const unknown = { account: new Set<string>(), item: new Set<string>(), mark: new Set<string>() };
    const want = (table: RowTable, key: string) => {
      if (this.#cache[table].get(key) === undefined) unknown[table].add(key);
    };
    for (const { tenant, item, mark } of rows) {
      want('account', tenant);
      if (item !== undefined) want('item', itemKey(tenant, item));
      if (mark !== undefined) want('mark', markKey(tenant, mark));
    }
    for (const table of ['account', 'item', 'mark'] as const) this.#readMany(table, [...unknown[table]]);
  }

  /** Evolves the rows that the event names, and returns them. */
  apply(event: E, at: Instant): State<A, R, K> {
    const row = this.#machine.rowOf(event);
    const before = this.state(row);
    const after = this.#machine.evolve(before, event, at);
    if (after.account !== before.account) this.#set('account', row.tenant, row.tenant, after.account);
    if (row.item !== undefined && after.item !== before.item) this.#setItem(row.tenant, row.item, before.item, after.item);
    if (row.mark !== undefined && after.mark !== before.mark) this.#set('mark', row.tenant, row.mark, after.mark);
    return after;
  }

  keepWords(words: NonNullable<Output['words']>, bytes: Uint8Array): void {
    this.#words.push({ ...words, bytes });
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
      else if (change.fresh) this.#cells[change.cell.table].delete(change.cell.key);
      else change.cell.after = change.previous;
    }
    this.#words.length = this.#settled.words;
    this.runningDelta = this.#settled.runningDelta;
    this.settle();
  }

  touchedItems(): { readonly row: { readonly tenant: TenantId; readonly item: ItemId }; readonly item: R | undefined }[] {
    return [...this.#cells.item.values()].map((cell) => ({
      row: { tenant: cell.tenant, item: cell.id },
      item: cell.after as R | undefined,
    }));
  }

  /** The batch for the store: rows and the secondary keys that follow from them. Words to keep stand at `wordsFrom` or after it. */
  writes(wordsFrom: Offset = 0): readonly Write[] {
    const writes: Write[] = [];
    for (const table of ['account', 'mark', 'item'] as const) {
      // What came and went within the transaction was never in the store.
      for (const cell of this.#cells[table].values()) if (cell.before !== undefined || cell.after !== undefined) this.#rowWrites.add(writes, table, cell);
    }
    this.#writeWords(writes, wordsFrom);
    return writes;
  }

  /** After the store was written: the overlay is empty, its rows are cached as committed. */
  committed(): void {
    for (const table of ['account', 'item', 'mark'] as const) {
      const cache = this.#cache[table];
      for (const [key, cell] of this.#cells[table]) cache.set(key, cell.after);
      this.#cells[table].clear();
    }
    this.#queues.committed();
    this.#words = [];
    this.runningDelta = 0;
    this.settle();
  }

  #key(table: RowTable, tenant: TenantId, id: string): string {
    return table === 'account' ? tenant : this.#keys[table].of(tenant, id);
  }

  #read(table: RowTable, tenant: TenantId, id: string): unknown {
    const key = this.#key(table, tenant, id);
    const cell = this.#cells[table].get(key);
    return cell ? cell.after : this.#committed(table, key);
  }

  #committed(table: RowTable, key: string): unknown {
    const cache = this.#cache[table];
    const cached = cache.get(key);
    if (cached !== undefined) return cached ?? undefined;
    const bytes = this.#view.get(table, key);
    const value = bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes);
    cache.set(key, value);
    return value;
  }

  #readMany(table: RowTable, keys: readonly string[]): void {
    if (keys.length === 0) return;
    const cache = this.#cache[table];
    for (const [at, bytes] of this.#view.getMany(table, keys).entries())
      cache.set(keys[at] as string, bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes));
  }

  #set(table: RowTable, tenant: TenantId, id: string, after: unknown): void {
    const key = this.#key(table, tenant, id);
    const known = this.#cells[table].get(key);
    if (known) {
      this.#changes.push({ cell: known, previous: known.after, fresh: false });
      known.after = after;
      return;
    }
    const cell = { table, key, tenant, id, before: this.#committed(table, key), after };
    this.#cells[table].set(key, cell);
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
    for (const words of this.#words) {
      const item = this.#read('item', words.tenant, words.item) as R | undefined;
      if (item !== undefined && this.#machine.itemWords(item).includes(wordsName(words.mark, words.step)))
        writes.push({ table: 'words', key: wordsKey(words.tenant, words.mark, words.step), value: keepWords(from, words.bytes) });
    }
  }
}

/** A decision asks for the same row with each of its events: the key is made once, and its hash is known. */
class LastKey {
  readonly #make: (tenant: TenantId, id: string) => string;
  #tenant = '';
  #id = '';
  #key = '';

  constructor(make: (tenant: TenantId, id: string) => string) {
    this.#make = make;
  }

  of(tenant: TenantId, id: string): string {
    if (id !== this.#id || tenant !== this.#tenant) [this.#tenant, this.#id, this.#key] = [tenant, id, this.#make(tenant, id)];
    return this.#key;
  }
}
