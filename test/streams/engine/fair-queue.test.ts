import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MicroUsd, TenantId } from '#schemas/ids.ts';
import { FairQueue, type Head, keptSlots } from '#streams/engine/fair-queue.ts';
import { isBlocked } from '#streams/engine/machine.ts';
import { random } from '../../simulation/time.ts';

const tenant = (name: string) => name as TenantId;
const ready = (item: string): Head => ({ cost: 100 as MicroUsd, item });

type Tenant = {
  weight: number;
  readonly estimate: number;
  /** What a request really costs. */
  readonly actual: number;
  /** The tenant's own cap. */
  readonly most: number;
  waiting: number;
  running: number;
  spent: number;
  served: number;
};
const newTenant = (of: Partial<Tenant> = {}): Tenant => ({
  weight: 1,
  estimate: 100,
  actual: 100,
  most: Number.POSITIVE_INFINITY,
  waiting: Number.POSITIVE_INFINITY,
  running: 0,
  spent: 0,
  served: 0,
  ...of,
});

function* inPages(all: readonly TenantId[], size: number): Generator<readonly TenantId[], undefined> {
  for (let at = 0; at < all.length; at += size) yield all.slice(at, at + size);
  return undefined;
}

/** What the task does with the queue: dispatches while a slot is free, charges, touches. */
class Desk {
  readonly tenants: Record<string, Tenant>;
  readonly slots: number;
  readonly queue: FairQueue;
  readonly flying: string[] = [];

  /** `unasked`: of so many at a time the heads are looked up as they are needed, as at an opening; otherwise of all at once. */
  constructor(slots: number, tenants: Record<string, Tenant>, unasked?: number) {
    this.slots = slots;
    this.tenants = tenants;
    const all = Object.keys(tenants).map(tenant);
    this.queue = new FairQueue((name) => this.head(name), unasked === undefined ? undefined : inPages(all, unasked));
    if (unasked === undefined) for (const name of all) this.queue.touch(name, 0);
  }

  of(name: string): Tenant {
    return this.tenants[name] as Tenant;
  }
  head(name: string): Head {
    const { waiting, running, most } = this.of(name);
    if (waiting === 0) return undefined;
    return running < most ? ready(`${name}-next`) : { limit: 'in_flight', until: undefined };
  }
  isReady(name: string): boolean {
    const head = this.head(name);
    return head !== undefined && !isBlocked(head);
  }
  /** What the queue orders by. */
  rank(name: string): number {
    const { spent, running, estimate, weight } = this.of(name);
    return (spent + running * estimate) / weight;
  }

  arrive(name: string, count = 1): void {
    this.of(name).waiting += count;
    this.queue.touch(tenant(name), 0);
  }

  /** One dispatch; undefined when no slot is free, or none for the first of those that are ready. */
  dispatch(): string | undefined {
    const free = this.slots - this.flying.length;
    if (free <= 0) return undefined;
    const next = this.queue.next(0, Number.isFinite(free) && free <= keptSlots(this.slots));
    if (!('tenant' in next)) return undefined;
    const of = this.of(next.tenant);
    of.waiting--;
    of.running++;
    of.served++;
    this.flying.push(next.tenant);
    this.queue.charge(next.tenant, { held: of.estimate, spent: 0 }, of.weight);
    this.queue.touch(next.tenant, 0);
    return next.tenant;
  }

  finish(at: number): void {
    const [name] = this.flying.splice(at, 1);
    if (name === undefined) return;
    const of = this.of(name);
    of.running--;
    of.spent += of.actual;
    this.queue.charge(tenant(name), { held: -of.estimate, spent: of.actual }, of.weight);
    this.queue.touch(tenant(name), 0);
  }
}

const names = ['a', 'b', 'c', 'd', 'e'];
/** Estimates are worst cases: up to a hundred times what is spent. */
const money = fc.record({
  weight: fc.constantFrom(0.5, 1, 2, 5),
  estimate: fc.integer({ min: 100, max: 1_000 }),
  share: fc.double({ min: 0.01, max: 1, noNaN: true }),
});
const tenantOf = ({ weight, estimate, share }: { weight: number; estimate: number; share: number }, of: Partial<Tenant> = {}) =>
  newTenant({ weight, estimate, actual: Math.ceil(estimate * share), ...of });
const named = (tenants: readonly Tenant[]) => Object.fromEntries(tenants.map((each, at) => [names[at] as string, each]));

describe('shares follow cost and weight', () => {
  test('tenants that always wait have spent the same for their weight, but for what runs: however long, whatever was refunded', () => {
    fc.assert(
      fc.property(fc.array(money, { minLength: 2, maxLength: 5 }), fc.integer({ min: 1, max: 12 }), fc.nat(), (of, slots, seed) => {
        const desk = new Desk(slots, named(of.map((each) => tenantOf(each))));
        const choose = random(seed);
        // Whoever is dispatched was not ahead of the others by more than what they are held for; what it is held for then, it spends at most.
        const most = (each: Tenant) => (slots * each.estimate) / each.weight;
        for (let round = 0; round < 3_000; round++) {
          while (desk.dispatch() !== undefined);
          desk.finish(Math.floor(choose() * desk.flying.length));
          if (round % 100 > 0) continue;
          const all = Object.values(desk.tenants);
          for (const a of all) for (const b of all) expect(a.spent / a.weight - b.spent / b.weight).toBeLessThanOrEqual(a.estimate / a.weight + most(b) + 1e-6);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('a weight that changes while work runs leaves nothing behind: shares follow the new one', () => {
    const desk = new Desk(6, { a: newTenant({ estimate: 1_000, actual: 10 }), b: newTenant({ estimate: 1_000, actual: 10 }) });
    const serve = (rounds: number) => {
      for (let round = 0; round < rounds; round++) {
        if (desk.dispatch() === undefined) desk.finish(0);
      }
      return desk.of('a').served / desk.of('b').served;
    };
    expect(serve(1_000)).toBeCloseTo(1, 1);
    desk.of('a').weight = 3;
    serve(5_000);
    desk.of('a').served = desk.of('b').served = 0;
    expect(serve(5_000)).toBeCloseTo(3, 1);
  });
});

describe('a quiet tenant beside a flood', () => {
  /** How long each of its requests waited for a slot, in ms: it wants two of 24 slots, the flood all; requests run for 60 to 140 ms. */
  const waits = (estimate: number, actual: number): number[] => {
    const desk = new Desk(24, { flood: newTenant({ estimate, actual }), quiet: newTenant({ estimate, actual, waiting: 0 }) });
    const choose = random(1);
    const arrived: number[] = [];
    const waited: number[] = [];
    const ends: number[] = [];
    for (let now = 0; now < 20_000; now++) {
      for (let at = ends.length - 1; at >= 0; at--) {
        if ((ends[at] as number) > now) continue;
        desk.finish(at);
        ends.splice(at, 1);
      }
      if (choose() < 1 / 50) {
        arrived.push(now);
        desk.arrive('quiet');
      }
      for (let name = desk.dispatch(); name !== undefined; name = desk.dispatch()) {
        ends.push(now + 60 + Math.floor(choose() * 80));
        if (name === 'quiet') waited.push(now - (arrived.shift() as number));
      }
    }
    return waited;
  };

  test('waits for the next slot to be free, where estimates are what is spent and where they are a hundred times that', () => {
    for (const actual of [20_000, 200]) {
      const found = waits(20_000, actual).sort((a, b) => a - b);
      expect(found.length).toBeGreaterThan(300);
      // One of 24 slots is free every 4 ms.
      expect(found[Math.floor(found.length * 0.95)]).toBeLessThanOrEqual(20);
    }
  });

  /**
   * How long the quiet ones' requests waited: nine tenants want 16 of 24 slots between them, the tenth all that is left. All effects take as
   * long, so that what starts together ends together. Transactions take 5 ms, every twentieth 50.
   */
  const waitsInWaves = (): { readonly waited: readonly number[]; readonly flood: number } => {
    const quiet = Array.from({ length: 9 }, (_, at) => `quiet-${at}`);
    const desk = new Desk(24, { flood: newTenant(), ...Object.fromEntries(quiet.map((name) => [name, newTenant({ waiting: 0 })])) });
    const choose = random(1);
    const arrived: Record<string, number[]> = Object.fromEntries(quiet.map((name) => [name, []]));
    const waited: number[] = [];
    const ends: number[] = [];
    let arrivals = 0;
    for (let now = 0; now < 60_000; now += choose() < 0.05 ? 50 : 5) {
      for (; arrivals < now / 6.75; arrivals++) {
        const name = quiet[arrivals % quiet.length] as string;
        arrived[name]?.push(arrivals * 6.75);
        desk.arrive(name);
      }
      for (; (ends[0] ?? Number.POSITIVE_INFINITY) <= now; ends.shift()) desk.finish(0);
      for (let name = desk.dispatch(); name !== undefined; name = desk.dispatch()) {
        ends.push(now + 108);
        if (name !== 'flood') waited.push(now - (arrived[name]?.shift() ?? 0));
      }
    }
    return { waited: waited.sort((a, b) => a - b), flood: desk.of('flood').served };
  };

  test('does not wait in waves where all effects take as long: the last slots are kept for who holds no more than its share', () => {
    const { waited, flood } = waitsInWaves();
    expect(waited.length).toBeGreaterThan(8_000);
    // The next transaction, or the end of a slow one; not half an effect and a whole one.
    expect(waited[Math.floor(waited.length * 0.5)]).toBeLessThanOrEqual(10);
    expect(waited[Math.floor(waited.length * 0.95)]).toBeLessThanOrEqual(54);
    // What the flood gives up for it is less than half of what is left over.
    expect(flood).toBeGreaterThan((60_000 / 108) * 4);
  });

  test('finds a slot where another tenant alone has filled all it may', () => {
    const desk = new Desk(24, { flood: newTenant(), quiet: newTenant({ waiting: 0 }) });
    while (desk.dispatch() !== undefined);
    expect(desk.flying).toHaveLength(24 - keptSlots(24));
    expect(desk.queue.isOver(tenant('flood'))).toBe(true);
    desk.arrive('quiet', keptSlots(24));
    while (desk.dispatch() !== undefined);
    expect(desk.of('quiet').running).toBe(keptSlots(24));
  });

  test('is not needed for all slots to be used: tenants that hold their shares fill them', () => {
    const desk = new Desk(24, { a: newTenant(), b: newTenant(), c: newTenant({ weight: 2 }) });
    while (desk.dispatch() !== undefined);
    expect(Object.values(desk.tenants).map(({ running }) => running)).toEqual([6, 6, 12]);
  });

  test('stands before a tenant with a thousand waiting, whenever it comes', () => {
    const desk = new Desk(Number.POSITIVE_INFINITY, { flood: newTenant(), quiet: newTenant({ waiting: 0 }) });
    for (let i = 0; i < 1_000; i++) expect(desk.dispatch()).toBe('flood');
    desk.arrive('quiet');
    expect(desk.dispatch()).toBe('quiet');
  });

  test('gains no credit while it is idle', () => {
    const desk = new Desk(1, { busy: newTenant(), late: newTenant({ waiting: 0 }) });
    for (let i = 0; i < 100; i++) {
      desk.dispatch();
      desk.finish(0);
    }
    desk.arrive('late', 1_000);
    const order = Array.from({ length: 10 }, () => {
      const name = desk.dispatch();
      desk.finish(0);
      return name;
    });
    expect(order.filter((name) => name === 'late').length).toBeLessThanOrEqual(6);
  });
});

/** Arrivals, ends and dispatches in any order. */
const happening = fc.oneof(
  fc.record({ kind: fc.constant('arrive' as const), at: fc.nat(4), count: fc.integer({ min: 1, max: 5 }) }),
  fc.record({ kind: fc.constant('finish' as const), at: fc.nat(11), count: fc.constant(1) }),
  fc.record({ kind: fc.constant('dispatch' as const), at: fc.constant(0), count: fc.integer({ min: 1, max: 5 }) }),
);
const world = fc.record({
  of: fc.array(fc.record({ money, most: fc.integer({ min: 1, max: 4 }) }), { minLength: 5, maxLength: 5 }),
  slots: fc.integer({ min: 1, max: 12 }),
  happenings: fc.array(happening, { maxLength: 80 }),
});
type Worlds = typeof world extends fc.Arbitrary<infer W> ? W : never;

function play({ of, slots, happenings }: Worlds, look: (desk: Desk) => void): Desk {
  const desk = new Desk(slots, named(of.map((each) => tenantOf(each.money, { most: each.most, waiting: 0 }))));
  for (const { kind, at, count } of happenings) {
    if (kind === 'arrive') desk.arrive(names[at] as string, count);
    else if (kind === 'finish') desk.finish(at % Math.max(1, desk.flying.length));
    else for (let i = 0; i < count; i++) desk.dispatch();
    look(desk);
  }
  return desk;
}

describe('whatever happens', () => {
  test('work is conserved and caps hold: with a free slot and a ready tenant there is a dispatch, beyond a cap there is none', () => {
    fc.assert(
      fc.property(world, (of) => {
        play(of, (desk) => {
          const anyReady = Object.keys(desk.tenants).some((name) => desk.isReady(name));
          expect('tenant' in desk.queue.next(0)).toBe(anyReady);
          for (const { running, most } of Object.values(desk.tenants)) expect(running).toBeLessThanOrEqual(most);
          expect(desk.flying.length).toBeLessThanOrEqual(desk.slots);
        });
      }),
    );
  });

  test('explain agrees with what next does then: so many others go first, when each goes once', () => {
    fc.assert(
      fc.property(world, (of) => {
        const { queue, tenants } = play(of, () => undefined);
        const told = Object.keys(tenants).map((name) => [name, queue.explain(tenant(name), 0)] as const);
        const order: string[] = [];
        for (let next = queue.next(0); 'tenant' in next; next = queue.next(0)) {
          order.push(next.tenant);
          (tenants[next.tenant] as Tenant).waiting = 0;
          queue.touch(next.tenant, 0);
        }
        for (const [name, { ahead, blocked }] of told) {
          if (order.includes(name)) expect({ ahead, blocked }).toEqual({ ahead: order.indexOf(name), blocked: undefined });
          else expect({ ahead, limit: blocked?.limit }).toEqual({ ahead: 0, limit: tenants[name]?.waiting ? 'in_flight' : undefined });
        }
      }),
    );
  });
});

const TWICE = ['dispatch', 'finish', 'dispatch', 'finish', 'dispatch'] as const;
describe('tenants that are asked for their heads as they are needed', () => {
  test('are dispatched in the order in which they would be, had all been asked at once', () => {
    const step = fc.constantFrom('dispatch' as const, 'finish' as const, 'ask' as const);
    const of = fc.array(fc.record({ money, most: fc.integer({ min: 1, max: 4 }) }), { minLength: 2, maxLength: 5 });
    fc.assert(
      fc.property(of, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 8 }), fc.array(step, { maxLength: 60 }), (some, page, slots, steps) => {
        const desks = [undefined, page].map((unasked) => new Desk(slots, named(some.map((each) => tenantOf(each.money, { most: each.most }))), unasked));
        const [atOnce, asNeeded] = desks.map((desk) =>
          steps.map((each) => {
            if (each === 'finish') desk.finish(0);
            if (each === 'ask') desk.queue.askMore(0);
            return each === 'dispatch' ? desk.dispatch() : undefined;
          }),
        );
        expect(asNeeded).toEqual(atOnce);
      }),
      // All had been asked, and it was not known yet: virtual time stood still.
      { examples: [[[0.010000000000000002, 0.01].map((share) => ({ money: { weight: 0.5 as const, estimate: 100, share }, most: 1 })), 1, 1, [...TWICE]]] },
    );
  });

  test('and none is forgotten', () => {
    const desk = new Desk(1, Object.fromEntries(Array.from({ length: 25 }, (_, at) => [`t${at}`, newTenant({ waiting: 1 })])), 10);
    expect(desk.dispatch()).toBe('t0');
    expect(desk.queue.asking).toBe(true);
    expect(desk.queue.explain(tenant('t24'), 0).ahead).toBe(23);
    expect(desk.queue.asking).toBe(false);
  });
});

describe('a thousand tenants', () => {
  const thousand = () =>
    Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`t${at}`, newTenant({ estimate: 20_000, actual: 1 + (at % 7) * 3_000 })]));

  test('who joins is served before any other has gone twice, though all others always wait', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 64 }), (seed, slots) => {
        const desk = new Desk(slots, { ...thousand(), late: newTenant({ estimate: 20_000, waiting: 0 }) });
        const choose = random(seed);
        const turn = () => {
          const name = desk.dispatch();
          if (desk.flying.length === slots) desk.finish(Math.floor(choose() * slots));
          return name;
        };
        for (let i = 0; i < 2_000; i++) turn();
        const before = Object.fromEntries(Object.entries(desk.tenants).map(([name, { served }]) => [name, served]));
        desk.arrive('late');
        for (let i = 0; desk.of('late').served === 0; i++) {
          turn();
          expect(i).toBeLessThanOrEqual(1_000);
        }
        for (const [name, { served }] of Object.entries(desk.tenants)) expect(served - (before[name] ?? 0)).toBeLessThanOrEqual(1);
      }),
      { numRuns: 20 },
    );
  });

  test('none starves: all that always wait come round, the dear ones less often', () => {
    const desk = new Desk(24, thousand());
    for (let i = 0; i < 60_000; i++) {
      desk.dispatch();
      if (desk.flying.length === 24) desk.finish(i % 24);
    }
    for (const { served, spent } of Object.values(desk.tenants)) {
      expect(served).toBeGreaterThan(0);
      expect(spent).toBeLessThanOrEqual(24 * 20_000);
    }
  });

  test('tenants that come and go keep out nobody who waits', () => {
    const desk = new Desk(8, { ...thousand(), waits: newTenant({ estimate: 20_000, actual: 20_000 }) });
    for (const [name, of] of Object.entries(desk.tenants)) if (name !== 'waits') of.waiting = 0;
    for (const name of Object.keys(desk.tenants)) desk.queue.touch(tenant(name), 0);
    for (let i = 0; i < 30_000; i++) {
      desk.arrive(`t${i % 1_000}`);
      desk.dispatch();
      if (desk.flying.length === 8) desk.finish(i % 8);
    }
    expect(desk.of('waits').served).toBeGreaterThan(20);
  });
});

describe('blocked tenants', () => {
  test('are passed over, and looked at again when their block is due', () => {
    const heads = new Map<string, Head>([['slow', { limit: 'requests_per_second', until: 50 }]]);
    const queue = new FairQueue((name) => heads.get(name));
    queue.touch(tenant('slow'), 0);
    expect(queue.next(10)).toEqual({ wakeAt: 50 });
    expect(queue.explain(tenant('slow'), 0).blocked?.limit).toBe('requests_per_second');
    heads.set('slow', ready('s'));
    expect(queue.next(50)).toMatchObject({ tenant: 'slow' });
  });

  test('gain no credit for the time of their block', () => {
    let blocked = true;
    const queue = new FairQueue((name) => (name === 'b' && blocked ? { limit: 'suspended', until: undefined } : ready(name)));
    const serve = () => {
      const { tenant: name } = queue.next(0) as { tenant: TenantId };
      queue.charge(name, { held: 0, spent: 100 }, 1);
      queue.touch(name, 0);
      return name;
    };
    for (const name of ['a', 'b']) queue.touch(tenant(name), 0);
    for (let i = 0; i < 100; i++) expect(serve()).toBe('a');
    blocked = false;
    queue.touch(tenant('b'), 0);
    expect(Array.from({ length: 10 }, serve).filter((name) => name === 'b')).toHaveLength(5);
  });
});
