/** What a partition's task is given, what it offers, and what it tells: types only. */
import type { Instant, Offset, TenantId } from '#schemas/ids.ts';
import type { Consumed } from './inbox.ts';
import type { Blocked, Output, Row, State, Work } from './machine.ts';
import type { Clock, Effects, Log, Store } from './ports.ts';
import type { Recovered, Recovery } from './recover.ts';
import type { SnapshotOptions, SnapshotWritten } from './snapshots.ts';

export type TaskOptions<A, R, K, I extends Row, E, X extends Work> = Omit<Recovery<A, R, K, I, E, X>, 'discarded' | 'ignored'> & {
  readonly log: Log;
  readonly effects: (task: Task<A, R, K, I>) => Effects<X>;
  readonly clock: Clock;
  /** Effects in flight in this partition. */
  readonly cap: number;
  /** Inputs in one transaction. */
  readonly maxBatch?: number;
  /** Gathered inputs above which the partition should be paused. */
  readonly maxGathered?: number;
  /** Tenants that are asked at once, at opening, for what waits. */
  readonly maxHeads?: number;
  readonly maxOutputBytes?: number;
  readonly deadLetter: (input: I, error: Error, consumed: Consumed | undefined) => readonly Output[];
  readonly snapshots?: SnapshotOptions | undefined;
  readonly report: Report;
};

export interface Task<A, R, K, I> {
  /** Resolves when committed, with the rows it named. @throws EvenkeelError when the input became a dead letter, or the task ended */
  offer(input: I, consumed?: Consumed): Promise<State<A, R, K>>;
  /** Dead letters and re-publications: no decision. */
  pass(records: readonly Output[], consumed: Consumed): Promise<void>;
  readonly full: boolean;
  position(topic: string): Offset;
  /** The broker's time, as `decide` would be given it. */
  readonly now: Instant;
  /** A record's append time, on the same time: they differ after the broker's clock was set back. */
  appendedAt(at: Instant): Instant;
  /** Committed only. */
  peek(row: Row): State<A, R, K>;
  /** Committed only: the record on the words topic. */
  words(row: { readonly tenant: TenantId; readonly mark: string }, step: string): Uint8Array | undefined;
  /** What a waiting item waits for. */
  explain(row: { readonly tenant: TenantId; readonly item: string }): {
    /** Items of its tenant that stand before it, as last written; of many more than a thousand, a thousand are counted. */
    readonly before: number;
    /** Ready tenants that stand before its own. */
    readonly ahead: number;
    readonly blocked: Blocked | undefined;
    /** No slot is free, or none that is not kept for tenants that hold less. */
    readonly full: boolean;
  };
  readonly store: Store;
  readonly lost: Promise<Error>;
  close(): Promise<void>;
}

/** What an operator should see. */
export type Report = {
  committed(what: { readonly events: number; readonly ms: number; readonly batch: number }): void;
  /** The partition was opened: from what, and how many events were folded on top. */
  recovered?(what: Omit<Recovered, 'store'> & { readonly ms: number }): void;
  snapshot?(what: SnapshotWritten): void;
  warn(message: string, error?: Error): void;
};
