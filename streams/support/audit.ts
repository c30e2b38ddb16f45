/**
 * A tenant's audit: its events numbered from 1 and hash-chained, pure. The same history gives the same bytes, whoever computes them and
 * however often: so a repeat after a crash collapses under its key, and an auditor verifies from `audit.<tenant>` alone.
 * Invariant 9: no gap, no fork, and it says what the history says.
 */
import { sha256 } from '#schemas/digest.ts';
import type { Instant, Offset, TenantId } from '#schemas/ids.ts';
import type { RecordOf } from '#schemas/records.ts';

export type AuditEntry = RecordOf<'audit_entry'>;
/** An event as it stands in the history; `time` is its batch's. */
export type Copied = { readonly offset: Offset; readonly time: Instant; readonly event: Uint8Array };
/** The newest entry of a chain. */
export type ChainHead = { readonly sequence: number; readonly hash: Uint8Array };

export const NO_ENTRY: ChainHead = { sequence: 0, hash: new Uint8Array(32) };
const DOMAIN = Buffer.from('evenkeel-audit-v1');
/** Bytes of the length of the name, the numbers and the length of the event. */
const NUMBERS = 40;

/** The entries that follow `head`, one an event, in order. */
export function extendChain(tenant: TenantId, partition: number, head: ChainHead, events: readonly Copied[]): readonly AuditEntry[] {
  const entries: AuditEntry[] = [];
  let last: AuditEntry | ChainHead = head;
  for (const { offset, time, event } of events) {
    const sequence: number = last.sequence + 1;
    const hash: Uint8Array = link(last.hash, { tenant, sequence, partition, offset, time, event });
    last = { tenant, sequence, partition, offset, time, event, hash };
    entries.push(last);
  }
  return entries;
}

/** Of each entry its bytes are needed for one digest only: they are written over by the next one's. */
let bytes = Buffer.alloc(4_096);
let numbers = new DataView(bytes.buffer, bytes.byteOffset);

/** The next hash of the chain: over the last one and the entry's bytes. */
function link(previous: Uint8Array, entry: Omit<AuditEntry, 'hash'>): Uint8Array {
  const end = canonical(previous.byteLength, entry);
  bytes.set(previous);
  return sha256(bytes.subarray(0, end));
}

function canonicalBytes(entry: Omit<AuditEntry, 'hash'>): Uint8Array {
  const end = canonical(0, entry);
  return Buffer.from(bytes.subarray(0, end));
}

/** Lengths come first, so that no two entries have the same bytes. Returns where they end in `bytes`. */
function canonical(from: number, { tenant, sequence, partition, offset, time, event }: Omit<AuditEntry, 'hash'>): number {
  const most = from + DOMAIN.byteLength + NUMBERS + 3 * tenant.length + event.byteLength;
  if (most > bytes.byteLength) {
    bytes = Buffer.alloc(2 * most);
    numbers = new DataView(bytes.buffer, bytes.byteOffset);
  }
  bytes.set(DOMAIN, from);
  const at = from + DOMAIN.byteLength;
  const name = bytes.write(tenant, at + NUMBERS);
  numbers.setUint32(at, name);
  int64(at + 4, sequence);
  numbers.setInt32(at + 12, partition);
  int64(at + 16, offset);
  int64(at + 24, time);
  int64(at + 32, event.byteLength);
  bytes.set(event, at + NUMBERS + name);
  return at + NUMBERS + name + event.byteLength;
}

function int64(at: number, value: number): void {
  numbers.setInt32(at, Math.floor(value / 2 ** 32));
  numbers.setUint32(at + 4, value >>> 0);
}

export type ChainProblem = { readonly kind: 'gap' | 'fork' | 'broken' | 'foreign'; readonly sequence: number; readonly why: string };
export type ChainReport = {
  /** Entries, each counted once. */
  readonly count: number;
  readonly first: number;
  readonly head: ChainHead;
  /** Entries that stood there more than once, byte for byte the same: sent again after a crash, not yet compacted. */
  readonly repeated: number;
  readonly problems: readonly ChainProblem[];
};

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
/** What is wrong is said once for each entry, up to this many. */
const MAX_PROBLEMS = 100;

/**
 * Verifies entries in the order in which they stand on the topic. That is not always the order of their numbers: a run that was sent again
 * may be compacted in part. It keeps one hash an entry, not the entries.
 */
export class ChainVerifier {
  readonly #tenant: TenantId;
  readonly #hashes = new Map<number, Uint8Array>();
  /** Entries whose predecessor has not been seen yet: where retention cut the head, or a gap. */
  readonly #unlinked = new Map<number, AuditEntry>();
  readonly #problems: ChainProblem[] = [];
  #repeated = 0;

  constructor(tenant: TenantId) {
    this.#tenant = tenant;
  }

  add(entry: AuditEntry): void {
    const { sequence, hash, tenant } = entry;
    if (tenant !== this.#tenant) return this.#problem('foreign', sequence, `an entry of tenant ${tenant}`);
    if (sequence < 1) return this.#problem('broken', sequence, 'entries are numbered from 1');
    const known = this.#hashes.get(sequence);
    if (known && !sameBytes(known, hash)) return this.#problem('fork', sequence, 'two different entries have this number');
    if (known) this.#repeated++;
    else this.#hashes.set(sequence, hash);
    const previous = sequence === 1 ? NO_ENTRY.hash : this.#hashes.get(sequence - 1);
    if (previous) this.#link(previous, entry);
    else if (known) this.#compare(entry);
    else this.#unlinked.set(sequence, entry);
    const following = this.#unlinked.get(sequence + 1);
    if (following) {
      this.#unlinked.delete(sequence + 1);
      this.#link(hash, following);
    }
  }

  report(): ChainReport {
    const numbers = [...this.#hashes.keys()].sort((a, b) => a - b);
    const [first, last] = [numbers[0] ?? 0, numbers.at(-1) ?? 0];
    const gaps: ChainProblem[] = [];
    for (const [at, sequence] of numbers.entries()) {
      const before = numbers[at - 1];
      if (before !== undefined && before !== sequence - 1) {
        const missing = before + 1 === sequence - 1 ? `entry ${before + 1} is missing` : `entries ${before + 1} to ${sequence - 1} are missing`;
        gaps.push({ kind: 'gap', sequence: before + 1, why: missing });
      }
    }
    const head = { sequence: last, hash: this.#hashes.get(last) ?? NO_ENTRY.hash };
    const problems = [...this.#problems, ...gaps].sort((a, b) => a.sequence - b.sequence).slice(0, MAX_PROBLEMS);
    return { count: numbers.length, first, head, repeated: this.#repeated, problems };
  }

  #link(previous: Uint8Array, entry: AuditEntry): void {
    if (!sameBytes(link(previous, entry), entry.hash))
      this.#problem('broken', entry.sequence, 'its hash does not follow from its contents and the entry before');
  }

  /** A repeat of an entry that is not linked yet: equal hashes say nothing before they are checked. */
  #compare(entry: AuditEntry): void {
    const first = this.#unlinked.get(entry.sequence);
    if (first && !sameBytes(canonicalBytes(first), canonicalBytes(entry))) this.#problem('fork', entry.sequence, 'two different entries have this number');
  }

  #problem(kind: ChainProblem['kind'], sequence: number, why: string): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push({ kind, sequence, why });
  }
}

export function verifyChain(tenant: TenantId, entries: Iterable<AuditEntry>): ChainReport {
  const verifier = new ChainVerifier(tenant);
  for (const entry of entries) verifier.add(entry);
  return verifier.report();
}
