/** The fake of RocksDB, for simulation: what was written survives `close`, as a disk would; a batch is applied whole or not at all. */
import { type Meta, type Store, type Stores, TABLE_ORDER, type Table, type Write } from '#streams/engine/ports.ts';

class SortedTable {
  readonly #values = new Map<string, Uint8Array>();
  #keys: string[] = [];
  #sorted = true;

  get(key: string): Uint8Array | undefined {
    return this.#values.get(key);
  }

  set(key: string, value: Uint8Array | undefined): void {
    if (value === undefined) {
      if (this.#values.delete(key)) this.#sorted = false;
    } else {
      if (!this.#values.has(key)) this.#sorted = false;
      this.#values.set(key, value);
    }
  }

  scan(from: string, limit: number, to: string | undefined): readonly (readonly [string, Uint8Array])[] {
    const keys = this.#order();
    const found: (readonly [string, Uint8Array])[] = [];
    for (let at = lowerBound(keys, from); at < keys.length && found.length < limit; at++) {
      const key = keys[at] as string;
      if (to !== undefined && compare(key, to) >= 0) break;
      found.push([key, this.#values.get(key) as Uint8Array]);
    }
    return found;
  }

  #order(): string[] {
    if (!this.#sorted) {
      this.#keys = [...this.#values.keys()].sort(compare);
      this.#sorted = true;
    }
    return this.#keys;
  }
}

/** Byte order of UTF-8, which for keys beyond the basic plane is not that of JavaScript's strings. */
function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function lowerBound(keys: readonly string[], from: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(keys[middle] as string, from) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

class Disk {
  readonly tables = new Map<Table, SortedTable>();
  meta: Meta | undefined;

  table(name: Table): SortedTable {
    let table = this.tables.get(name);
    if (!table) {
      table = new SortedTable();
      this.tables.set(name, table);
    }
    return table;
  }
}

/** `alive` is asked before each write: a process that is dead in a simulation writes nothing any more. */
export function memoryStores(alive: () => boolean = () => true): Stores {
  const disks = new Map<number, Disk>();
  return {
    async open(partition) {
      const disk = disks.get(partition) ?? new Disk();
      disks.set(partition, disk);
      return storeOf(disk, alive);
    },
    async destroy(partition) {
      disks.delete(partition);
    },
  };
}

function storeOf(disk: Disk, alive: () => boolean): Store {
  return {
    get meta() {
      return disk.meta;
    },
    get: (table, key) => disk.table(table).get(key),
    scan: (table, from, limit, to) => disk.table(table).scan(from, limit, to),
    write(batch: readonly Write[], meta: Meta) {
      if (!alive()) throw new Error('this process is dead');
      for (const { table, key, value } of batch) disk.table(table).set(key, value);
      disk.meta = meta;
    },
    *entries() {
      const view = TABLE_ORDER.map((table) => [table, disk.table(table).scan('', Number.POSITIVE_INFINITY, undefined)] as const);
      for (const [table, rows] of view) for (const [key, value] of rows) yield [table, key, value] as const;
    },
    close: () => Promise.resolve(),
  };
}
