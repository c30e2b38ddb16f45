/**
 * Judges a stretch of the platform's life by its topics alone: invariants 1, 2, 4, 6, 7, 9 and 10. It imports schemas and nothing of the
 * engine or of a service, so that it cannot share their mistakes. (3 and 5 compare with a live state: `replay verify`.)
 */
import { checkAudit } from './check-audit.ts';
import { PartitionHistory } from './check-history.ts';
import { checkAcknowledged, checkInputs } from './check-inputs.ts';
import { checkOutputs, checkOwners } from './check-outputs.ts';
import { type Evidence, type Judged, ofPartition } from './evidence.ts';

export function judge(evidence: Evidence): Judged {
  const problems: string[] = [];
  let [inputs, requests] = [0, 0];
  const histories = Array.from({ length: evidence.partitions }, (_, partition) => {
    const history = new PartitionHistory(evidence, partition);
    for (const stored of ofPartition(evidence, 'tenant.events', partition)) history.take(stored);
    requests += history.end();
    const found = checkInputs(evidence, partition, history);
    inputs += found.lag;
    problems.push(...history.problems, ...found.problems, ...checkOutputs(evidence, partition, history));
    return history;
  });
  const audit = checkAudit(evidence, histories);
  problems.push(...checkOwners(evidence), ...checkAcknowledged(evidence, histories), ...audit.problems);
  const lives = histories.flatMap((history) => history.lives);
  const events = histories.flatMap(({ transactions }) => transactions.flatMap((each) => each.events));
  const seen = {
    events: events.length,
    transactions: histories.reduce((sum, { transactions }) => sum + transactions.length, 0),
    queued: lives.length,
    ended: lives.filter(({ finished }) => finished).length,
    refused: events.filter(({ event }) => event.type === 'request_refused').length,
    letters: evidence.topics['support.dead-letters']?.length ?? 0,
    owners: new Set((evidence.topics['tenant.events'] ?? []).map(({ partition, producer }) => `${partition}/${producer.id}/${producer.epoch}`)).size,
    acknowledged: evidence.acknowledged.length,
  };
  return { problems, open: { inputs, requests, audit: audit.lag }, seen };
}
