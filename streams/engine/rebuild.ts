/**
 * What a task forgets when it ends: the fair queue from each tenant's head, the effects from what runs. Ordered scans, nothing else is
 * loaded; and of the heads at once only as many as the first dispatches need.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import type { Instant, TenantId } from '#schemas/ids.ts';
import { FairQueue, type Head } from './fair-queue.ts';
import { rangeEnd, tenantOf } from './keys.ts';
import { isBlocked, type Machine, type Row, type Work } from './machine.ts';
import type { Overlay } from './overlay.ts';
import type { Store } from './ports.ts';
import type { Wanted } from './running.ts';

const PAGE = 1_000;

type Parts<A, R, K, I extends Row, E, X extends Work> = {
  readonly machine: Machine<A, R, K, I, E, X>;
  readonly overlay: Overlay<A, R, K, I, E, X>;
  readonly store: Store;
  /** Tenants whose heads are read in one go. */
  readonly heads: number;
};

export function rebuild<A, R, K, I extends Row, E, X extends Work>(
  parts: Parts<A, R, K, I, E, X>,
): { readonly fair: FairQueue; readonly wanted: readonly Wanted<X>[] } {
  const { machine, overlay, store } = parts;
  const fair = new FairQueue((tenant, at) => headOf(parts, tenant, at), waitingTenants(parts));
  const rows = running(store);
  for (const some of pages(rows)) overlay.prefetch(some);
  const wanted = rows.map((row): Wanted<X> => {
    const { account, item } = overlay.state(row);
    const work = item === undefined ? undefined : machine.effect(item);
    if (work) fair.charge(row.tenant, { held: work.cost, spent: 0 }, machine.weight(account));
    return { row, work };
  });
  return { fair, wanted };
}

/** Every tenant with a queue in the store, in pages whose rows have been read. */
function* waitingTenants<A, R, K, I extends Row, E, X extends Work>({
  overlay,
  store,
  heads: most,
}: Parts<A, R, K, I, E, X>): Generator<readonly TenantId[], undefined> {
  for (let from = ''; ; ) {
    const heads = store.heads('queue', from, most).map(([key, page]) => overlay.primeQueue(key, page));
    overlay.prefetch(heads);
    const last = heads.at(-1);
    if (last) yield heads.map(({ tenant }) => tenant);
    if (!last || heads.length < most) return undefined;
    from = rangeEnd(last.tenant);
  }
}

function running(store: Store): readonly Wanted<never>['row'][] {
  const rows: Wanted<never>['row'][] = [];
  for (let from = ''; ; ) {
    const keys = store.scan('running', from, PAGE);
    for (const [key] of keys) rows.push({ tenant: tenantOf(key), item: key.slice(key.indexOf('/') + 1) });
    const last = keys[keys.length - 1];
    if (!last || keys.length < PAGE) return rows;
    from = `${last[0]}\0`;
  }
}

function* pages<T>(all: readonly T[]): Iterable<readonly T[]> {
  for (let at = 0; at < all.length; at += PAGE) yield all.slice(at, at + PAGE);
}

function headOf<A, R, K, I extends Row, E, X extends Work>({ machine, overlay }: Parts<A, R, K, I, E, X>, tenant: TenantId, now: Instant): Head {
  const item = overlay.head(tenant);
  if (item === undefined) return undefined;
  const state = overlay.state({ tenant, item });
  if (state.item === undefined) throw new EvenkeelError('wedged', `the queue of ${tenant} names ${item}, which has no row`);
  const ready = machine.ready(state.account, state.item, now);
  return isBlocked(ready) ? ready : { ...ready, item };
}
