/** After a restart the events of before are not read again: what the rows still tell is enough for the page. */
import type { TenantId } from '#schemas/ids.ts';
import { rangeEnd } from '#streams/engine/keys.ts';
import type { Store } from '#streams/engine/ports.ts';
import { type Mark, rows } from '#streams/support/state.ts';
import type { View } from './view.ts';

const PAGE = 1_000;
/** Marks that are looked at in one store: about half a second of work. Beyond, percentiles begin anew; counters never depend on it. */
const MOST_MARKS = 200_000;

export function recall(view: View, store: Store): void {
  let left = MOST_MARKS;
  for (let from = ''; ; ) {
    const page = store.scan('account', from, PAGE);
    for (const [key, bytes] of page) {
      const marks = marksOf(store, key as TenantId, left);
      left -= marks.length;
      view.recall(rows.account.decode(bytes), marks);
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    from = `${last[0]}\0`;
  }
}

function marksOf(store: Store, tenant: TenantId, most: number): readonly Mark[] {
  const found: Mark[] = [];
  for (let from = `${tenant}/`; found.length < most; ) {
    const page = store.scan('mark', from, Math.min(PAGE, most - found.length), rangeEnd(tenant));
    for (const [, bytes] of page) found.push(rows.mark.decode(bytes));
    const last = page.at(-1);
    if (!last || page.length < PAGE) break;
    from = `${last[0]}\0`;
  }
  return found;
}
