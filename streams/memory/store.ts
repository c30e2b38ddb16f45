/** The fake of RocksDB, for simulation: what was written survives `close`, as a disk would; a batch is applied whole or not at all. */
import { rangeEnd, tenantOf } from '#streams/engine/keys.ts';
import { type Meta, type PutRow, type Store, type Stores, TABLE_ORDER, type Table, type Write } from '#streams/engine/ports.ts';

/** Above this share of the keys, changes are sorted in all at once; below it, each takes its place. */
const RESORT_SHARE = 1 / 16;

class SortedTable {
  readonly #values = new Map<string, Uint8Array>();
  /** In order, as of the last scan. */
  #keys: string[] = [];
  /** Came or went since the last scan. */
  readonly #changed = new Set<string>();

  get(key: string): Uint8Array | undefined {
    return this.#values.get(key);
  }

  set(key: string, value: Uint8Array | undefined): void {
    const had = this.#values.has(key);
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
    if (had !== (value !== undefined)) this.#changed.add(key);
  }

  heads(from: string, tenants: number): readonly (readonly [string, Uint8Array])[] {
    const found: (readonly [string, Uint8Array])[] = [];
    for (let at = from; found.length < tenants; ) {
      const [first] = this.scan(at, 1, undefined);
      if (!first) break;
      found.push(first);
      at = rangeEnd(tenantOf(first[0]));
    }
    return found;
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
    if (this.#changed.size > this.#keys.length * RESORT_SHARE) this.#keys = [...this.#values.keys()].sort(compare);
    else for (const key of this.#changed) this.#place(key);
    this.#changed.clear();
    return this.#keys;
  }

  #place(key: string): void {
    const at = lowerBound(this.#keys, key);
    const there = this.#keys[at] === key;
    const wanted = this.#values.has(key);
    if (there !== wanted) this.#keys.splice(at, there ? 1 : 0, ...(wanted ? [key] : []));
  }
}

/** Byte order of UTF-8. It differs from that of JavaScript's strings only where one has a surrogate: those are beyond the basic plane. */
function compare(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}
const rank = (unit: number): number => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit);

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

function* rowsOf(view: readonly (readonly [Table, ReturnType<Store['scan']>])[]): IterableIterator<readonly [Table, string, Uint8Array]> {
  for (const [table, rows] of view) for (const [key, value] of rows) yield [table, key, value] as const;
}

function storeOf(disk: Disk, alive: () => boolean): Store {
  return {
    get meta() {
      return disk.meta;
    },
    get: (table, key) => disk.table(table).get(key),
    getMany: (table, keys) => keys.map((key) => disk.table(table).get(key)),
    heads: (table, from, tenants) => disk.table(table).heads(from, tenants),
    scan: (table, from, limit, to) => disk.table(table).scan(from, limit, to),
    write(batch: readonly Write[], meta: Meta) {
      if (!alive()) throw new Error('this process is dead');
      for (const { table, key, value } of batch) disk.table(table).set(key, value);
      disk.meta = meta;
    },
    fill(rows: (put: PutRow) => void, meta: Meta) {
      const batch: Write[] = [];
      rows((table, bytes, key, value, end) => batch.push({ table, key: bytes.toString('utf8', key, value), value: Buffer.from(bytes.subarray(value, end)) }));
      this.write(batch, meta);
    },
    entries() {
      const view = TABLE_ORDER.map((table) => [table, disk.table(table).scan('', Number.POSITIVE_INFINITY, undefined)] as const);
      return rowsOf(view);
    },
    close: () => Promise.resolve(),
  };
}
