/**
 * The stores that a former life has left on this disk, opened before the group says which partitions are ours: their write-ahead logs are
 * replayed by threads that have nothing else to do, while the process connects.
 */
import type { Store, Stores } from '#streams/engine/ports.ts';
import { Semaphore } from '#streams/engine/semaphore.ts';
import { partitionsIn, rocksStores } from './store.ts';

/** Half of libuv's threads: those that connect need one, for names and passwords, and a disk may take its time. */
const AT_ONCE = 2;

export class StoresAhead implements Stores {
  readonly #stores: Stores;
  /** Until they are asked for. undefined: it was closed again. */
  readonly #ahead = new Map<number, Promise<Store | undefined>>();

  constructor(directory: string) {
    this.#stores = rocksStores(directory);
    const turns = new Semaphore(AT_ONCE);
    for (const partition of partitionsIn(directory)) {
      const opening = turns.run(() => this.#stores.open(partition));
      // Whoever owns the partition meets the error, and mends it.
      opening.catch(() => undefined);
      this.#ahead.set(partition, opening);
    }
  }

  async open(partition: number): Promise<Store> {
    const ahead = this.#ahead.get(partition);
    this.#ahead.delete(partition);
    return (await ahead) ?? this.#stores.open(partition);
  }

  destroy(partition: number): Promise<void> {
    return this.#stores.destroy(partition);
  }

  /** Closes those that nobody has asked for and that are not of `partitions`. */
  keepOnly(partitions: readonly number[]): void {
    for (const [partition, ahead] of this.#ahead) if (!partitions.includes(partition)) this.#ahead.set(partition, closed(ahead));
  }
}

async function closed(ahead: Promise<Store | undefined>): Promise<undefined> {
  try {
    await (await ahead)?.close();
  } catch {
    // It never opened: its next owner says why.
  }
}
