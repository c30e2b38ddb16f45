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

type Cell = { readonly tenant: TenantId; readonly id: string; readonly before: unknown; after: unknown };
type Words = NonNullable<Output['words']> & { readonly bytes: Uint8Array };

export class Overlay<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #view: View;
  readonly #cells = { account: new Map<string, Cell>(), item: new Map<string, Cell>(), mark: new Map<string, Cell>() };
  readonly #cache = { account: new RowCache(), item: new RowCache(), mark: new RowCache() };
  readonly #queues: TenantQueues;
  readonly #rowWrites: RowWrites<A, R, K, I, E, X>;
  #words: Words[] = [];
  #undo: (() => void)[] = [];
  /** How many more items should run than are committed. */
  runningDelta = 0;

  constructor(machine: Machine<A, R, K, I, E, X>, view: View) {
    this.#machine = machine;
    this.#view = view;
    this.#queues = new TenantQueues(view);
    this.#rowWrites = new RowWrites(machine);
  }

  state(row: Row): State<A, R, K> {
    return this.#state(row, (table, id) => this.#read(table, row.tenant, id));
  }

  /** As the store has it. */
  committedState(row: Row): State<A, R, K> {
    return this.#state(row, (table, id) => this.#committed(table, rowKey(table, row.tenant, id)));
  }

  #state({ tenant, item, mark }: Row, read: (table: RowTable, id: string) => unknown): State<A, R, K> {
    return {
      account: (read('account', tenant) as A | undefined) ?? this.#machine.initial(tenant),
      item: item === undefined ? undefined : (read('item', item) as R | undefined),
      mark: mark === undefined ? undefined : (read('mark', mark) as K | undefined),
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
    this.#readMany('account', new Set(rows.map(({ tenant }): string => tenant)));
    this.#readMany('item', new Set(rows.flatMap(({ tenant, item }) => (item === undefined ? [] : [itemKey(tenant, item)]))));
    this.#readMany('mark', new Set(rows.flatMap(({ tenant, mark }) => (mark === undefined ? [] : [markKey(tenant, mark)]))));
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
    const length = this.#words.length;
    this.#words.push({ ...words, bytes });
    this.#undo.push(() => {
      this.#words.length = length;
    });
  }

  /** The head of a tenant's queue: its first idle conversation, in order of arrival. */
  head(tenant: TenantId): ItemId | undefined {
    const key = this.#queues.head(tenant);
    return key === undefined ? undefined : queueItem(key);
  }

  /** Everything since the last `settle` of one input can be taken back: a throw in `decide` drops only that input's changes. */
  settle(): void {
    this.#undo = [];
  }
  rollback(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
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
    for (const table of ['account', 'mark', 'item'] as const) for (const cell of this.#cells[table].values()) this.#rowWrites.add(writes, table, cell);
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
    this.#undo = [];
    this.runningDelta = 0;
  }

  #read(table: RowTable, tenant: TenantId, id: string): unknown {
    const key = rowKey(table, tenant, id);
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

  #readMany(table: RowTable, keys: ReadonlySet<string>): void {
    const cache = this.#cache[table];
    const unknown = [...keys].filter((key) => cache.get(key) === undefined);
    if (unknown.length === 0) return;
    for (const [at, bytes] of this.#view.getMany(table, unknown).entries())
      cache.set(unknown[at] as string, bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes));
  }

  #set(table: RowTable, tenant: TenantId, id: string, after: unknown): void {
    const key = rowKey(table, tenant, id);
    const cells = this.#cells[table];
    const cell = cells.get(key);
    if (cell) {
      const previous = cell.after;
      cell.after = after;
      this.#undo.push(() => {
        cell.after = previous;
      });
    } else {
      cells.set(key, { tenant, id, before: this.#committed(table, key), after });
      this.#undo.push(() => {
        cells.delete(key);
      });
    }
  }

  #setItem(tenant: TenantId, id: ItemId, before: R | undefined, after: R | undefined): void {
    this.#set('item', tenant, id, after);
    this.#moveQueue(tenant, id, this.#rowWrites.itemKeys(before).queue, this.#rowWrites.itemKeys(after).queue);
    const delta = Number(this.#rowWrites.running(after)) - Number(this.#rowWrites.running(before));
    this.runningDelta += delta;
    this.#undo.push(() => {
      this.runningDelta -= delta;
    });
  }

  #moveQueue(tenant: TenantId, id: ItemId, from: number | undefined, to: number | undefined): void {
    if (from === to) return;
    const remove = from === undefined ? undefined : queueKey(tenant, from, id);
    const add = to === undefined ? undefined : queueKey(tenant, to, id);
    this.#queues.change(tenant, remove, add);
    this.#undo.push(() => this.#queues.change(tenant, add, remove));
  }

  /** Words whose request ended within the same transaction are not kept. */
  #writeWords(writes: Write[], from: Offset): void {
    for (const words of this.#words) {
      const item = this.#read('item', words.tenant, words.item) as R | undefined;
      if (this.#rowWrites.itemKeys(item).words?.includes(wordsName(words.mark, words.step)))
        writes.push({ table: 'words', key: wordsKey(words.tenant, words.mark, words.step), value: keepWords(from, words.bytes) });
    }
  }
}

function rowKey(table: RowTable, tenant: TenantId, id: string): string {
  if (table === 'account') return tenant;
  return table === 'item' ? itemKey(tenant, id) : markKey(tenant, id);
}
