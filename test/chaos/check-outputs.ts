/** One result a request and its own words (invariant 1), and nothing of an old owner after a new one's first commit (invariant 6). */
import type { Life, PartitionHistory } from './check-history.ts';
import { type Evidence, ofPartition, type Stored } from './evidence.ts';

export function checkOutputs(evidence: Evidence, partition: number, { lives }: PartitionHistory): string[] {
  const problems: string[] = [];
  const byId = Map.groupBy(lives, ({ tenant, request }) => `${tenant}/${request}`);
  checkResults(ofPartition(evidence, 'support.results', partition), byId, problems);
  checkWords(ofPartition(evidence, 'support.steps', partition), byId, problems);
  return problems;
}

/** The same id may live again once it is forgotten: then it has as many results. */
type Lives = ReadonlyMap<string, readonly Life[]>;

function checkResults(records: readonly Stored[], lives: Lives, problems: string[]): void {
  const results = new Map<string, number>();
  for (const { decoded, offset } of records) {
    if (decoded?.name !== 'support_result') {
      problems.push(`invariant 1: offset ${offset} of the results is no result`);
      continue;
    }
    const { tenant, request, outcome, cost, person } = decoded.value;
    const id = `${tenant}/${request}`;
    const at = results.get(id) ?? 0;
    results.set(id, at + 1);
    const life = lives.get(id)?.[at];
    if (!life?.finished) problems.push(`invariant 1: a result of ${id}, which has ${at} ends`);
    else if (life.finished.outcome !== outcome || life.finished.cost !== cost || life.person !== person)
      problems.push(`invariant 1: the result of ${id} says ${outcome} at ${cost}, the history ${life.finished.outcome} at ${life.finished.cost}`);
  }
  for (const [id, each] of lives) {
    const ends = each.filter(({ finished }) => finished).length;
    if ((results.get(id) ?? 0) < ends) problems.push(`invariant 1: ${id} ended, and has ${results.get(id) ?? 0} of ${ends} results`);
  }
}

function checkWords(records: readonly Stored[], lives: Lives, problems: string[]): void {
  const words = new Map<string, number>();
  for (const { decoded } of records) {
    if (decoded?.name !== 'support_step') continue;
    const { tenant, request, step, attempt } = decoded.value;
    const key = `${tenant}/${request} ${step === 'message' ? step : `${step}/${attempt}`}`;
    words.set(key, (words.get(key) ?? 0) + 1);
  }
  for (const [id, each] of lives) {
    const steps = each.flatMap(({ finishedSteps }) => ['message', ...finishedSteps]);
    for (const [step, times] of Map.groupBy(steps, (step) => step)) {
      const found = words.get(`${id} ${step}`) ?? 0;
      words.delete(`${id} ${step}`);
      if (found !== times.length) problems.push(`invariant 10: the words of ${id}, ${step}, stand there ${found} times`);
    }
  }
  for (const key of words.keys()) problems.push(`invariant 10: words of ${key}, which the history does not know`);
}

const OWNED = ['tenant.events', 'support.steps', 'support.results', 'support.dead-letters', 'support.requests'];

/**
 * The fences as the broker wrote them: each owner has a producer epoch of its own, higher than the last. Within a topic an older one never
 * follows a newer one; across topics it was not appended later than the newer one's first record in the history.
 */
export function checkOwners(evidence: Evidence): string[] {
  const problems: string[] = [];
  /** Of each producer id: its epochs, and when the broker first appended a record of theirs to the history. */
  const first = new Map<string, Map<number, number>>();
  const owners = new Map<number, string[]>();
  for (const { partition, producer, timestamp } of evidence.topics['tenant.events'] ?? []) {
    const ids = owners.get(partition) ?? [];
    owners.set(partition, ids);
    if (ids.at(-1) !== producer.id) {
      if (ids.includes(producer.id)) problems.push(`invariant 6: partition ${partition}: producer ${producer.id} writes again after its successor`);
      ids.push(producer.id);
    }
    const epochs = first.get(producer.id) ?? new Map<number, number>();
    first.set(producer.id, epochs);
    if (!epochs.has(producer.epoch)) epochs.set(producer.epoch, timestamp);
  }
  for (const topic of OWNED) {
    const newest = new Map<string, number>();
    for (const { partition, offset, producer, timestamp } of evidence.topics[topic] ?? []) {
      const epochs = first.get(producer.id);
      if (!epochs) continue;
      const key = `${partition}/${producer.id}`;
      const before = newest.get(key) ?? producer.epoch;
      if (producer.epoch < before) problems.push(`invariant 6: ${topic}/${partition} at ${offset}: epoch ${producer.epoch} writes after ${before}`);
      newest.set(key, Math.max(before, producer.epoch));
      const late = [...epochs].find(([epoch, began]) => epoch > producer.epoch && timestamp > began);
      if (late) problems.push(`invariant 6: ${topic}/${partition} at ${offset}: epoch ${producer.epoch} writes after the first commit of ${late[0]}`);
    }
  }
  return problems;
}
