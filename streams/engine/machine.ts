/**
 * What the engine asks of a domain: types only. Everything here is pure and synchronous.
 * item: what waits and runs (a conversation); mark: what is remembered (a request id). A decision sees one account,
 * at most one item and one mark: it cannot see two tenants.
 */
import type { Batch } from '#schemas/events.ts';
import type { Instant, MicroUsd, TenantId } from '#schemas/ids.ts';
import type { SnapshotRecord } from '#schemas/records.ts';

export type ItemId = string;
export type MarkId = string;
export type Row = { readonly tenant: TenantId; readonly item?: ItemId | undefined; readonly mark?: MarkId | undefined };
export type State<A, R, K> = { readonly account: A; readonly item: R | undefined; readonly mark: K | undefined };

export type Ready = { readonly cost: MicroUsd };
export type Blocked = { readonly limit: string; readonly until: Instant | undefined };
/** Micro-dollars: what a tenant is held for by what runs, and what it has spent. A settlement takes from the first and adds to the second. */
export type Charge = { readonly held: number; readonly spent: number };
export const isBlocked = (head: Ready | Blocked): head is Blocked => 'limit' in head;

/** queue: order of arrival, only while ready to run the next turn; due: when to wake; runs: its effect should be running. */
export type Keys = { readonly queue?: number | undefined; readonly due?: Instant | undefined; readonly runs?: boolean };
/** What should be running now; known by its key after a re-open. `cost`: what its dispatch was charged as held. */
export type Work = { readonly key: string; readonly cost: MicroUsd };

/** A record for a topic. `words`: this output is also kept beside the state until its item no longer wants it. */
export type Output = {
  readonly topic: string;
  readonly partition?: number;
  readonly key: string;
  readonly value: Uint8Array | null;
  readonly headers?: Readonly<Record<string, Uint8Array | string>>;
  readonly words?: { readonly tenant: TenantId; readonly item: ItemId; readonly mark: MarkId; readonly step: string };
};

/** Canonical bytes: equal values have equal bytes, so that a refold can be compared byte for byte (invariants 3 and 5). */
export interface RowCodec<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/** `decodeAt` reads a value where it stands in a larger buffer, from `from` to `to`. */
export interface HistoryCodec<T> extends RowCodec<T> {
  decodeAt?(bytes: Uint8Array, from: number, to: number): T;
}

export interface Machine<A, R, K, I extends Row, E, X extends Work> {
  /** A change of the fold or of its keys raises it, and invalidates snapshots and local stores. */
  readonly version: number;
  readonly rows: { readonly account: RowCodec<A>; readonly item: RowCodec<R>; readonly mark: RowCodec<K> };
  /** The history's bytes on the wire. */
  readonly history: HistoryCodec<E | Batch>;
  readonly snapshots: RowCodec<SnapshotRecord>;
  /** Reads a words record back at recovery: whose it is. */
  wordsOf(value: Uint8Array): NonNullable<Output['words']>;
  isBatch(entry: E | Batch): entry is Batch;
  initial(tenant: TenantId): A;
  rowOf(event: E): Row;
  /** @throws nothing on purpose: a throw makes a dead letter of the input */
  decide(state: State<A, R, K>, input: I, now: Instant): readonly E[];
  /** `at` is the time of the batch, the `now` of the decision. The rows are those the event names. */
  evolve(state: State<A, R, K>, event: E, at: Instant): State<A, R, K>;
  /** Words come sealed with the input, and only for the request that the event names. */
  outputs(after: State<A, R, K>, event: E, input: I): readonly Output[];
  itemKeys(item: R): Keys;
  /** `mark/step` of each record of words that is still wanted. */
  itemWords(item: R): readonly string[];
  markKeys(mark: K): Keys;
  /** Of an item that runs. Start and resume are one path. */
  effect(item: R): X | undefined;
  /** `decide(dispatch)` asks the same function. */
  ready(account: A, item: R, now: Instant): Ready | Blocked;
  /** What an event adds to its tenant's account in the fair queue; undefined: nothing. */
  charge(event: E): Charge | undefined;
  /** The tenant's weight in the fair queue: twice the weight, twice the share. */
  weight(account: A): number;
  dispatch(row: Row): I;
  wake(row: Row): I;
}
