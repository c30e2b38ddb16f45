/**
 * What a changed row writes: itself and the secondary keys that follow from it, before and after (invariant 3).
 * Each value has a name of its own: pairs taken apart are two objects and an iterator each, which were a quarter of what a fold allocates.
 */
import type { TenantId } from '#schemas/ids.ts';
import { dueKey, itemKey, markKey } from './keys.ts';
import type { Keys, Machine, Row, RowCodec, Work } from './machine.ts';
import type { Table, View, Write } from './ports.ts';
import { QueuePages } from './queue-pages.ts';

const EMPTY = new Uint8Array(0);
const NO_KEYS: Keys = { queue: undefined, due: undefined, runs: false };
const NO_WORDS: readonly string[] = [];

/** A row as the store has it, and as it is to be. */
export type Change = { readonly tenant: TenantId; readonly id: string; readonly before: unknown; readonly after: unknown };
export type RowTable = 'account' | 'item' | 'mark';

/** A tenant has one account. */
export function rowKey(table: RowTable, tenant: TenantId, id: string): string {
  if (table === 'account') return tenant;
  return table === 'item' ? itemKey(tenant, id) : markKey(tenant, id);
}

export class RowWrites<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #pages: QueuePages;
  readonly #wordless: boolean;

  /** `view`: the store that is written. `wordless`: it holds no words, so that there are none to drop. */
  constructor(machine: Machine<A, R, K, I, E, X>, view: View, wordless = false) {
    this.#machine = machine;
    this.#pages = new QueuePages(view);
    this.#wordless = wordless;
  }

  add(writes: Write[], table: RowTable, change: Change): void {
    // What came and went within one batch was never in the store.
    if (change.before === undefined && change.after === undefined) return;
    if (table === 'account') writes.push(rowWrite('account', change.tenant, this.#machine.rows.account, change.after as A));
    else if (table === 'mark') this.#mark(writes, change);
    else this.#item(writes, change);
  }

  /** After the rows of a batch: the pages of queues that they have changed. `held`: they are wanted at the end alone, unless they are too many. */
  addPages(writes: Write[], held = false): void {
    this.#pages.writes(writes, held);
  }

  itemKeys(item: R | undefined): Keys {
    return item === undefined ? NO_KEYS : this.#machine.itemKeys(item);
  }

  #mark(writes: Write[], { tenant, id, before, after }: Change): void {
    const key = markKey(tenant, id);
    const is = after as K | undefined;
    writes.push(rowWrite('mark', key, this.#machine.rows.mark, is));
    const from = this.#markDue(before as K | undefined);
    const to = this.#markDue(is);
    if (from === to) return;
    if (from !== undefined) writes.push(unindexed('due', dueKey(from, 'm', key)));
    if (to !== undefined) writes.push(indexed('due', dueKey(to, 'm', key)));
  }

  #markDue(mark: K | undefined): number | undefined {
    return mark === undefined ? undefined : this.#machine.markKeys(mark).due;
  }

  #item(writes: Write[], { tenant, id, before, after }: Change): void {
    const key = itemKey(tenant, id);
    const was = before as R | undefined;
    const is = after as R | undefined;
    const from = this.itemKeys(was);
    const to = this.itemKeys(is);
    writes.push(rowWrite('item', key, this.#machine.rows.item, is));
    if (from.queue !== to.queue || from.due !== to.due) {
      if (from.queue !== undefined && from.queue !== to.queue) this.#pages.set(tenant, from.queue, undefined);
      if (to.queue !== undefined) this.#pages.set(tenant, to.queue, { order: to.queue, due: to.due, item: id });
      const had = ownDue(from);
      const has = ownDue(to);
      if (had !== has && had !== undefined) writes.push(unindexed('due', dueKey(had, 'i', key)));
      if (had !== has && has !== undefined) writes.push(indexed('due', dueKey(has, 'i', key)));
    }
    if (from.runs !== to.runs) writes.push(to.runs ? indexed('running', key) : unindexed('running', key));
    if (this.#wordless || was === undefined) return;
    const has = is === undefined ? NO_WORDS : this.#machine.itemWords(is);
    for (const name of this.#machine.itemWords(was)) if (!has.includes(name)) writes.push(unindexed('words', itemKey(tenant, name)));
  }
}

function rowWrite<T>(table: Table, key: string, codec: RowCodec<T>, value: T | undefined): Write {
  return { table, key, value: value === undefined ? undefined : codec.encode(value) };
}

/** What waits is due with its page. */
const ownDue = ({ queue, due }: Keys): number | undefined => (queue === undefined ? due : undefined);
const indexed = (table: Table, key: string): Write => ({ table, key, value: EMPTY });
const unindexed = (table: Table, key: string): Write => ({ table, key, value: undefined });
