/** Where each tenant's chain stands, in the partition's own store: number and hash of its newest acknowledged entry, and the position they reflect. */
import type { Offset, TenantId } from '#schemas/ids.ts';
import type { Meta, Store, Stores, Write } from '#streams/engine/ports.ts';
import { type ChainHead, NO_ENTRY } from '#streams/support/audit.ts';

export type TenantChain = {
  readonly head: ChainHead;
  /** A position between transactions: the tenant's events before it are acknowledged. */
  readonly next: Offset;
  /** The partition's own position may be past `next`: this tenant reads again from there. */
  readonly behind: boolean;
};

/** A change of the entries' bytes raises it: the chains are then computed anew. */
const VERSION = 1;

export class Chains {
  readonly #store: Store;
  readonly #partitions: number;
  meta: Meta;

  private constructor(store: Store, partitions: number) {
    this.#store = store;
    this.#partitions = partitions;
    this.meta = store.meta ?? { positions: { history: 0, words: 0 }, batch: 0, time: 0, inputs: {}, version: VERSION, partitions };
  }

  /** A store that does not open, or is of another version, is thrown away: the history gives the same entries again. */
  static async open(stores: Stores, partition: number, partitions: number): Promise<Chains> {
    try {
      const store = await stores.open(partition);
      if (store.meta === undefined || store.meta.version === VERSION) return new Chains(store, partitions);
      await store.close();
    } catch (error) {
      if ((error as { code?: string }).code !== 'store_ahead') throw error;
    }
    await stores.destroy(partition);
    return new Chains(await stores.open(partition), partitions);
  }

  get(tenant: TenantId): TenantChain | undefined {
    const bytes = this.#store.get('account', tenant);
    return bytes && decode(bytes);
  }

  behind(): readonly (readonly [TenantId, TenantChain])[] {
    const found: (readonly [TenantId, TenantChain])[] = [];
    for (const [table, key, value] of this.#store.entries()) {
      if (table !== 'account') continue;
      const chain = decode(value);
      if (chain.behind) found.push([key as TenantId, chain]);
    }
    return found;
  }

  /** One batch: the chains and, from the partition's own reading, its position. */
  write(chains: Iterable<readonly [TenantId, TenantChain]>, reached?: { readonly next: Offset; readonly batch: number; readonly time: number }): void {
    const writes = [...chains].map(([tenant, chain]): Write => ({ table: 'account', key: tenant, value: encode(chain) }));
    if (reached) {
      const { next, batch, time } = reached;
      this.meta = { positions: { history: next, words: 0 }, batch, time, inputs: {}, version: VERSION, partitions: this.#partitions };
    }
    this.#store.write(writes, this.meta);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

export const newChain = (next: Offset): TenantChain => ({ head: NO_ENTRY, next, behind: true });

function encode({ head, next, behind }: TenantChain): Uint8Array {
  return Buffer.from(JSON.stringify({ sequence: head.sequence, hash: Buffer.from(head.hash).toString('base64'), next, behind }));
}

function decode(bytes: Uint8Array): TenantChain {
  const { sequence, hash, next, behind } = JSON.parse(Buffer.from(bytes).toString()) as { sequence: number; hash: string; next: number; behind: boolean };
  return { head: { sequence, hash: Buffer.from(hash, 'base64') }, next, behind };
}
