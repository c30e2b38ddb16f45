/**
 * Rows over the store: as decided, which the next input of the same transaction sees, and as committed, which all others see. What has
 * committed may wait here for the store's next batch, and what came and went meanwhile is never written. Secondary keys are derived from
 * the rows as stored and as committed; `evolve` never touches one.
 * Invariant 3: what `writes` returns is, with the position of the last commit, one batch of the store.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, Offset, TenantId } from '#schemas/ids.ts';
import { tenantOf, wordsKey, wordsName } from './keys.ts';
import type { ItemId, Machine, Output, Row, State, Work } from './machine.ts';
import type { View, Write } from './ports.ts';
import { pageEnd, waitingIn } from './queue-pages.ts';
import { RowCache } from './row-cache.ts';
import { type RowTable, RowWrites, rowKey } from './row-writes.ts';
import { TenantQueues } from './tenant-queues.ts';
import { keepWords, wordsRecord } from './words.ts';

/** A row as stored, as committed and as decided. */
type Cell = {
  readonly table: RowTable;
  readonly tenant: TenantId;
  readonly id: string;
  before: unknown;
  committed: unknown;
  after: unknown;
  /** By the transaction under way. */
  touched: boolean;
  /** Changed since the last write, if only for a while. */
  unwritten: boolean;
};
/** What one input has changed, to be taken back: a cell and what it held before, or a move in a queue. */
type Change =
  | { readonly cell: Cell; readonly previous: unknown }
  | { readonly tenant: TenantId; readonly item: ItemId; readonly from: number | undefined; readonly to: number | undefined };
type Of = { readonly tenant: TenantId; readonly id: string };
type Words = NonNullable<Output['words']> & { readonly bytes: Uint8Array };
/** `from`: they stand there in their topic, or after it. */
type Unwritten = { readonly words: Words; readonly from: Offset };
type As = 'committed' | 'after';

const isUnwritten = ({ unwritten }: Cell): boolean => unwritten;
const cells = (): RowCache<Cell> => new RowCache(undefined, isUnwritten);

/** Two seconds' worth of a busy partition. */
const MOST_UNWRITTEN = 4_000;
/** A tenant has one account. */
const OF_TENANT = '';

export class Overlay<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #view: View;
  readonly #cells = { account: cells(), item: cells(), mark: cells() };
  readonly #queues: TenantQueues;
  readonly #rowWrites: RowWrites<A, R, K, I, E, X>;
  #unwritten: Cell[] = [];
  /** Nothing that is not yet written is due earlier. */
  #unwrittenDue: Instant | undefined;
  readonly #unwrittenWords = new Map<string, Unwritten>();
  #touched: Cell[] = [];
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
    this.#rowWrites = new RowWrites(machine, view);
  }

  /** As decided. */
  state(row: Row): State<A, R, K> {
    return this.#read(row, 'after');
  }
  committedState(row: Row): State<A, R, K> {
    return this.#read(row, 'committed');
  }

  /** Many rows wait to be written, or something is due of which the store's index does not know yet. */
  isPressing(now: Instant): boolean {
    return this.#unwritten.length >= MOST_UNWRITTEN || (this.#unwrittenDue !== undefined && this.#unwrittenDue <= now);
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
      if (this.#cells[table].get(tenant, id) === undefined) unknown[table].set(rowKey(table, tenant, id), { tenant, id });
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
    const account = this.#cell('account', row.tenant, OF_TENANT);
    const item = row.item === undefined ? undefined : this.#cell('item', row.tenant, row.item);
    const mark = row.mark === undefined ? undefined : this.#cell('mark', row.tenant, row.mark);
    const before = this.#state(row.tenant, account.after, item?.after, mark?.after);
    const after = this.#machine.evolve(before, event, at);
    if (after.account !== before.account) this.#set(account, after.account);
    if (item && after.item !== before.item) this.#setItem(item, before.item, after.item);
    if (mark && after.mark !== before.mark) this.#set(mark, after.mark);
    return after;
  }

  keepWords(words: NonNullable<Output['words']>, bytes: Uint8Array): void {
    this.#words.push({ ...words, bytes });
  }

  /** The record. What a transaction starts asks for the words that it brought at once. */
  committedWords(key: string): Uint8Array | undefined {
    const unwritten = this.#unwrittenWords.get(key);
    if (unwritten) return unwritten.words.bytes;
    const kept = this.#view.get('words', key);
    return kept && wordsRecord(kept);
  }

  /** The head of a tenant's queue: its first idle conversation, in order of arrival. */
  head(tenant: TenantId): ItemId | undefined {
    return this.#queues.head(tenant);
  }

  /** Everything since the last `settle` of one input can be taken back: a throw in `decide` drops only that input's changes. */
  settle(): void {
    this.#changes.length = 0;
    this.#settled.words = this.#words.length;
    this.#settled.runningDelta = this.runningDelta;
  }
  rollback(): void {
    for (const change of this.#changes.reverse()) {
      if ('cell' in change) change.cell.after = change.previous;
      else this.#queues.move(change.tenant, change.item, change.to, change.from);
    }
    this.#words.length = this.#settled.words;
    this.runningDelta = this.#settled.runningDelta;
    this.settle();
  }

  touchedItems(): { readonly row: { readonly tenant: TenantId; readonly item: ItemId }; readonly item: R | undefined }[] {
    return this.#touched
      .filter(({ table }) => table === 'item')
      .map((cell) => ({
        row: { tenant: cell.tenant, item: cell.id },
        item: cell.after as R | undefined,
      }));
  }

  /** The transaction has committed; its words stand at `wordsFrom` or after it. Nobody sees a difference any more, but for the store. */
  committed(wordsFrom: Offset = 0): void {
    for (const cell of this.#touched) {
      cell.committed = cell.after;
      cell.touched = false;
    }
    for (const words of this.#words) this.#unwrittenWords.set(wordsKey(words.tenant, words.mark, words.step), { words, from: wordsFrom });
    this.#touched = [];
    this.#words = [];
    this.runningDelta = 0;
    this.settle();
  }

  /** The batch for the store, between transactions: rows and the secondary keys that follow from them. */
  writes(): readonly Write[] {
    const writes: Write[] = [];
    for (const cell of this.#unwritten) if (cell.after !== cell.before) this.#rowWrites.add(writes, cell.table, cell);
    this.#rowWrites.addPages(writes);
    this.#writeWords(writes);
    return writes;
  }

  /** The store holds them. */
  written(): void {
    for (const cell of this.#unwritten) {
      cell.before = cell.after;
      cell.unwritten = false;
      if (this.#isOver(cell)) this.#cells[cell.table].forget(cell.tenant, cell.id);
    }
    this.#unwritten = [];
    this.#unwrittenWords.clear();
    this.#queues.written();
    this.#unwrittenDue = undefined;
  }

  /** It is gone, or waits for nothing but to be forgotten: kept, such rows would fill the memory, and be copied by the collector again and again. */
  #isOver({ table, after }: Cell): boolean {
    return after === undefined || (table === 'mark' && this.#machine.markKeys(after as K).due !== undefined);
  }

  #read({ tenant, item, mark }: Row, as: As): State<A, R, K> {
    return this.#state(
      tenant,
      this.#cell('account', tenant, OF_TENANT)[as],
      item === undefined ? undefined : this.#cell('item', tenant, item)[as],
      mark === undefined ? undefined : this.#cell('mark', tenant, mark)[as],
    );
  }

  #state(tenant: TenantId, account: unknown, item: unknown, mark: unknown): State<A, R, K> {
    return { account: (account as A | undefined) ?? this.#machine.initial(tenant), item: item as R | undefined, mark: mark as K | undefined };
  }

  #cell(table: RowTable, tenant: TenantId, id: string): Cell {
    return this.#cells[table].get(tenant, id) ?? this.#fresh(table, tenant, id, this.#view.get(table, rowKey(table, tenant, id)));
  }

  #fresh(table: RowTable, tenant: TenantId, id: string, bytes: Uint8Array | undefined): Cell {
    const row = bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes);
    const cell = { table, tenant, id, before: row, committed: row, after: row, touched: false, unwritten: false };
    this.#cells[table].set(tenant, id, cell);
    return cell;
  }

  #readMany(table: RowTable, rows: ReadonlyMap<string, Of>): void {
    if (rows.size === 0) return;
    const found = this.#view.getMany(table, [...rows.keys()]);
    let at = 0;
    for (const { tenant, id } of rows.values()) this.#fresh(table, tenant, id, found[at++]);
  }

  #set(cell: Cell, after: unknown): void {
    this.#changes.push({ cell, previous: cell.after });
    cell.after = after;
    if (!cell.touched) this.#touched.push(cell);
    cell.touched = true;
    if (!cell.unwritten) this.#unwritten.push(cell);
    cell.unwritten = true;
  }

  #setItem(cell: Cell, before: R | undefined, after: R | undefined): void {
    this.#set(cell, after);
    const { tenant, id: item } = cell;
    const { queue: from, runs: ran } = this.#rowWrites.itemKeys(before);
    const { queue: to, runs, due } = this.#rowWrites.itemKeys(after);
    if (from !== to) {
      this.#queues.move(tenant, item, from, to);
      this.#changes.push({ tenant, item, from, to });
    }
    if (due !== undefined && (this.#unwrittenDue === undefined || due < this.#unwrittenDue)) this.#unwrittenDue = due;
    this.runningDelta += Number(runs) - Number(ran);
  }

  /** Words whose request has ended meanwhile are not kept. */
  #writeWords(writes: Write[]): void {
    for (const [key, { words, from }] of this.#unwrittenWords) {
      const item = this.#cell('item', words.tenant, words.item).committed as R | undefined;
      if (item === undefined || !this.#machine.itemWords(item).includes(wordsName(words.mark, words.step))) continue;
      writes.push({ table: 'words', key, value: keepWords(from, words.bytes) });
    }
  }
}
