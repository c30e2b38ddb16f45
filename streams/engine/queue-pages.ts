/**
 * Where idle items wait, as the store has it: pages of a tenant's queue, each with what arrived at sixteen places in a row and when it is
 * due. One index key for its place and one for its deadline would be half of what a waiting request writes. A page is derived from the items
 * that are in it, so it is the same by whatever way they came there (invariant 3); its own due key is that of its earliest item.
 */
import { bufferOf } from '#schemas/buffer.ts';
import type { Instant, TenantId } from '#schemas/ids.ts';
import { dueKey, pageKey, rangeEnd } from './keys.ts';
import type { ItemId } from './machine.ts';
import type { View, Write } from './ports.ts';
import { RowCache } from './row-cache.ts';

/** More make fewer keys, and more to write anew for each item that comes or goes. */
const PLACES = 16;
/** Changed pages that are not full, held back from an empty store that is being filled. */
const MOST_HELD = 4_000;
/** Pages kept read, and as many again. */
const KEPT = 256;
const EMPTY = new Uint8Array(0);
/** Place in its page, due (a double; -1: never), length of the item's name. */
const ENTRY_HEAD = 11;

/** `order`: of arrival. */
export type Waiting = { readonly order: number; readonly due: Instant | undefined; readonly item: ItemId };
type Page = {
  readonly key: string;
  readonly tenant: TenantId;
  readonly number: number;
  /** As the store has it; undefined: not read yet. */
  stored: readonly Waiting[] | undefined;
  now: Waiting[];
  readonly unread: (readonly [number, Waiting | undefined])[];
};

const numberOf = (order: number): number => Math.floor(order / PLACES);

export class QueuePages {
  readonly #view: View;
  readonly #cache = new RowCache<readonly Waiting[]>(KEPT);
  #changed = new Map<TenantId, Map<number, Page>>();
  /** The same, for those who go through all of them. */
  #pages: Page[] = [];

  constructor(view: View) {
    this.#view = view;
  }

  /** The item that waits at this place of arrival; undefined: none any more. */
  set(tenant: TenantId, order: number, waiting: Waiting | undefined): void {
    const page = this.#page(tenant, numberOf(order));
    if (page.stored) put(page.now, order, waiting);
    else page.unread.push([order, waiting]);
  }

  /** Of all pages changed. `held`: of those that are full, unless too many are not. */
  writes(into: Write[], held: boolean): void {
    this.#read();
    const full = held && this.#pages.length < MOST_HELD;
    const kept: Page[] = [];
    for (const page of this.#pages) {
      if (full && page.now.length < PLACES) {
        kept.push(page);
        continue;
      }
      write(into, page);
      if (full) this.#changed.get(page.tenant)?.delete(page.number);
      if (held) this.#cache.forget(page.tenant, page.key);
      else this.#cache.set(page.tenant, page.key, page.now);
    }
    if (!full) this.#changed = new Map();
    this.#pages = kept;
  }

  #page(tenant: TenantId, number: number): Page {
    let pages = this.#changed.get(tenant);
    if (!pages) {
      pages = new Map();
      this.#changed.set(tenant, pages);
    }
    let page = pages.get(number);
    if (!page) {
      page = { key: pageKey(tenant, number), tenant, number, stored: undefined, now: [], unread: [] };
      pages.set(number, page);
      this.#pages.push(page);
    }
    return page;
  }

  #read(): void {
    const unknown: Page[] = [];
    for (const page of this.#pages) {
      if (page.stored) continue;
      const cached = this.#cache.get(page.tenant, page.key);
      if (cached) known(page, cached);
      else unknown.push(page);
    }
    if (unknown.length === 0) return;
    const found = this.#view.getMany(
      'queue',
      unknown.map(({ key }) => key),
    );
    for (const [at, page] of unknown.entries()) known(page, decodePage(page.number, found[at]));
  }
}

function known(page: Page, stored: readonly Waiting[]): void {
  page.stored = stored;
  page.now = [...stored];
  for (const [order, waiting] of page.unread) put(page.now, order, waiting);
  page.unread.length = 0;
}

/** They stay in order; most come last. */
function put(page: Waiting[], order: number, waiting: Waiting | undefined): void {
  let at = page.length;
  while (at > 0 && (page[at - 1] as Waiting).order >= order) at--;
  const there = page[at]?.order === order;
  if (waiting) page.splice(at, Number(there), waiting);
  else if (there) page.splice(at, 1);
}

function write(into: Write[], { key, stored, now }: Page): void {
  const before = stored ?? [];
  if (now.length > 0) into.push({ table: 'queue', key, value: encodePage(now) });
  else if (before.length > 0) into.push({ table: 'queue', key, value: undefined });
  const was = firstDue(before);
  const is = firstDue(now);
  if (was === is) return;
  if (was !== undefined) into.push({ table: 'due', key: dueKey(was, 'q', key), value: undefined });
  if (is !== undefined) into.push({ table: 'due', key: dueKey(is, 'q', key), value: EMPTY });
}

function firstDue(page: readonly Waiting[]): Instant | undefined {
  let first: Instant | undefined;
  for (const { due } of page) if (due !== undefined && (first === undefined || due < first)) first = due;
  return first;
}

/** Canonical: equal pages have equal bytes. */
function encodePage(page: readonly Waiting[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(page.reduce((sum, { item }) => sum + ENTRY_HEAD + item.length * 3, 0));
  let at = 0;
  for (const { order, due, item } of page) {
    bytes[at] = order % PLACES;
    bytes.writeDoubleBE(due ?? -1, at + 1);
    const length = bytes.write(item, at + ENTRY_HEAD);
    bytes.writeUInt16BE(length, at + 9);
    at += ENTRY_HEAD + length;
  }
  return bytes.subarray(0, at);
}

function decodePage(number: number, page: Uint8Array | undefined): Waiting[] {
  const found: Waiting[] = [];
  if (page === undefined) return found;
  const bytes = bufferOf(page);
  for (let at = 0; at < bytes.byteLength; ) {
    const [due, end] = [bytes.readDoubleBE(at + 1), at + ENTRY_HEAD + bytes.readUInt16BE(at + 9)];
    const item = bytes.toString('utf8', at + ENTRY_HEAD, end);
    found.push({ order: number * PLACES + (bytes[at] as number), due: due < 0 ? undefined : due, item });
    at = end;
  }
  return found;
}

const numberIn = (key: string): number => Number.parseInt(key.slice(key.indexOf('/') + 1), 16);

/** Of a page by its key, as the store has it. */
export function waitingIn(key: string, value: Uint8Array | undefined): readonly Waiting[] {
  return decodePage(numberIn(key), value);
}

/** The place of arrival after those of a page. */
export const pageEnd = (key: string): number => (numberIn(key) + 1) * PLACES;

/** At most so many pages of a tenant from a place of arrival on, and where to read on; undefined: there are no more. */
export function readQueue(
  view: View,
  tenant: TenantId,
  from: number,
  pages: number,
): { readonly waiting: readonly Waiting[]; readonly next: number | undefined } {
  const read = view.scan('queue', pageKey(tenant, numberOf(from)), pages, rangeEnd(tenant));
  const waiting = read.flatMap(([key, value]) => waitingIn(key, value)).filter(({ order }) => order >= from);
  const last = read.at(-1);
  return { waiting, next: last === undefined || read.length < pages ? undefined : pageEnd(last[0]) };
}

const COUNTED_PAGES = 64;
/** How many of a tenant wait before a place of arrival; of many more than `most`, as many as were counted. */
export function countBefore(view: View, tenant: TenantId, order: number, most: number): number {
  let count = 0;
  for (let from: number | undefined = 0; from !== undefined && from < order && count < most; ) {
    const read = readQueue(view, tenant, from, COUNTED_PAGES);
    count += read.waiting.filter((each) => each.order < order).length;
    from = read.next;
  }
  return Math.min(count, most);
}
