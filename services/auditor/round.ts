/** Some transactions of the history, by tenant, and their way to the tenants' audit topics. */
import type { Codec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { type Batch, EVENTS } from '#schemas/events.ts';
import type { Offset, TenantId } from '#schemas/ids.ts';
import type { ShapeName } from '#schemas/records.ts';
import { auditTopic } from '#schemas/topics.ts';
import { HistoryReader } from '#streams/engine/history.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Rec } from '#streams/engine/ports.ts';
import { type AuditEntry, type Copied, extendChain } from '#streams/support/audit.ts';
import type { TenantChain } from './chains.ts';

/** An event of the history as the auditor sees it: whose it is, and its bytes. */
type Historic = { readonly type: string; readonly tenant: TenantId; readonly bytes: Uint8Array };
export type HistoricReader = HistoryReader<Historic>;

export type Round = {
  /** Positions between transactions. */
  readonly start: Offset;
  readonly next: Offset;
  readonly last: Batch;
  readonly numbers: readonly number[];
  readonly tenants: ReadonlyMap<TenantId, readonly Copied[]>;
};
export interface AuditSender {
  send(records: readonly Output[]): Promise<unknown>;
  close(): Promise<void>;
}

/** Below the broker's bound on a batch, which counts all records of one send. */
const MOST_BYTES = 400_000;

function historic(type: ShapeName, tenant: string, bytes: Uint8Array): Historic {
  if (!Object.hasOwn(EVENTS, type)) throw new EvenkeelError('fold_failed', `${type} is no event of the history`);
  return { type, tenant: tenant as TenantId, bytes };
}

export function historicReader(codec: Codec): HistoricReader {
  const decode = (bytes: Uint8Array): Historic | Batch => {
    const owner = codec.ownerOf(bytes);
    if (owner && owner.name !== 'batch') return historic(owner.name, owner.tenant, bytes);
    const { name, value } = codec.decode(bytes);
    return name === 'batch' ? { type: 'batch', ...value } : historic(name, (value as { tenant: string }).tenant, bytes);
  };
  const encode = () => {
    throw new EvenkeelError('fold_failed', 'the auditor writes no history');
  };
  return new HistoryReader<Historic>({ history: { encode, decode }, isBatch: (entry): entry is Batch => entry.type === 'batch' });
}

/** The transactions that these records complete; what they leave open stays in `reader`. */
export function collect(reader: HistoricReader, records: readonly Rec[], start: Offset): Round | undefined {
  const tenants = new Map<TenantId, Copied[]>();
  const numbers: number[] = [];
  let last: { readonly batch: Batch; readonly next: Offset } | undefined;
  for (const record of records) {
    const transaction = reader.push(record);
    if (!transaction) continue;
    last = transaction;
    numbers.push(transaction.batch.number);
    for (const { event, offset } of transaction.events) {
      let events = tenants.get(event.tenant);
      if (!events) {
        events = [];
        tenants.set(event.tenant, events);
      }
      events.push({ offset, time: transaction.batch.time, event: event.bytes });
    }
  }
  return last && { start, next: last.next, last: last.batch, numbers, tenants };
}

/** The entries that a round adds to a chain, and where the chain stands once they are acknowledged. */
export function extend(tenant: TenantId, partition: number, chain: TenantChain, round: Round) {
  const events = (round.tenants.get(tenant) ?? []).filter(({ offset }) => offset >= chain.next);
  const entries = extendChain(tenant, partition, chain.head, events);
  const after: TenantChain = { ...chain, head: entries.at(-1) ?? chain.head, next: Math.max(chain.next, round.next) };
  return { entries, after };
}

/**
 * Sends in order, in parts; a part's acknowledgement must come within its limit, the last of which counts for all that follow.
 * @throws when one does not: some entries may be on the topic then
 */
export async function sendEntries(sender: AuditSender, codec: Codec, entries: readonly AuditEntry[], limits: readonly number[]): Promise<void> {
  for (let at = 0, part = 0; at < entries.length; part++) {
    const records: Output[] = [];
    for (let bytes = 0; at < entries.length && (records.length === 0 || bytes < MOST_BYTES); at++) {
      const entry = entries[at] as AuditEntry;
      const value = codec.encode('audit_entry', entry);
      bytes += value.byteLength;
      records.push({ topic: auditTopic(entry.tenant), partition: 0, key: String(entry.sequence), value });
    }
    await within(limits[Math.min(part, limits.length - 1)] ?? 0, sender.send(records));
  }
}

async function within(limitMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new EvenkeelError('unavailable', `no acknowledgement within ${limitMs} ms`)), limitMs);
  });
  // A rejection that comes after the limit has nobody waiting for it.
  work.catch(() => undefined);
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
