/**
 * An independent reading of the log: it shares no code with the engine's decide, evolve or fold. It knows what a history must look like.
 */
import type { Event } from '#schemas/events.ts';
import { Folder } from '#streams/engine/fold.ts';
import { HistoryReader } from '#streams/engine/history.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { CAP, codec, HISTORY, machine, type Process, REQUESTS, TENANT_CAP, type World } from './world.ts';

/** Of a run's requests at least so many are answered: a world in which nothing works breaks no other invariant. */
const LEAST_ANSWERED = 10;

type Request = { queued: number; finished: number; holds: number; settled: number; held: number; costs: number };

export async function check(world: World, limits: Record<string, number>): Promise<string[]> {
  const problems = [...world.problems];
  const records = world.broker.partition(HISTORY, 0).records;
  const requests = new Map<string, Request>();
  const balances = new Map<string, { settled: number; held: number }>();
  let [batch, left, covered, running, answered] = [0, 0, 0, 0, 0];
  const refused = new Map<string, number>();
  const flying = new Map<string, number>();
  const request = (id: string): Request => {
    const found = requests.get(id) ?? { queued: 0, finished: 0, holds: 0, settled: 0, held: 0, costs: 0 };
    requests.set(id, found);
    return found;
  };
  const move = (tenant: string, day: string, settled: number, held: number) => {
    const balance = balances.get(`${tenant} ${day}`) ?? { settled: 0, held: 0 };
    balance.settled += settled;
    balance.held += held;
    balances.set(`${tenant} ${day}`, balance);
    return balance;
  };
  const one = (event: Event) => {
    switch (event.type) {
      case 'request_queued':
        request(event.request).queued++;
        break;
      case 'request_refused':
        refused.set(event.request, (refused.get(event.request) ?? 0) + 1);
        break;
      case 'hold_placed': {
        const r = request(event.request);
        r.holds++;
        r.held = event.amount;
        running++;
        flying.set(event.tenant, (flying.get(event.tenant) ?? 0) + 1);
        if ((flying.get(event.tenant) ?? 0) > TENANT_CAP) problems.push(`invariant 7: ${event.tenant} has more in flight than ${TENANT_CAP}`);
        if (running > CAP) problems.push(`invariant 7: ${running} run under a cap of ${CAP}`);
        const { settled, held } = move(event.tenant, event.day, 0, event.amount);
        const limit = limits[event.tenant] ?? Number.POSITIVE_INFINITY;
        if (event.amount > 0 && settled + held > limit) problems.push(`invariant 4: ${event.tenant} has ${settled} + ${held} of ${limit}`);
        break;
      }
      case 'cost_recorded': {
        const r = request(event.request);
        if (r.finished) problems.push(`invariant 4: a cost of ${event.request} after its end`);
        r.costs += event.amount;
        r.held -= event.amount;
        if (r.held < 0) problems.push(`invariant 4: ${event.request} spent more than was held`);
        move(event.tenant, event.day, event.amount, -event.amount);
        break;
      }
      case 'hold_settled': {
        const r = request(event.request);
        r.settled++;
        running--;
        flying.set(event.tenant, (flying.get(event.tenant) ?? 0) - 1);
        if (event.settled !== r.costs) problems.push(`invariant 4: ${event.request} settled at ${event.settled}, its costs are ${r.costs}`);
        move(event.tenant, event.day, 0, -r.held);
        break;
      }
      case 'request_finished':
        request(event.request).finished++;
        if (event.outcome === 'answered') answered++;
        break;
      default:
    }
  };
  for (const { value } of records) {
    const { name, value: body } = codec.decode(value ?? new Uint8Array(0));
    if (name === 'batch') {
      if (left !== 0) problems.push(`invariant 10: batch ${batch} lacks ${left} events`);
      if (body.number !== batch + 1) problems.push(`invariant 10: batch ${body.number} after ${batch}`);
      batch = body.number;
      left = body.events;
      for (const { topic, next } of body.inputs)
        if (topic === REQUESTS) {
          if (next <= covered) problems.push(`invariant 2: offset ${next} after ${covered}`);
          covered = next;
        }
    } else {
      left--;
      one({ type: name, ...body } as Event);
    }
  }
  if (answered < LEAST_ANSWERED) problems.push(`only ${answered} requests were answered`);
  const produced = world.broker.partition(REQUESTS, 0).records.length;
  if (covered !== produced) problems.push(`invariant 2 and 11: ${covered} of ${produced} records are covered`);
  for (const [id, r] of requests) {
    if (r.queued !== 1) problems.push(`invariant 10: ${id} was queued ${r.queued} times`);
    if (r.finished !== 1) problems.push(`invariant 1: ${id} ended ${r.finished} times`);
    if (r.holds > 1 || r.holds !== r.settled) problems.push(`invariant 4: ${id} has ${r.holds} holds and ${r.settled} settlements`);
  }
  for (const [at, { held }] of balances) if (held !== 0) problems.push(`invariant 4: ${at} still holds ${held}`);
  if (world.peak > CAP) problems.push(`invariant 7: ${world.peak} effects ran at once in one process`);
  checkResults(world, problems, requests);
  if (world.owner) problems.push(...(await compareState(world, world.owner)));
  return problems;
}

/** One result a request, with its own words. */
function checkResults(world: World, problems: string[], requests: ReadonlyMap<string, Request>): void {
  const seen = new Set<string>();
  for (const { value } of world.broker.partition('support.results', 0).records) {
    const { name, value: body } = codec.decode(value ?? new Uint8Array(0));
    if (name !== 'support_result') problems.push(`${name} among the results`);
    else {
      if (seen.has(body.request)) problems.push(`invariant 1: two results of ${body.request}`);
      seen.add(body.request);
      const words = body.sealed ? Buffer.from(body.sealed).toString() : '';
      const at = Number(body.request.slice(2));
      if (body.outcome === 'answered' && !words.includes(`question ${at} of ${body.tenant}`))
        problems.push(`invariant 8: the result of ${body.request} says ${words}`);
    }
  }
  if (seen.size !== requests.size) problems.push(`invariant 1: ${seen.size} results of ${requests.size} requests`);
}

/** Invariants 3 and 5: a fresh fold of the log has the same bytes as the live store. */
async function compareState(world: World, owner: Process): Promise<string[]> {
  if (!owner.task) return ['the last owner never opened'];
  const fresh = await memoryStores().open(0);
  const folder = new Folder(machine, fresh, 1);
  const reader = new HistoryReader(machine);
  for (const record of world.broker.partition(HISTORY, 0).records) {
    const transaction = reader.push(record);
    if (transaction) folder.add(transaction);
  }
  folder.flush();
  const dump = (store: typeof fresh) =>
    [...store.entries()].filter(([table]) => table !== 'words').map(([table, key, value]) => `${table} ${key} ${Buffer.from(value).toString('hex')}`);
  const [live, folded] = [dump(owner.task.store), dump(fresh)];
  const different = live.find((line, at) => line !== folded[at]);
  return live.length === folded.length && !different
    ? []
    : [`invariant 3 and 5: the live state differs from a fresh fold: ${different ?? `${live.length} and ${folded.length} rows`}`];
}
