import { describe, expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import { type MicroUsd, tenantId } from '#schemas/ids.ts';
import { DEFAULT_POLICY } from '#schemas/policy.ts';
import type { LogAccess } from '#services/cli/log.ts';
import { type Live, verifyPartition } from '#services/cli/verify-state.ts';
import { Folder } from '#streams/engine/fold.ts';
import { HistoryReader } from '#streams/engine/history.ts';
import type { Rec, Store } from '#streams/engine/ports.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { support } from '#streams/support/support.ts';

const codec = createCodec(localSchemas());
const machine = support(codec);
const tenant = tenantId('acme');
const PARTITIONS = 8;

/** A tenant is created, then granted a little more in each transaction. */
function history(transactions: number): Rec[] {
  const records: Rec[] = [];
  const append = (value: Uint8Array) => records.push({ offset: records.length, key: tenant, value, timestamp: 0, headers: {} });
  for (let number = 1; number <= transactions; number++) {
    const head = { tenant, command: `k_${number}`, by: 'test', digest: '' };
    const event: Event =
      number === 1
        ? { type: 'tenant_created', ...head, policy: DEFAULT_POLICY }
        : { type: 'budget_granted', ...head, window: 'month', key: '2026-11', amount: number as MicroUsd, tokens: 0 };
    append(codec.encode('batch', { number, events: 1, inputs: [], time: 1_000 + number, version: 1, partitions: PARTITIONS }));
    append(machine.history.encode(event));
  }
  return records;
}
const logOf = (records: readonly Rec[]): LogAccess => ({
  codec,
  partitions: async () => PARTITIONS,
  async *read() {
    for (let at = 0; at < records.length; at += 3) yield { records: records.slice(at, at + 3), next: Math.min(at + 3, records.length), end: records.length };
  },
});

/** What a runtime would answer after folding these records. */
async function liveAfter(records: readonly Rec[], tamper?: (store: Store) => void): Promise<Live> {
  const store = await memoryStores().open(2);
  const folder = new Folder(machine, store, PARTITIONS);
  const reader = new HistoryReader(machine);
  for (const record of records) {
    const transaction = reader.push(record);
    if (transaction) folder.add(transaction);
  }
  folder.flush();
  tamper?.(store);
  return { partition: 2, batch: store.meta?.batch ?? 0, ...stateHash(store) };
}

describe('replay verify', () => {
  test('finds the live state equal to its history, at exactly its batch, while the history goes on', async () => {
    for (const transactions of [1, 2, 9]) {
      const live = await liveAfter(history(transactions));
      expect(live.rows).toBeGreaterThan(0);
      expect(await verifyPartition(logOf(history(transactions + 5)), live, PARTITIONS)).toMatchObject({ ok: true, batch: transactions, rows: live.rows });
    }
  });

  test('finds one changed byte, and one row too many', async () => {
    const flip = (store: Store) => {
      const value = Buffer.from(store.get('account', tenant) as Uint8Array);
      value[value.length - 1] = (value.at(-1) ?? 0) ^ 1;
      store.write([{ table: 'account', key: tenant, value }], store.meta as never);
    };
    const add = (store: Store) => store.write([{ table: 'due', key: 'x', value: new Uint8Array(0) }], store.meta as never);
    for (const tamper of [flip, add]) {
      const live = await liveAfter(history(4), tamper);
      expect(await verifyPartition(logOf(history(4)), live, PARTITIONS)).toMatchObject({ ok: false, why: expect.stringContaining('hash') });
    }
  });

  test('a live state past its history, or of an empty partition', async () => {
    const live = await liveAfter(history(6));
    expect(await verifyPartition(logOf(history(3)), live, PARTITIONS)).toMatchObject({ ok: false, why: 'the history ends at batch 3' });
    expect(await verifyPartition(logOf([]), await liveAfter([]), PARTITIONS)).toMatchObject({ ok: true, rows: 0 });
  });
});
