import { describe, expect, test } from 'vitest';
import type { MicroUsd, TenantId } from '#schemas/ids.ts';
import { FairQueue, type Head } from '#streams/engine/fair-queue.ts';

const tenant = (name: string) => name as TenantId;
const ready = (item: string): Head => ({ cost: 100 as MicroUsd, item });

/** Tenants with endless backlogs, `slots` in flight: what each spent after `rounds` dispatches. */
function serve(tenants: Record<string, { actual: number; weight: number }>, slots: number, rounds: number): Record<string, number> {
  const queue = new FairQueue((name) => ready(`${name}-next`));
  const spent: Record<string, number> = {};
  const flying: string[] = [];
  for (const name of Object.keys(tenants)) queue.touch(tenant(name), 0);
  for (let round = 0; round < rounds; round++) {
    if (flying.length === slots) {
      const done = flying.shift() as string;
      const { actual, weight } = tenants[done] as { actual: number; weight: number };
      spent[done] = (spent[done] ?? 0) + actual;
      queue.charge(tenant(done), actual - 100, weight);
      queue.touch(tenant(done), 0);
    }
    const next = queue.next(0);
    if (!('tenant' in next)) throw new Error('a ready tenant, and nothing to dispatch');
    flying.push(next.tenant);
    queue.charge(next.tenant, 100, tenants[next.tenant]?.weight ?? 1);
    queue.touch(next.tenant, 0);
  }
  return spent;
}

function jain(values: number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  return sum ** 2 / (values.length * values.reduce((a, b) => a + b * b, 0));
}

describe('shares follow cost, not count', () => {
  test('tenants whose requests cost far less than estimated get as much money’s worth as the others', () => {
    const spent = serve({ a: { actual: 10, weight: 1 }, b: { actual: 100, weight: 1 }, c: { actual: 35, weight: 1 } }, 8, 20_000);
    expect(jain(Object.values(spent))).toBeGreaterThan(0.99);
  });

  test('twice the weight is twice the share', () => {
    const spent = serve({ light: { actual: 50, weight: 1 }, heavy: { actual: 50, weight: 2 } }, 6, 20_000);
    expect((spent.heavy ?? 0) / (spent.light ?? 1)).toBeCloseTo(2, 1);
  });
});

describe('one head per tenant', () => {
  test('a tenant with a thousand waiting stands behind the newcomer after its first dispatch', () => {
    const queue = new FairQueue((name) => ready(`${name}-next`));
    queue.touch(tenant('flood'), 0);
    for (let i = 0; i < 1_000; i++) {
      expect(queue.next(0)).toMatchObject({ tenant: 'flood' });
      queue.charge(tenant('flood'), 100, 1);
      queue.touch(tenant('flood'), 0);
    }
    queue.touch(tenant('quiet'), 0);
    expect(queue.next(0)).toMatchObject({ tenant: 'quiet' });
  });

  test('a tenant gains no credit while it is idle', () => {
    const heads = new Map<string, Head>([['busy', ready('b')]]);
    const queue = new FairQueue((name) => heads.get(name));
    queue.touch(tenant('busy'), 0);
    for (let i = 0; i < 100; i++) {
      queue.next(0);
      queue.charge(tenant('busy'), 100, 1);
      queue.touch(tenant('busy'), 0);
    }
    heads.set('late', ready('l'));
    queue.touch(tenant('late'), 0);
    const order = Array.from({ length: 10 }, () => {
      const next = queue.next(0);
      if (!('tenant' in next)) throw new Error('nothing ready');
      queue.charge(next.tenant, 100, 1);
      queue.touch(next.tenant, 0);
      return next.tenant;
    });
    expect(order.filter((name) => name === 'late').length).toBeLessThanOrEqual(6);
  });

  test('a blocked tenant is passed over, and looked at again when its block is due', () => {
    const heads = new Map<string, Head>([['slow', { limit: 'requests_per_second', until: 50 }]]);
    const queue = new FairQueue((name) => heads.get(name));
    queue.touch(tenant('slow'), 0);
    expect(queue.next(10)).toEqual({ wakeAt: 50 });
    expect(queue.explain(tenant('slow')).blocked?.limit).toBe('requests_per_second');
    heads.set('slow', ready('s'));
    expect(queue.next(50)).toMatchObject({ tenant: 'slow' });
  });
});
