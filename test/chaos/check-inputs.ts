/**
 * What became of each input: invariant 2, and of each acknowledged one: invariant 10. An offset below the committed one is queued, refused,
 * a duplicate, published again on its own partition, or in dead letters; and no verdict stands there without its record.
 */
import type { Committed, Entry, PartitionHistory } from './check-history.ts';
import { type Evidence, ofPartition, type Stored } from './evidence.ts';

const REQUESTS = 'support.requests';
const COMMANDS = 'tenant.commands';
const REROUTED = 'ek-rerouted';
const VERDICTS: ReadonlySet<string> = new Set(['request_queued', 'request_refused', 'request_conflicted']);

type Found = { readonly problems: string[]; readonly lag: number };

export function checkInputs(evidence: Evidence, partition: number, history: PartitionHistory): Found {
  const problems: string[] = [];
  const letters = deadLetters(evidence, partition, problems);
  let lag = 0;
  for (const topic of [REQUESTS, COMMANDS]) {
    const records = ofPartition(evidence, topic, partition);
    const covered = walk(evidence, topic, records, history.transactions, letters, problems);
    const { before, after } = evidence.committed[`${topic}/${partition}`] ?? { before: 0, after: 0 };
    lag += records.filter(({ offset }) => offset >= before).length;
    if (covered < before || covered > after)
      problems.push(
        `invariant 2: ${topic}/${partition}: the group stands at ${before === after ? before : `${before} to ${after}`}, the history at ${covered}`,
      );
  }
  return { problems, lag };
}

/** By `topic/offset`. */
function deadLetters(evidence: Evidence, partition: number, problems: string[]): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { decoded } of evidence.topics['support.dead-letters'] ?? []) {
    if (decoded?.name !== 'dead_letter' || decoded.value.partition !== partition) continue;
    const at = `${decoded.value.topic}/${decoded.value.offset}`;
    if (found.has(at)) problems.push(`invariant 2: ${at} of partition ${partition} is twice in dead letters`);
    found.add(at);
  }
  return found;
}

/** Each transaction against the records that it says it has consumed. Returns the offset that is covered at the end. */
function walk(
  evidence: Evidence,
  topic: string,
  records: readonly Stored[],
  transactions: readonly Committed[],
  letters: ReadonlySet<string>,
  problems: string[],
): number {
  const known = new Set<string>();
  let [covered, at] = [0, 0];
  for (const { inputs, events } of transactions) {
    const next = inputs.get(topic) ?? covered;
    if (next < covered) problems.push(`invariant 2: ${topic} goes back from ${covered} to ${next}`);
    const verdicts = topic === REQUESTS ? verdictsOf(events) : commandsOf(events);
    for (let record = records[at]; record && record.offset < next; record = records[++at])
      judge(evidence, record, verdicts, known, letters.has(`${topic}/${record.offset}`), problems);
    for (const [id, left] of verdicts)
      if (left.length > 0) problems.push(`invariant 2: ${left.map(({ event }) => event.type).join(', ')} of ${id} follows from no record of ${topic}`);
    for (const { event } of events) if (event.type === 'request_forgotten') known.delete(`${event.tenant}/${event.request}`);
    covered = Math.max(covered, next);
  }
  return covered;
}

function verdictsOf(events: readonly Entry[]): Map<string, Entry[]> {
  return Map.groupBy(
    events.filter(({ event }) => VERDICTS.has(event.type)),
    ({ event }) => `${event.tenant}/${(event as { request: string }).request}`,
  );
}
function commandsOf(events: readonly Entry[]): Map<string, Entry[]> {
  return Map.groupBy(
    events.filter(({ event }) => 'command' in event || event.type === 'refusals_reported'),
    ({ event }) => `${event.tenant}/${event.type === 'refusals_reported' ? reportOf(event) : (event as { command: string }).command}`,
  );
}
/** A gateway's count of refusals has no command's name in the history: what it says is what it is known by. */
const reportOf = ({ by, limitName, count, since }: { by: string; limitName: string; count: number; since: number }) =>
  `${count} refusals by ${limitName} since ${since}, told by ${by}`;

function judge(evidence: Evidence, record: Stored, verdicts: Map<string, Entry[]>, known: Set<string>, letter: boolean, problems: string[]): void {
  const where = `${record.topic}/${record.partition} at ${record.offset}`;
  if (letter) return;
  const { decoded } = record;
  if (!decoded) return void problems.push(`invariant 2: ${where} cannot be read, and is in no dead letter`);
  if (decoded.name === 'report_refusals') return report(decoded.value, where, verdicts, problems);
  if (decoded.name !== 'support_request') return command(decoded.value, where, verdicts, known, problems);
  const { tenantId, person, requestId } = decoded.value;
  if (evidence.partitionOf(tenantId) !== record.partition && !record.headers[REROUTED]) return published(evidence, record, tenantId, where, problems);
  const id = `${tenantId}/${evidence.idOf(tenantId, person, requestId)}`;
  const [verdict, ...left] = verdicts.get(id) ?? [];
  const repeat = known.has(id);
  // Its repeat changes nothing; only one with another body is told so.
  if (repeat && verdict?.event.type !== 'request_conflicted') return;
  verdicts.set(id, left);
  if (!repeat && (!verdict || verdict.event.type === 'request_conflicted')) problems.push(`invariant 2: ${where} (${id}) is consumed, and has no verdict`);
  if (verdict?.event.type === 'request_queued') known.add(id);
}

function command(value: object, where: string, verdicts: Map<string, Entry[]>, known: Set<string>, problems: string[]): void {
  const { tenantId, commandId } = value as { tenantId: string; commandId: string };
  const id = `${tenantId}/${commandId}`;
  const found = verdicts.get(id) ?? [];
  if (found.length === 0 && !known.has(id)) problems.push(`invariant 2: ${where} (${id}) is consumed, and has no answer`);
  if (known.has(id)) return;
  known.add(id);
  verdicts.delete(id);
}

/** Each is counted, and refused when it makes no sense. */
function report(
  value: Parameters<typeof reportOf>[0] & { tenantId: string; commandId: string },
  where: string,
  verdicts: Map<string, Entry[]>,
  problems: string[],
) {
  const ids = [`${value.tenantId}/${reportOf(value)}`, `${value.tenantId}/${value.commandId}`];
  const id = ids.find((each) => (verdicts.get(each)?.length ?? 0) > 0);
  if (id === undefined) problems.push(`invariant 2: ${where} (${ids[0]}) is consumed, and is not counted`);
  else verdicts.set(id, verdicts.get(id)?.slice(1) ?? []);
}

/** Once, byte for byte, on the partition of its tenant. */
function published(evidence: Evidence, record: Stored, tenant: string, where: string, problems: string[]): void {
  const same = (other: Stored) => Buffer.compare(other.bytes ?? new Uint8Array(0), record.bytes ?? new Uint8Array(0)) === 0;
  const copies = ofPartition(evidence, REQUESTS, evidence.partitionOf(tenant)).filter((other) => other.headers[REROUTED] !== undefined && same(other));
  const originals = (evidence.topics[REQUESTS] ?? []).filter(
    (other) => !other.headers[REROUTED] && other.partition !== evidence.partitionOf(tenant) && same(other),
  );
  if (copies.length !== originals.length)
    problems.push(`invariant 2: ${where} is one of ${originals.length} on a foreign partition, and ${copies.length} were published again`);
}

/** Invariant 10: what a client was told of is in the history, once (twice was seen on the walk). */
export function checkAcknowledged(evidence: Evidence, histories: readonly PartitionHistory[]): string[] {
  const problems: string[] = [];
  const [queued, refused] = [new Set<string>(), new Set<string>()];
  for (const { transactions } of histories)
    for (const { event } of transactions.flatMap(({ events }) => events)) {
      if (event.type === 'request_queued') queued.add(`${event.tenant}/${event.request}`);
      if (event.type === 'request_refused') refused.add(`${event.tenant}/${event.request}`);
    }
  const produced = new Map((evidence.topics[REQUESTS] ?? []).map((record) => [`${record.partition}/${record.offset}`, record]));
  for (const { tenant, request, said, at } of evidence.acknowledged) {
    const id = `${tenant}/${request}`;
    if (at && !produced.has(`${at.partition}/${at.offset}`))
      problems.push(`invariant 10: ${id} was acknowledged at ${at.partition}/${at.offset}, and is not there`);
    if (queued.has(id)) continue;
    if (said === 'queued') problems.push(`invariant 10: ${id} was acknowledged as queued, and the history does not know it`);
    else if (!refused.has(id)) problems.push(`invariant 10: ${id} was acknowledged (${said}), and is neither queued nor refused`);
  }
  return problems;
}
