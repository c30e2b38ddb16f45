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

type Cell = {
  readonly table: RowTable;
  readonly tenant: TenantId;
  readonly id: string;
  before: unknown;
  after: unknown;
  changed: boolean;
  /** Another tenant's of the same id. */
  other: Cell | undefined;
};

/** Rows of a table, in one map: ids of two tenants are hardly ever the same, and a map for each tenant would be filled and emptied all the time. */
class Cells {
  readonly #byId = new Map<string, Cell>();
  size = 0;

  get(tenant: TenantId, id: string): Cell | undefined {
    let cell = this.#byId.get(id);
    while (cell !== undefined && cell.tenant !== tenant) cell = cell.other;
    return cell;
  }
  add(cell: Cell): void {
    cell.other = this.#byId.get(cell.id);
    this.#byId.set(cell.id, cell);
    this.size++;
  }
  /** Lets go of all, each of which `seen` gets before. */
  clear(seen: (cell: Cell) => void): void {
    for (const first of this.#byId.values()) for (let cell: Cell | undefined = first; cell !== undefined; cell = cell.other) seen(cell);
    this.#byId.clear();
    this.size = 0;
  }
}

export class FoldedRows<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #store: Store;
  readonly #writes: RowWrites<A, R, K, I, E, X>;
  readonly #accounts = new Map<TenantId, Cell>();
  readonly #cells = { item: new Cells(), mark: new Cells() };
  /** In a store that was empty at the beginning: what it may hold by now that is not kept here. Anything else need not be looked for. */
  readonly #stored: SeenKeys | undefined;
  readonly #most: number;
  #changed: Cell[] = [];
  #changedAccounts: Cell[] = [];

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
    return this.#accounts.size > Math.min(this.#most, KEPT_ACCOUNTS);
  }

  /** Rows kept, of all kinds. */
  get size(): number {
    return this.#kept + this.#accounts.size;
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
    const account = this.#account(tenant);
    const itemCell = item === undefined ? undefined : this.#cell('item', tenant, item);
    const markCell = mark === undefined ? undefined : this.#cell('mark', tenant, mark);
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
    if (this.#kept > this.#most) this.#forget();
    if (withoutAccounts) return;
    written(this.#changedAccounts);
    this.#changedAccounts = [];
    for (const cell of this.#accounts.values()) {
      if (!this.crowded) return;
      if (cell.after !== undefined) this.#stored?.add('account', cell.tenant, '');
      this.#accounts.delete(cell.tenant);
    }
  }

  get #kept(): number {
    return this.#cells.item.size + this.#cells.mark.size;
  }

  #change(cell: Cell, after: unknown): void {
    cell.after = after;
    if (cell.changed) return;
    cell.changed = true;
    if (cell.table === 'account') this.#changedAccounts.push(cell);
    else this.#changed.push(cell);
  }

  #account(tenant: TenantId): Cell {
    const known = this.#accounts.get(tenant);
    if (known) return known;
    const cell = this.#read('account', tenant, '');
    this.#accounts.set(tenant, cell);
    return cell;
  }

  #cell(table: 'item' | 'mark', tenant: TenantId, id: string): Cell {
    const known = this.#cells[table].get(tenant, id);
    if (known) return known;
    const cell = this.#read(table, tenant, id);
    this.#cells[table].add(cell);
    return cell;
  }

  #look(table: RowTable, tenant: TenantId, id: string): unknown {
    const known = table === 'account' ? this.#accounts.get(tenant) : this.#cells[table].get(tenant, id);
    if (known) return known.after;
    const cell = this.#read(table, tenant, id);
    if (cell.after === undefined || this.size >= this.#most) return cell.after;
    if (table === 'account') this.#accounts.set(tenant, cell);
    else this.#cells[table].add(cell);
    return cell.after;
  }

  #read(table: RowTable, tenant: TenantId, id: string): Cell {
    const bytes = this.#stored && !this.#stored.mayHave(table, tenant, id) ? undefined : this.#store.get(table, rowKey(table, tenant, id));
    const row = bytes === undefined ? undefined : this.#machine.rows[table].decode(bytes);
    return { table, tenant, id, before: row, after: row, changed: false, other: undefined };
  }

  /** Accounts stay: the next event of the tenant will ask for its own. */
  #forget(): void {
    const stored = this.#stored;
    const seen = ({ table, tenant, id, after }: Cell) => {
      if (after !== undefined) stored?.add(table, tenant, id);
    };
    this.#cells.item.clear(seen);
    this.#cells.mark.clear(seen);
  }
}

function written(cells: readonly Cell[]): void {
  for (const cell of cells) {
    cell.before = cell.after;
    cell.changed = false;
  }
}
