/** One hash over all rows and secondary keys of a store, in order: equal states have equal hashes (invariants 3 and 5). */
import { createHash } from 'node:crypto';
import { type Store, TABLES } from './ports.ts';

/** Words are a cache beside the state, not part of it. */
export function stateHash(store: Pick<Store, 'entries'>): { readonly hash: string; readonly rows: number } {
  const hash = createHash('sha256');
  let rows = 0;
  for (const [table, key, value] of store.entries()) {
    if (table === 'words') continue;
    hash.update(`${TABLES[table]}${Buffer.byteLength(key)}:${key}${value.byteLength}:`).update(value);
    rows++;
  }
  return { hash: hash.digest('hex'), rows };
}
