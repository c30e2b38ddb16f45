/**
 * The rows of a fold: decoded once, changed by event after event, encoded once for each batch of the store. Nothing is taken back and no queue
 * is asked for, as in the overlay of a live task, so a fold is several times faster. Both write by the same rules (row-writes.ts).
 */
import type { Instant, TenantId } from '#schemas/ids.ts';
import type { Machine, Row, State, Work } from './machine.ts';
import type { Store, Write } from './ports.ts';
import { type RowTable, RowWrites, rowKey } from './row-writes.ts';
import { SeenKeys } from './seen-keys.ts';

/** Items and marks kept decoded between batches, all of them forgotten when there are more; and accounts, those read first go first. */
const KEPT_ROWS = 4_000;
const KEPT_ACCOUNTS = 20_000;

type Cell = { readonly table: RowTable; readonly tenant: TenantId; readonly id: string; before: unknown; after: unknown; changed: boolean };
type TenantRows = { account: Cell | undefined; readonly item: Map<string, Cell>; readonly mark: Map<string, Cell> };

export class FoldedRows<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #store: Store;
  readonly #writes: RowWrites<A, R, K, I, E, X>;
  readonly #tenants = new Map<TenantId, TenantRows>();
  /** In a store that was empty at the beginning: what it may hold by now that is not kept here. Anything else need not be looked for. */
  readonly #stored: SeenKeys | undefined;
  readonly #most: number;
  #changed: Cell[] = [];
  #changedAccounts: Cell[] = [];
  #kept = 0;

  constructor(machine: Machine<A, R, K, I, E, X>, store: Store, most = KEPT_ROWS) {
    this.#most = most;
    this.#machine = machine;
    this.#store = store;
    this.#writes = new RowWrites(machine, store, store.scan('words', '', 1).length === 0);
    const empty = store.meta === undefined && store.scan('account', '', 1).length === 0;
    this.#stored = empty ? new SeenKeys() : undefined;
  }

  /** Rows changed and not yet written, but for accounts. */
  get changed(): number {
    return this.#changed.length;
  }
  /** There are more accounts than are to be kept. */
  get crowded(): boolean {
    return this.#tenants.size > Math.min(this.#most, KEPT_ACCOUNTS);
  }

  /** Rows kept, of all kinds. */
  get size(): number {
    return this.#kept + this.#tenants.size;
  }

  /** For whoever asks, strangers included: what is not there is not kept, and of what is no more than the bound. */
  state({ tenant, item, mark }: Row): State<A, R, K> {
    return {
      account: (this.#look('account', tenant, '') as A | undefined) ?? this.#machine.initial(tenant),
      item: item === undefined ? undefined : (this.#look('item', tenant, item) as R | undefined),
      mark: mark === undefined ? undefined : (this.#look('mark', tenant, mark) as K | undefined),
    };
  }

  /** Evolves the rows that the event names, and returns them. */
  apply(event: E, at: Instant): State<A, R, K> {
    const { tenant, item, mark } = this.#machine.rowOf(event);
    const rows = this.#rowsOf(tenant);
    const account = this.#account(tenant, rows);
    const itemCell = item === undefined ? undefined : this.#cell(rows, 'item', tenant, item);
    const markCell = mark === undefined ? undefined : this.#cell(rows, 'mark', tenant, mark);
    const before: State<A, R, K> = {
      account: (account.after as A | undefined) ?? this.#machine.initial(tenant),
      item: itemCell?.after as R | undefined,
      mark: markCell?.after as K | undefined,
    };
    const after = this.#machine.evolve(before, event, at);
    if (after.account !== before.account) this.#change(account, after.account);
    if (itemCell && after.item !== before.item) this.#change(itemCell, after.item);
    if (markCell && after.mark !== before.mark) this.#change(markCell, after.mark);
    return after;
  }

  /** The batch for the store. */
  writes(withoutAccounts = false): readonly Write[] {
    const writes: Write[] = [];
    for (const cells of withoutAccounts ? [this.#changed] : [this.#changed, this.#changedAccounts])
      for (const cell of cells) this.#writes.add(writes, cell.table, cell);
    this.#writes.addPages(writes, withoutAccounts);
    return writes;
  }

  /** After the store was written. */
  committed(withoutAccounts = false): void {
    written(this.#changed);
    this.#changed = [];
    if (this.#kept > this.#most) for (const rows of this.#tenants.values()) this.#forget(rows);
    if (withoutAccounts) return;
    written(this.#changedAccounts);
    this.#changedAccounts = [];
    for (const [tenant, rows] of this.#tenants) {
      if (!this.crowded) return;
      this.#forget(rows);
      if (rows.account?.after !== undefined) this.#stored?.add('account', tenant, '');
      this.#tenants.delete(tenant);
    }
  }

  #change(cell: Cell, after: unknown): void {
    cell.after = after;
    if (cell.changed) return;
    cell.changed = true;
    if (cell.table === 'account') this.#changedAccounts.push(cell);
    else this.#changed.push(cell);
  }

  #rowsOf(tenant: TenantId): TenantRows {
    const known = this.#tenants.get(tenant);
    if (known) return known;
    const rows: TenantRows = { account: undefined, item: new Map(), mark: new Map() };
    this.#tenants.set(tenant, rows);
    return rows;
  }

  #account(tenant: TenantId, rows: TenantRows): Cell {
    rows.account ??= this.#read('account', tenant, '');
    return rows.account;
  }

  #cell(rows: TenantRows, table: 'item' | 'mark', tenant: TenantId, id: string): Cell {
    const known = rows[table].get(id);
    if (known) return known;
    const cell = this.#read(table, tenant, id);
    this.#kept++;
    rows[table].set(id, cell);
    return cell;
  }

  #look(table: RowTable, tenant: TenantId, id: string): unknown {
    const rows = this.#tenants.get(tenant);
    const known = table === 'account' ? rows?.account : rows?.[table].get(id);
    if (known) return known.after;
    const cell = this.#read(table, tenant, id);
    if (cell.after === undefined || this.size >= this.#most) return cell.after;
    if (table === 'account') this.#rowsOf(tenant).account = cell;
    else {
      this.#rowsOf(tenant)[table].set(id, cell);
      this.#kept++;
    }
    return cell.after;
  }

  #read(table: RowTable, tenant: TenantId, id: string): Cell {
    const bytes = this.#stored && !this.#stored.mayHave(table, tenant, id) ? undefined : this.#store.get(table, rowKey(table, tenant, id));
    const row = bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes);
    return { table, tenant, id, before: row, after: row, changed: false };
  }

  /** Its account stays: the next event of the tenant will ask for it. */
  #forget({ item, mark }: TenantRows): void {
    this.#kept -= item.size + mark.size;
    for (const cells of [item, mark]) {
      if (this.#stored) for (const { table, tenant, id, after } of cells.values()) if (after !== undefined) this.#stored.add(table, tenant, id);
      cells.clear();
    }
  }
}

function written(cells: readonly Cell[]): void {
  for (const cell of cells) {
    cell.before = cell.after;
    cell.changed = false;
  }
}
