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
  #words(item: R | undefined): readonly string[] {
    return item === undefined ? NO_WORDS : this.#machine.itemWords(item);
  }
  running(item: R | undefined): boolean {
    return item !== undefined && this.#machine.effect(item) !== undefined;
  }

  #mark(writes: Write[], { tenant, id, before, after }: Change): void {
    const key = markKey(tenant, id);
    const [was, is] = [before as K | undefined, after as K | undefined];
    writes.push(rowWrite('mark', key, this.#machine.rows.mark, is));
    const due = (mark: K | undefined) => (mark === undefined ? undefined : this.#machine.markKeys(mark).due);
    const at = (instant: number) => dueKey(instant, 'm', key);
    writeIndex(writes, 'due', indexKey(due(was), at), indexKey(due(is), at));
  }

  #item(writes: Write[], { tenant, id, before, after }: Change): void {
    const key = itemKey(tenant, id);
    const [was, is] = [before as R | undefined, after as R | undefined];
    const [from, to] = [this.itemKeys(was), this.itemKeys(is)];
    writes.push(rowWrite('item', key, this.#machine.rows.item, is));
    const queued = (order: number) => queueKey(tenant, order, id);
    writeIndex(writes, 'queue', indexKey(from.queue, queued), indexKey(to.queue, queued));
    const due = (at: number) => dueKey(at, 'i', key);
    writeIndex(writes, 'due', indexKey(from.due, due), indexKey(to.due, due));
    writeIndex(writes, 'running', this.running(was) ? key : undefined, this.running(is) ? key : undefined);
    if (this.#wordless) return;
    const [had, has] = [this.#words(was), this.#words(is)];
    for (const name of had) if (!has.includes(name)) writes.push({ table: 'words', key: itemKey(tenant, name), value: undefined });
  }
}

function rowWrite<T>(table: Table, key: string, codec: RowCodec<T>, value: T | undefined): Write {
  return { table, key, value: value === undefined ? undefined : codec.encode(value) };
}

function indexKey(value: number | undefined, key: (value: number) => string): string | undefined {
  return value === undefined ? undefined : key(value);
}

function writeIndex(writes: Write[], table: Table, was: string | undefined, is: string | undefined): void {
  if (was === is) return;
  if (was !== undefined) writes.push({ table, key: was, value: undefined });
  if (is !== undefined) writes.push({ table, key: is, value: EMPTY });
}
