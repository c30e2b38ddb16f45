/** A binary min-heap; entries that no longer hold are skipped by the caller when they surface. */
export class Heap<T> {
  readonly #entries: { readonly rank: number; readonly value: T }[] = [];

  get size(): number {
    return this.#entries.length;
  }
  peek(): { readonly rank: number; readonly value: T } | undefined {
    return this.#entries[0];
  }

  push(rank: number, value: T): void {
    const entries = this.#entries;
    const entry = { rank, value };
    let at = entries.push(entry) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = entries[up];
      if (!parent || parent.rank <= rank) break;
      entries[at] = parent;
      at = up;
    }
    entries[at] = entry;
  }

  pop(): T | undefined {
    const entries = this.#entries;
    const top = entries[0];
    const last = entries.pop();
    if (!top || !last || entries.length === 0) return top?.value;
    let at = 0;
    for (;;) {
      const left = entries[2 * at + 1];
      const right = entries[2 * at + 2];
      const child = right && left && right.rank < left.rank ? right : left;
      if (!child || child.rank >= last.rank) break;
      entries[at] = child;
      at = child === left ? 2 * at + 1 : 2 * at + 2;
    }
    entries[at] = last;
    return top.value;
  }
}
