/** The real decide and evolve, fed as a task feeds them: transactions that commit or are lost, and a refold after a crash. */
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Row } from '#streams/engine/machine.ts';
import { decide } from '#streams/support/decide.ts';
import { evolve, type Rows, rowOf } from '#streams/support/evolve.ts';
import type { Input } from '#streams/support/input.ts';
import { type Account, type Conversation, type Mark, newAccount, rows } from '#streams/support/state.ts';
import { support } from '#streams/support/support.ts';

export const TENANT = 'acme' as TenantId;
const machine = support(createCodec(localSchemas()));
type Logged = { readonly event: Event; readonly at: number };

class Table {
  account: Account = newAccount(TENANT);
  readonly items = new Map<string, Conversation>();
  readonly marks = new Map<string, Mark>();

  rows(row: Row): Rows {
    return { account: this.account, item: this.items.get(row.item ?? ''), mark: this.marks.get(row.mark ?? '') };
  }
  put(row: Row, { account, item, mark }: Rows): void {
    this.account = account;
    const keep = <T>(map: Map<string, T>, key: string | undefined, value: T | undefined) =>
      key === undefined ? undefined : value === undefined ? map.delete(key) : map.set(key, value);
    keep(this.items, row.item, item);
    keep(this.marks, row.mark, mark);
  }
  fold({ event, at }: Logged): void {
    const row = rowOf(event);
    this.put(row, evolve(this.rows(row), event, at));
  }
  /** Canonical bytes, so that equal states are equal texts. */
  dump(): string {
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    const each = <T>(map: Map<string, T>, encode: (value: T) => Uint8Array) =>
      [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key} ${hex(encode(value))}`);
    return [hex(rows.account.encode(this.account)), ...each(this.items, rows.item.encode), ...each(this.marks, rows.mark.encode)].join('\n');
  }
}

export class LedgerWorld {
  #table = new Table();
  #committed: Logged[] = [];
  #open: Logged[] = [];

  decide(input: Input, now: number): readonly Event[] {
    const row: Row = input;
    const events = decide(this.#table.rows(row), input, now);
    for (const event of events) {
      // As the history keeps it: a field that the log does not carry must not matter.
      const logged = { event: machine.history.decode(machine.history.encode(event)) as Event, at: now };
      this.#table.fold(logged);
      this.#open.push(logged);
    }
    return events;
  }
  commit(): void {
    this.#committed.push(...this.#open);
    this.#open = [];
  }
  /** What was not committed never was. The state is the fold of the log, and nothing else (invariant 5). */
  crash(): { readonly refolded: string; readonly live: string } {
    const whole = this.#open.length === 0;
    const live = this.#table.dump();
    this.#open = [];
    this.#table = new Table();
    for (const logged of this.#committed) this.#table.fold(logged);
    const refolded = this.#table.dump();
    return { refolded, live: whole ? live : refolded };
  }
  get account(): Account {
    return this.#table.account;
  }
  get events(): readonly Event[] {
    return [...this.#committed, ...this.#open].map(({ event }) => event);
  }
  /** Of the turn that runs: whose results count. -1: none does. */
  arrival(conversation: string): number {
    return this.#table.items.get(conversation)?.turn?.arrival ?? -1;
  }
  first(conversation: string): string | undefined {
    return this.#table.items.get(conversation)?.waiting[0]?.request;
  }
}
