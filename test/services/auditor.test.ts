import { afterEach, describe, expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import { type TenantId, tenantId } from '#schemas/ids.ts';
import { auditTopic } from '#schemas/topics.ts';
import { PartitionCopier } from '#services/auditor/copy.ts';
import type { AuditSender } from '#services/auditor/round.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Stores } from '#streams/engine/ports.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { type AuditEntry, extendChain, NO_ENTRY, verifyChain } from '#streams/support/audit.ts';

const codec = createCodec(localSchemas());
const HISTORY = 'tenant.events';
const tenants = ['fastify', 'pino', 'undici'].map(tenantId);
const [FASTIFY, PINO] = tenants as [TenantId, TenantId];

/** A history of one partition, and audit topics that can fail. */
class World {
  readonly broker = new MemoryBroker(() => 1_000);
  readonly log = memoryLog({ broker: this.broker, topics: { history: HISTORY, words: 'support.steps' }, owned: () => true });
  readonly epoch = this.broker.fence(0);
  readonly topics = new Map<string, Output[]>();
  readonly missing = new Set<string>();
  stores = memoryStores();
  number = 0;
  readonly events: { readonly tenant: TenantId; readonly offset: number; readonly time: number; readonly event: Uint8Array }[] = [];
  copier: PartitionCopier | undefined;
  /** Answers that are lost after the records were appended. */
  lostReplies = 0;
  readonly warnings: string[] = [];

  transact(...of: readonly TenantId[]): void {
    this.number++;
    const time = 1_000 + this.number;
    const batch = { number: this.number, events: of.length, inputs: [], time, version: 1, partitions: 1 };
    const events = of.map((tenant, at): Event => ({ type: 'tenant_suspended', tenant, command: `k_${this.number}_${at}`, by: 'x', digest: '' }));
    const bytes = events.map((event) => codec.encode('tenant_suspended', event as Event & { type: 'tenant_suspended' }));
    const base = this.broker.partition(HISTORY, 0).end;
    for (const [at, tenant] of of.entries()) this.events.push({ tenant, offset: base + 1 + at, time, event: bytes[at] as Uint8Array });
    const record = (value: Uint8Array): Output => ({ topic: HISTORY, key: 'k', value, partition: 0 });
    this.broker.commit(0, this.epoch, [record(codec.encode('batch', batch)), ...bytes.map(record)], {});
  }

  connect(): AuditSender {
    return {
      send: async (records) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        const topic = records[0]?.topic as string;
        if (this.missing.has(topic)) throw new Error('UNKNOWN_TOPIC_OR_PARTITION');
        this.topics.set(topic, [...(this.topics.get(topic) ?? []), ...records]);
        if (this.lostReplies > 0) {
          this.lostReplies--;
          throw new Error('the reply was lost');
        }
      },
      close: async () => undefined,
    };
  }

  async start(stores: Stores = this.stores): Promise<PartitionCopier> {
    const { log } = this;
    const warn = (message: string) => this.warnings.push(message);
    this.copier = new PartitionCopier({
      partition: 0,
      partitions: 1,
      topic: HISTORY,
      codec,
      log,
      again: log,
      stores,
      connect: () => this.connect(),
      warn,
      retryMs: 10,
    });
    await this.copier.start();
    return this.copier;
  }

  entries(tenant: TenantId): AuditEntry[] {
    return (this.topics.get(auditTopic(tenant)) ?? []).map((record) => {
      const entry = codec.decode(record.value as Uint8Array).value as AuditEntry;
      expect(record.key).toBe(String(entry.sequence));
      return entry;
    });
  }

  /** What each key holds after compaction. */
  compacted(tenant: TenantId): AuditEntry[] {
    return [...new Map(this.entries(tenant).map((entry) => [entry.sequence, entry])).values()].sort((a, b) => a.sequence - b.sequence);
  }

  expected(tenant: TenantId): readonly AuditEntry[] {
    return extendChain(
      tenant,
      0,
      NO_ENTRY,
      this.events.filter((event) => event.tenant === tenant),
    );
  }

  async copied(...of: readonly TenantId[]): Promise<void> {
    const plain = (entries: readonly AuditEntry[]) => entries.map((entry) => ({ ...entry, event: Buffer.from(entry.event), hash: Buffer.from(entry.hash) }));
    for (const tenant of of) {
      await expect.poll(() => this.compacted(tenant).length, { timeout: 3_000, interval: 5 }).toBe(this.expected(tenant).length);
      expect(plain(this.compacted(tenant))).toEqual(plain(this.expected(tenant)));
      expect(verifyChain(tenant, this.entries(tenant)).problems).toEqual([]);
    }
  }
}

describe('the auditor', () => {
  let world = new World();
  afterEach(async () => {
    await world.copier?.close();
    world = new World();
  });

  test('copies what is there and what comes, each tenant to its own topic', async () => {
    for (let at = 0; at < 30; at++) world.transact(...tenants);
    const copier = await world.start();
    await copier.ready;
    await world.copied(...tenants);
    for (let at = 0; at < 30; at++) world.transact(FASTIFY, FASTIFY);
    await world.copied(...tenants);
    expect(world.entries(FASTIFY).length).toBe(world.expected(FASTIFY).length);
  });

  test('goes on after a restart without sending anything twice', async () => {
    for (let at = 0; at < 10; at++) world.transact(...tenants);
    await world.start();
    await world.copied(...tenants);
    await world.copier?.close();
    world.transact(PINO);
    await world.start();
    await world.copied(...tenants);
    expect(world.entries(PINO).length).toBe(11);
  });

  test('a lost reply, or a store lost with its disk, sends the same bytes again', async () => {
    for (let at = 0; at < 10; at++) world.transact(...tenants);
    world.lostReplies = 3;
    await world.start();
    await world.copied(...tenants);
    await world.copier?.close();
    world.stores = memoryStores();
    await world.start();
    await expect.poll(() => world.entries(FASTIFY).length).toBeGreaterThanOrEqual(20);
    await world.copied(...tenants);
  });

  test('a tenant whose topic is missing delays nobody, and is caught up once it is there', async () => {
    world.missing.add(auditTopic(PINO));
    const copier = await world.start();
    for (let at = 0; at < 20; at++) {
      world.transact(...tenants);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await world.copied(FASTIFY, tenants[2] as TenantId);
    expect(world.entries(PINO)).toEqual([]);
    expect(copier.failing).toBe(1);
    world.missing.clear();
    await world.copied(...tenants);
    await expect.poll(() => copier.failing).toBe(0);
  });

  test('a tenant that was behind is caught up after a restart, without a new event of it', async () => {
    world.missing.add(auditTopic(PINO));
    for (let at = 0; at < 5; at++) world.transact(...tenants);
    await world.start();
    await world.copied(FASTIFY);
    await world.copier?.close();
    world.missing.clear();
    await world.start();
    await world.copied(...tenants);
  });

  test('a topic that comes and goes while events arrive loses none', async () => {
    await world.start();
    for (let at = 0; at < 120; at++) {
      if (at % 20 === 10) world.missing.add(auditTopic(PINO));
      if (at % 20 === 17) world.missing.clear();
      if (at % 31 === 0) world.lostReplies++;
      world.transact(...tenants);
      if (at % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
      if (at % 40 === 39) {
        await world.copier?.close();
        await world.start();
      }
    }
    world.missing.clear();
    await world.copied(...tenants);
  });

  test.each([3, 40])('chains of another log are thrown away, also when it is of %i transactions', async (length) => {
    for (let at = 0; at < 9; at++) world.transact(...tenants);
    await world.start();
    await world.copied(...tenants);
    await world.copier?.close();
    const { stores } = world;
    world = new World();
    for (let at = 0; at < length; at++) world.transact(PINO);
    await world.start(stores);
    await world.copied(PINO);
    expect(world.warnings.join()).toMatch(/computed anew/);
  });
});
