/** What an operator should see of a partition's task. */
import type { Recovered } from './recover.ts';
import type { SnapshotWritten } from './snapshots.ts';

export type Report = {
  committed(what: { readonly events: number; readonly ms: number; readonly batch: number }): void;
  /** The partition was opened: from what, and how many events were folded on top. */
  recovered?(what: Omit<Recovered, 'store'> & { readonly ms: number }): void;
  snapshot?(what: SnapshotWritten): void;
  warn(message: string, error?: Error): void;
};
