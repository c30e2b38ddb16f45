/** Invariant 3: what a store is given between transactions is what has committed, all of it and nothing else. */
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import type { TenantId } from '#schemas/ids.ts';
import { emptyMeta } from '#streams/engine/fold.ts';
import { Overlay } from '#streams/engine/overlay.ts';
import { wordsFrom, wordsRecord } from '#streams/engine/words.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { MESSAGE_STEP } from '#streams/support/outputs.ts';
import { support } from '#streams/support/support.ts';
import { expired, held, queued, tenant } from './request-events.ts';

const machine = support(createCodec(localSchemas()));

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

test('of an input that is taken back nothing stays, whatever it did one after the other', async () => {
  const { overlay, decide, write } = await overStore();
  decide(queued(0));
  overlay.committed();
  write();
  decide(queued(1));
  const row = { tenant, item: 'c_0', mark: 'r_0' };
  const [state, head, runs] = [overlay.state(row), overlay.head(tenant), overlay.runningDelta];
  for (const event of [held(0), queued(2), held(1)]) overlay.apply(event, 1_000);
  expect([overlay.head(tenant), overlay.runningDelta]).toEqual(['c_2', 2]);
  overlay.rollback();
  expect(overlay.state(row)).toEqual(state);
  expect([overlay.head(tenant), overlay.runningDelta]).toEqual([head, runs]);
});

test('rows that wait to be written stay, whatever else is read meanwhile', async () => {
  const { store, overlay, decide, write } = await overStore();
  decide(queued(0));
  overlay.committed();
  for (let n = 0; n < 20_000; n++) overlay.committedState({ tenant: `tenant-${n}` as TenantId, item: `c_${n}`, mark: `r_${n}` });
  expect(overlay.committedState({ tenant, item: 'c_0', mark: 'r_0' })).toMatchObject({ account: { queued: 1 }, mark: { stage: 'queued' } });
  decide(held(0));
  overlay.committed();
  write();
  expect(machine.rows.mark.decode(store.get('mark', 'acme/r_0') as Uint8Array).stage).toBe('running');
});

test('many rows that wait, or something among them that is due, make the task write', async () => {
  const { overlay, decide, write } = await overStore();
  decide(queued(0, 5_000), queued(1, 4_000));
  overlay.committed();
  expect([3_999, 4_000].map((now) => overlay.isPressing(now))).toEqual([false, true]);
  write();
  expect(overlay.isPressing(4_000)).toBe(false);
  for (let n = 2; n < 2_100; n++) decide(queued(n));
  overlay.committed();
  expect(overlay.isPressing(0)).toBe(true);
  write();
  expect(overlay.isPressing(0)).toBe(false);
});

test('words are there once they have committed, written or not; those of a request that has ended before the write are not kept', async () => {
  const { store, overlay, decide, write } = await overStore();
  const key = (n: number) => `acme/r_${n}/${MESSAGE_STEP}`;
  const bytes = Buffer.from('sealed');
  for (const n of [0, 1]) {
    overlay.apply(queued(n), 1_000);
    overlay.keepWords({ tenant, item: `c_${n}`, mark: `r_${n}`, step: MESSAGE_STEP }, bytes);
    overlay.settle();
  }
  // An input that fails half-way.
  overlay.apply(queued(2), 1_000);
  overlay.keepWords({ tenant, item: 'c_2', mark: 'r_2', step: MESSAGE_STEP }, bytes);
  overlay.rollback();
  expect(overlay.committedWords(key(0))).toBeUndefined();
  overlay.committed(7);
  decide(expired(1));
  overlay.committed(9);
  expect([0, 2].map((n) => overlay.committedWords(key(n)))).toEqual([bytes, undefined]);
  write();
  expect(overlay.committedWords(key(0))).toEqual(bytes);
  expect(store.scan('words', '', 9).map(([at, kept]) => [at, wordsFrom(kept), Buffer.from(wordsRecord(kept))])).toEqual([[key(0), 7, bytes]]);
  decide(expired(0));
  overlay.committed(11);
  write();
  expect(overlay.committedWords(key(0))).toBeUndefined();
});
