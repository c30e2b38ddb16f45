/** Invariant 3: what a store is given between transactions is what has committed, all of it and nothing else. */
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { emptyMeta } from '#streams/engine/fold.ts';
import { Overlay } from '#streams/engine/overlay.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { support } from '#streams/support/support.ts';

const machine = support(createCodec(localSchemas()));
const tenant = 'acme' as TenantId;

const queued = (n: number, deadline = 9e12): Event => ({
  type: 'request_queued',
  tenant,
  request: `r_${n}` as RequestId,
  conversation: `c_${n}` as ConversationId,
  person: 'p_1' as PersonId,
  bodyDigest: 'd',
  source: 'http',
  arrival: n,
  deadline,
  estimate: 50 as MicroUsd,
});

async function overStore() {
  const store = await memoryStores().open(0);
  const overlay = new Overlay(machine, store);
  return {
    store,
    overlay,
    decide(...events: readonly Event[]) {
      for (const event of events) overlay.apply(event, 1_000);
      overlay.settle();
    },
    write() {
      store.write(overlay.writes(), emptyMeta(1, 1));
      overlay.written();
    },
  };
}

const held = (n: number): Event => ({
  type: 'hold_placed',
  tenant,
  request: `r_${n}` as RequestId,
  conversation: `c_${n}` as ConversationId,
  day: '2026-11-24',
  month: '2026-11',
  amount: 50 as MicroUsd,
  degraded: null,
  tokens: 100,
});

test('a row whose change was taken back before a write is written when it changes after it', async () => {
  const { store, overlay, decide, write } = await overStore();
  decide(queued(0));
  overlay.committed();
  write();
  // An input that fails, and leaves nothing to commit.
  overlay.apply(held(0), 1_000);
  overlay.rollback();
  write();
  decide(held(0));
  overlay.committed();
  write();
  expect(machine.rows.item.decode(store.get('item', 'acme/c_0') as Uint8Array).turn?.request).toBe('r_0');
  expect(store.get('running', 'acme/c_0')).toBeDefined();
});
