/** What a changed row writes: itself and the secondary keys that follow from it, before and after (invariant 3). */
import type { TenantId } from '#schemas/ids.ts';
import { dueKey, itemKey, markKey, queueKey } from './keys.ts';
import type { Keys, Machine, Row, RowCodec, Work } from './machine.ts';
import type { Table, Write } from './ports.ts';

const EMPTY = new Uint8Array(0);
const NO_KEYS: Keys = {};
const NO_WORDS: readonly string[] = [];

/** A row as the store has it, and as it is to be. */
export type Change = { readonly tenant: TenantId; readonly id: string; readonly before: unknown; readonly after: unknown };
export type RowTable = 'account' | 'item' | 'mark';

export class RowWrites<A, R, K, I extends Row, E, X extends Work> {
  readonly #machine: Machine<A, R, K, I, E, X>;
  readonly #wordless: boolean;

  /** `wordless`: the store holds no words, so that there are none to drop. */
  constructor(machine: Machine<A, R, K, I, E, X>, wordless = false) {
    this.#machine = machine;
    this.#wordless = wordless;
  }

  add(writes: Write[], table: RowTable, change: Change): void {
    if (table === 'account') writes.push(rowWrite('account', change.tenant, this.#machine.rows.account, change.after as A));
    else if (table === 'mark') this.#mark(writes, change);
    else this.#item(writes, change);
  }

  itemKeys(item: R | undefined): Keys {
    return item === undefined ? NO_KEYS : this.#machine.itemKeys(item);
  }
  running(item: R | undefined): boolean {
    return item !== undefined && this.#machine.effect(item) !== undefined;
  }

  #mark(writes: Write[], { tenant, id, before, after }: Change): void {
    const key = markKey(tenant, id);
    const [was, is] = [before as K | undefined, after as K | undefined];
    writes.push(rowWrite('mark', key, this.#machine.rows.mark, is));
    const [from, to] = [this.#markDue(was), this.#markDue(is)];
    if (from === to) return;
    if (from !== undefined) writes.push(unindexed('due', dueKey(from, 'm', key)));
    if (to !== undefined) writes.push(indexed('due', dueKey(to, 'm', key)));
  }

  #markDue(mark: K | undefined): number | undefined {
    return mark === undefined ? undefined : this.#machine.markKeys(mark).due;
  }

  #item(writes: Write[], { tenant, id, before, after }: Change): void {
    const key = itemKey(tenant, id);
    const [was, is] = [before as R | undefined, after as R | undefined];
    const [from, to] = [this.itemKeys(was), this.itemKeys(is)];
    writes.push(rowWrite('item', key, this.#machine.rows.item, is));
    if (from.queue !== to.queue) {
      if (from.queue !== undefined) writes.push(unindexed('queue', queueKey(tenant, from.queue, id)));
      if (to.queue !== undefined) writes.push(indexed('queue', queueKey(tenant, to.queue, id)));
    }
    if (from.due !== to.due) {
      if (from.due !== undefined) writes.push(unindexed('due', dueKey(from.due, 'i', key)));
      if (to.due !== undefined) writes.push(indexed('due', dueKey(to.due, 'i', key)));
    }
    const [ran, runs] = [this.running(was), this.running(is)];
    if (ran !== runs) writes.push(runs ? indexed('running', key) : unindexed('running', key));
    if (this.#wordless || was === undefined) return;
    const has = is === undefined ? NO_WORDS : this.#machine.itemWords(is);
    for (const name of this.#machine.itemWords(was)) if (!has.includes(name)) writes.push(unindexed('words', itemKey(tenant, name)));
  }
}

function rowWrite<T>(table: Table, key: string, codec: RowCodec<T>, value: T | undefined): Write {
  return { table, key, value: value === undefined ? undefined : codec.encode(value) };
}

const indexed = (table: Table, key: string): Write => ({ table, key, value: EMPTY });
const unindexed = (table: Table, key: string): Write => ({ table, key, value: undefined });
