/** A binary min-heap whose members can be moved and taken out; of equal ranks the one that took its rank first comes first. */
type Entry<T> = { readonly value: T; readonly rank: number; readonly order: number };

export class Heap<T> {
  readonly #entries: Entry<T>[] = [];
  readonly #places = new Map<T, number>();
  #order = 0;

  get size(): number {
    return this.#entries.length;
  }
  peek(): T | undefined {
    return this.#entries[0]?.value;
  }
  rank(value: T): number | undefined {
    return this.#at(value)?.rank;
  }

  /** In no order. */
  [Symbol.iterator](): Iterator<T> {
    return this.#places.keys();
  }
  clear(): void {
    this.#entries.length = 0;
    this.#places.clear();
  }

  /** Puts it in, or moves it; one that keeps its rank keeps its place. */
  set(value: T, rank: number): void {
    const before = this.#at(value);
    if (before?.rank === rank) return;
    const entry = { value, rank, order: this.#order++ };
    const at = this.#places.get(value) ?? this.#entries.length;
    if (before && isBefore(before, entry)) this.#down(at, entry);
    else this.#up(at, entry);
  }

  delete(value: T): boolean {
    const at = this.#places.get(value);
    if (at === undefined) return false;
    const removed = this.#entries[at] as Entry<T>;
    const last = this.#entries.pop() as Entry<T>;
    this.#places.delete(value);
    if (removed === last) return true;
    if (isBefore(last, removed)) this.#up(at, last);
    else this.#down(at, last);
    return true;
  }

  /** How many stand before it; 0 when it is not in the heap. Looks at all: O(n). */
  ahead(value: T): number {
    const own = this.#at(value);
    return own ? this.#entries.reduce((count, entry) => count + Number(isBefore(entry, own)), 0) : 0;
  }

  #at(value: T): Entry<T> | undefined {
    const at = this.#places.get(value);
    return at === undefined ? undefined : this.#entries[at];
  }

  #up(from: number, entry: Entry<T>): void {
    let at = from;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = this.#entries[up] as Entry<T>;
      if (!isBefore(entry, parent)) break;
      this.#put(at, parent);
      at = up;
    }
    this.#put(at, entry);
  }

  #down(from: number, entry: Entry<T>): void {
    const entries = this.#entries;
    let at = from;
    for (let left = 2 * at + 1; left < entries.length; left = 2 * at + 1) {
      const right = entries[left + 1];
      const child = right && isBefore(right, entries[left] as Entry<T>) ? left + 1 : left;
      if (!isBefore(entries[child] as Entry<T>, entry)) break;
      this.#put(at, entries[child] as Entry<T>);
      at = child;
    }
    this.#put(at, entry);
  }

  #put(at: number, entry: Entry<T>): void {
    this.#entries[at] = entry;
    this.#places.set(entry.value, at);
  }
}

function isBefore(a: Entry<unknown>, b: Entry<unknown>): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.order < b.order);
}
