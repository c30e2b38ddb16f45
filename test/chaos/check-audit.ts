/**
 * Invariant 9: a tenant's audit is numbered without a gap, chained without a fork, and says what the history says. The chain is computed
 * here from its description: SHA-256 over the last hash, `evenkeel-audit-v1`, six numbers (big endian), the tenant and the event's bytes.
 */
import { createHash } from 'node:crypto';
import type { RecordOf } from '#schemas/records.ts';
import type { Entry, PartitionHistory } from './check-history.ts';
import type { Evidence } from './evidence.ts';

type AuditEntry = RecordOf<'audit_entry'>;
type Linked = Omit<AuditEntry, 'hash' | 'tenant'> & { readonly tenant: string };

export function checkAudit(evidence: Evidence, histories: readonly PartitionHistory[]): { readonly problems: string[]; readonly lag: number } {
  const problems: string[] = [];
  const happened = Map.groupBy(
    histories.flatMap(({ transactions }) => transactions.flatMap(({ events }) => events)),
    ({ event }) => event.tenant as string,
  );
  let lag = 0;
  for (const [tenant, events] of happened) lag += checkTenant(tenant, events, entriesOf(evidence, tenant, problems), problems);
  return { problems, lag };
}

/** By number. What stands there twice is the same, byte for byte: sent again after a crash. */
function entriesOf(evidence: Evidence, tenant: string, problems: string[]): ReadonlyMap<number, AuditEntry> {
  const found = new Map<number, { readonly entry: AuditEntry; readonly bytes: Uint8Array }>();
  for (const { decoded, bytes, key, offset } of evidence.topics[`audit.${tenant}`] ?? []) {
    if (decoded?.name !== 'audit_entry' || !bytes || key !== String(decoded.value.sequence)) {
      problems.push(`invariant 9: offset ${offset} of audit.${tenant} is no entry`);
      continue;
    }
    const { sequence } = decoded.value;
    const before = found.get(sequence);
    if (before && Buffer.compare(before.bytes, bytes) !== 0) problems.push(`invariant 9: audit.${tenant} forks at ${sequence}`);
    found.set(sequence, { entry: decoded.value, bytes });
  }
  return new Map([...found].map(([sequence, { entry }]) => [sequence, entry]));
}

/** Returns how many events are not copied yet. */
function checkTenant(tenant: string, events: readonly Entry[], entries: ReadonlyMap<number, AuditEntry>, problems: string[]): number {
  const last = Math.max(0, ...entries.keys());
  if (last > events.length) problems.push(`invariant 9: audit.${tenant} has entry ${last}, the history ${events.length} events`);
  let hash: Uint8Array = new Uint8Array(32);
  for (const [at, { event, stored, time }] of events.slice(0, last).entries()) {
    const entry = entries.get(at + 1);
    if (!entry) {
      problems.push(`invariant 9: audit.${tenant} lacks entry ${at + 1}`);
      return events.length - last;
    }
    const same =
      entry.tenant === tenant &&
      entry.partition === stored.partition &&
      entry.offset === stored.offset &&
      entry.time === time &&
      Buffer.compare(entry.event, stored.bytes ?? new Uint8Array(0)) === 0;
    if (!same) problems.push(`invariant 9: entry ${at + 1} of audit.${tenant} is not what the history says (${event.type} at ${stored.offset})`);
    hash = link(hash, entry);
    if (Buffer.compare(hash, entry.hash) !== 0) {
      problems.push(`invariant 9: the chain of audit.${tenant} breaks at ${at + 1}`);
      return events.length - last;
    }
  }
  return Math.max(0, events.length - last);
}

export function link(previous: Uint8Array, { tenant, sequence, partition, offset, time, event }: Linked): Uint8Array {
  const name = Buffer.from(tenant);
  const numbers = Buffer.alloc(40);
  numbers.writeUInt32BE(name.byteLength, 0);
  numbers.writeBigInt64BE(BigInt(sequence), 4);
  numbers.writeInt32BE(partition, 12);
  numbers.writeBigInt64BE(BigInt(offset), 16);
  numbers.writeBigInt64BE(BigInt(time), 24);
  numbers.writeBigUInt64BE(BigInt(event.byteLength), 32);
  return createHash('sha256').update(previous).update('evenkeel-audit-v1').update(numbers).update(name).update(event).digest();
}
