/**
 * A calm world with endless backlogs: tenants whose requests cost far less than was held for them get as much money's worth as the
 * others, by weight. Faults would hide a drift of shares, so there are none.
 */
import type { Fault } from './faults.ts';
import type { Mutation } from './mutants.ts';
import type { Report } from './run.ts';
import { createTenant, request, TENANTS } from './traffic.ts';
import { World } from './world.ts';

/** What a step costs, of the same worst case; so many requests wait that none runs dry before the end. */
const COSTS = [
  { cost: 225, weight: 100, backlog: 160 },
  { cost: 450, weight: 100, backlog: 80 },
  { cost: 900, weight: 200, backlog: 80 },
] as const;
const IN_FLIGHT = 6;
const DEADLINE_MS = 600_000;
/** Jain's index of shares by weight: 1 is even. */
const LEAST_EVEN = 0.985;

export async function shares(seed: number, mutation: Mutation, tally: Map<Fault, number>): Promise<Report> {
  const world = new World(seed, mutation, tally, { from: IN_FLIGHT, to: IN_FLIGHT });
  world.faults.healed = true;
  world.steps = 1;
  world.maxBatch = 50;
  const of = (tenant: string) => COSTS[TENANTS.indexOf(tenant as (typeof TENANTS)[number])] as (typeof COSTS)[number];
  world.price = (tenant) => ({ money: of(tenant).cost, tokens: 1 });
  const loose = { requestCeiling: 900, budgetDay: 1e12, budgetMonth: 1e12, maxInFlight: 100, requestsPerSecond: 1_000, burst: 1_000 };
  for (const tenant of TENANTS) world.produce(createTenant(tenant, { ...loose, weight: of(tenant).weight }));
  world.rebalance();
  await world.time.run(1_000);
  let at = 0;
  for (const [index, { backlog }] of COSTS.entries())
    for (let left = backlog; left > 0; left--)
      world.produce(request(++at * 2 + 1, { tenant: TENANTS[index] as never, conversation: `own-${at}`, deadlineMs: DEADLINE_MS }));
  const books = () => [...world.model.tenants.values()];
  const settled = () => TENANTS.map((tenant) => world.model.tenants.get(tenant)?.balance('total total').settled ?? 0);
  await world.time.run(DEADLINE_MS / 2, () => world.problems.length > 0 || accepted(world) === at);
  const before = settled();
  await world.time.run(DEADLINE_MS / 2, () => world.problems.length > 0 || books().some(({ queued }) => queued === 0));
  const served = settled().map((sum, index) => (sum - (before[index] ?? 0)) / (COSTS[index]?.weight ?? 1));
  const even = jain(served);
  if (!(even > LEAST_EVEN)) world.problem(`fair shares: ${served.map(Math.round).join(', ')} by weight, evenness ${even.toFixed(3)}`);
  world.owner?.die();
  return { seed, problems: world.problems, requests: at, transactions: world.model.transactions, endings: world.model.endings };
}

const accepted = (world: World): number => world.model.covered('support.requests');

function jain(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + value, 0);
  return sum ** 2 / (values.length * values.reduce((total, value) => total + value ** 2, 0));
}
