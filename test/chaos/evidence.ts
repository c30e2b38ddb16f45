/** What the checker judges by: the topics as a plain consumer reads them, and what clients were told. */
import type { Decoded } from '#schemas/codec.ts';

/** A committed record. `producer` is its batch's: a new owner's epoch is higher. `decoded` is undefined where its bytes are no record of ours. */
export type Stored = {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly bytes: Uint8Array | null;
  readonly headers: Readonly<Record<string, Uint8Array>>;
  readonly producer: { readonly id: string; readonly epoch: number };
  readonly decoded: Decoded | undefined;
};
/**
 * What a client was told. queued: the gateway said so; submitted: the gateway said that the record is safe; produced: Kafka acknowledged
 * the record at `at`.
 */
export type Acknowledged = {
  readonly tenant: string;
  readonly request: string;
  readonly said: 'queued' | 'submitted' | 'produced';
  readonly at?: { readonly partition: number; readonly offset: number };
};
export type Evidence = {
  readonly partitions: number;
  /** Requests that one partition may run at once. */
  readonly cap: number;
  /** By topic, in the order of partition and offset. */
  readonly topics: Readonly<Record<string, readonly Stored[]>>;
  /** The runtime group's offsets, by `topic/partition`: as they were before the topics were read, and after. */
  readonly committed: Readonly<Record<string, { readonly before: number; readonly after: number }>>;
  readonly acknowledged: readonly Acknowledged[];
  /** The id under which the history knows what a person sent: a keyed digest. */
  readonly idOf: (tenant: string, person: string, sent: string) => string;
  /** Which partition is a tenant's. */
  readonly partitionOf: (tenant: string) => number;
};
export type Judged = {
  /** Each names its invariant. */
  readonly problems: readonly string[];
  /** What is not done yet: the lag. */
  readonly open: { readonly inputs: number; readonly requests: number; readonly audit: number };
  readonly seen: Readonly<Record<string, number>>;
};

export const ofPartition = (evidence: Evidence, topic: string, partition: number): readonly Stored[] =>
  (evidence.topics[topic] ?? []).filter((record) => record.partition === partition);
