/**
 * What is due when, in the store, and a lower bound of the first in memory: most transactions come long before anything is due, and a seek
 * for each would cost more than their decisions. No timer is lost: the bound is never later than the first key. What was handed out stays
 * in the store until its next write, and is not handed out again before that.
 */
import type { Instant } from '#schemas/ids.ts';
import { dueLimit, duePage, dueRow, dueTime, tenantOf } from './keys.ts';
import type { Row } from './machine.ts';
import type { View, Write } from './ports.ts';
import { waitingIn } from './queue-pages.ts';

export class DueIndex {
  readonly #view: View;
  /** No key is due earlier, but for those handed out. undefined: there is none. */
  #first: Instant | undefined = 0;
  /** Keys before it were handed out since the last write. */
  #from = '';
  /** In the pages handed out since then, the first that was not yet due. */
  #later = Number.POSITIVE_INFINITY;

  constructor(view: View) {
    this.#view = view;
  }

  /** Rows that are due at `now`, those of the earliest keys first: `most`, or a page of a queue more, and then there may be others. */
  until(now: Instant, most: number): readonly Row[] {
    const first = this.next(now);
    if (first === undefined || first > now) return [];
    const rows: Row[] = [];
    for (const [key] of this.#view.scan('due', this.#from, most, dueLimit(now))) {
      if (rows.length >= most) break;
      this.#from = `${key}\0`;
      const page = duePage(key);
      if (page === undefined) rows.push(dueRow(key));
      else this.#page(rows, page, now);
    }
    return rows;
  }

  /** In a page that was handed out something else is due by now: its next key comes with a write. */
  isPressing(now: Instant): boolean {
    return this.#later <= now;
  }

  /** The store was written. */
  written(writes: readonly Write[]): void {
    if (this.#from !== '') this.#first = 0;
    this.#from = '';
    this.#later = Number.POSITIVE_INFINITY;
    for (const { table, key, value } of writes)
      if (table === 'due' && value !== undefined) this.#first = Math.min(this.#first ?? Number.POSITIVE_INFINITY, dueTime(key));
  }

  /** When to look next. A bound that has passed is looked up anew. */
  next(now: Instant): Instant | undefined {
    if (this.#first !== undefined && this.#first <= now) {
      const [first] = this.#view.scan('due', this.#from, 1);
      this.#first = first && dueTime(first[0]);
    }
    return this.#first;
  }
  #page(rows: Row[], page: string, now: Instant): void {
    for (const { item, due } of waitingIn(page, this.#view.get('queue', page))) {
      if (due === undefined) continue;
      if (due <= now) rows.push({ tenant: tenantOf(page), item });
      else this.#later = Math.min(this.#later, due);
    }
  }
}
