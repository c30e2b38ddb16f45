/** One world from its seed: trouble, healing, then a last look at everything. */
import { checkBooks, checkDisk, followerOf } from './check.ts';
import type { Fault } from './faults.ts';
import { type Mutation, NO_MUTATION } from './mutants.ts';
import { MAX_OUTPUT_BYTES } from './process.ts';
import { shares } from './shares.ts';
import { anyCommand, anyRequest, createTenant, isReport, otherCommand, type Produced, poisoned, pressure, request, resume, TENANTS } from './traffic.ts';
import { World } from './world.ts';

/** Virtual ms. */
const TROUBLE = 20_000;
const HEALING = 180_000;
const SETTLING = 1_000;
/** A reader beside the owner, in so many worlds. */
const FOLLOWED = 0.3;
const LAST_DEADLINE = 2_000;
/** A deadline that nothing stands in the way of falls within these. */
const LATEST = 1_000;
/** One world of so many is calm, and asks for fair shares alone. */
const CALM_EVERY = 100;

export type Report = {
  readonly seed: number;
  readonly problems: readonly string[];
  readonly requests: number;
  readonly transactions: number;
  readonly endings: ReadonlyMap<string, number>;
};

export function simulate(seed: number, mutation: Mutation = NO_MUTATION, tally = new Map<Fault, number>()): Promise<Report> {
  const calm = mutation.world === 'shares' || (!mutation.world && seed % CALM_EVERY === 0);
  return calm ? shares(seed, mutation, tally) : troubled(seed, mutation, tally);
}

async function troubled(seed: number, mutation: Mutation, tally: Map<Fault, number>): Promise<Report> {
  const world = new World(seed, mutation, tally);
  const requests = plan(world);
  const follower = world.chance.next() < FOLLOWED ? await followerOf(world) : undefined;
  world.rebalance();
  await world.time.run(TROUBLE, () => world.problems.length > 0);
  heal(world);
  await world.time.run(TROUBLE + HEALING, () => world.problems.length > 0 || quiet(world));
  if (world.problems.length === 0 && quiet(world)) await lastCall(world, requests);
  // The last transaction's store write and answers.
  await world.time.run(world.time.now + SETTLING, () => world.problems.length > 0);
  return { seed, problems: await judge(world, follower), requests, transactions: world.model.transactions, endings: world.model.endings };
}

/** Everything that producers, operators and misfortune will do, at its time. */
function plan(world: World): number {
  const { chance, faults, time } = world;
  const limits = pressure(chance);
  for (const tenant of TENANTS) world.produce(createTenant(tenant, limits));
  const soon = (record: Produced) => time.after(chance.next() * TROUBLE, () => produceOnceCreated(world, record));
  const requests = chance.between(25, 70);
  for (let at = 0; at < requests; at++) {
    if (faults.strikes('record that cannot be decided')) {
      soon(poisoned(chance, at, MAX_OUTPUT_BYTES));
      continue;
    }
    const record = anyRequest(chance, at);
    soon(record);
    if (faults.strikes('request repeated')) soon(record);
    if (faults.strikes('request repeated with another body')) soon(otherBody(record));
  }
  for (let at = chance.below(15); at > 0; at--) {
    const command = anyCommand(chance, at);
    soon(command);
    if (faults.strikes('command repeated')) soon(command);
    if (!isReport(command) && faults.strikes('command repeated with another body')) soon(otherCommand(command));
  }
  const often = (most: number, what: () => void) => {
    for (let at = chance.below(most + 1); at > 0; at--) time.after(chance.next() * TROUBLE, what);
  };
  often(6, () => world.rebalance());
  often(3, () => world.moveLeader());
  often(3, () => world.compactSnapshots());
  if (chance.next() < 0.2) often(2, () => world.stepClock());
  return requests;
}

function otherBody(record: Produced): Produced {
  return record.input.kind === 'request' ? { ...record, input: { ...record.input, bodyDigest: 'another' }, digest: 'another' } : record;
}

/** Nobody can sign for a tenant before its creation has committed. */
function produceOnceCreated(world: World, record: Produced): void {
  const known = world.model.tenants.get(record.input.tenant)?.created || record.poison === 'unknown';
  if (known) world.produce(record);
  else world.time.after(100, () => produceOnceCreated(world, record));
}

function heal(world: World): void {
  world.faults.healed = true;
  world.leaderless = 0;
  world.setClockRight();
  for (const tenant of TENANTS) world.produce(resume(tenant, `resume-${tenant}`));
}

/** Nothing else happens any more, and a deadline falls all the same. */
async function lastCall(world: World, at: number): Promise<void> {
  const began = world.time.now;
  const refused = world.model.refusals.get('deadline_expired') ?? 0;
  world.hangs = true;
  // A commit, whose reply says what the broker's clock is now.
  for (const tenant of TENANTS) world.produce(resume(tenant, `once-more-${tenant}`));
  await world.time.run(began + LATEST, () => quiet(world));
  for (const [index, tenant] of TENANTS.entries()) world.produce(request(at + index, { tenant, conversation: 'last', deadlineMs: LAST_DEADLINE }));
  await world.time.run(began + LAST_DEADLINE + 2 * LATEST, () => world.problems.length > 0);
  const late = world.model.refusals.get('deadline_expired') ?? 0;
  if (late > refused) world.problem(`liveness: ${late - refused} requests are refused as late at once`);
  if (world.model.open > 0) world.problem(`liveness: ${world.model.open} requests are open ${LATEST} ms past their deadline`);
}

function quiet(world: World): boolean {
  return world.model.open === 0 && [...world.producedCounts()].every(([topic, count]) => world.model.covered(topic) === count);
}

async function judge(world: World, follower: Awaited<ReturnType<typeof followerOf>> | undefined): Promise<readonly string[]> {
  if (world.problems.length > 0) return world.problems;
  world.model.finish(world.producedCounts());
  const { owner } = world;
  if (!owner?.task) return ['liveness: the last owner is not open'];
  const checks = [checkBooks(world, owner.task), await checkDisk(world, owner.disk.stores), (await follower?.check()) ?? []];
  for (const problem of checks.flat()) world.problem(problem);
  return world.problems;
}
