import { check } from './check.ts';
import { createTenant, type Faults, type Mutation, produce, requestInput, TENANT_CAP, TENANTS, World } from './world.ts';

const REQUESTS_A_RUN = 60;
const FAULTS: Faults = { lostRequest: 0.05, lostReply: 0.05, crash: 0.02, stepFails: 0.05 };
/** Virtual ms. */
const TROUBLE = 20_000;
const HEALING = 900_000;

/** One world from its seed: trouble, healing, then an independent look at the log. Returns what is wrong with it. */
export async function simulate(seed: number, mutation: Mutation = 'none'): Promise<string[]> {
  const world = new World(seed, FAULTS, mutation);
  const budget = 20_000 + Math.floor(world.random() * 60_000);
  const limits = Object.fromEntries(TENANTS.map((tenant) => [tenant, budget]));
  for (const tenant of TENANTS)
    produce(world, createTenant(tenant, { budgetDay: budget, requestCeiling: 2_000, maxInFlight: TENANT_CAP, requestsPerSecond: 50 }));
  await world.rebalance(false);
  for (let at = 0; at < REQUESTS_A_RUN; at++) {
    const input = requestInput(world, at);
    world.time.after(world.random() * TROUBLE * 0.8, () => produce(world, input));
    if (world.random() < 0.2) world.time.after(world.random() * TROUBLE, () => produce(world, input));
  }
  for (let at = 0; at < 4; at++) world.time.after(world.random() * TROUBLE, () => void world.rebalance(world.random() < 0.5));
  await world.time.run(() => false, TROUBLE);
  world.healed = true;
  const owner = world.owner;
  if (!owner?.alive) await world.rebalance(true);
  await world.time.run(() => false, HEALING);
  return check(world, limits);
}
