/** A projection that writes its stores seldom: what a row came to is written once, and never half of a transaction. */
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import type { RequestId, TenantId } from '#schemas/ids.ts';
import type { Batch, Rec } from '#streams/engine/ports.ts';
import { openProjection } from '#streams/engine/projection.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { support } from '#streams/support/support.ts';
import { expired, queued, tenant } from './request-events.ts';

const codec = createCodec(localSchemas());
const machine = support(codec);
const [first, refused] = [queued(1), expired(1)];

let at = 0;
const record = (value: Uint8Array): Rec => ({ offset: at++, key: tenant, value, timestamp: 1, headers: {} });
function transaction(number: number, ...events: readonly Event[]): readonly Rec[] {
  const batch = { number, events: events.length, inputs: [], time: 1_000 + number, version: machine.version, partitions: 1 };
  return [record(codec.encode('batch', batch)), ...events.map(({ type, ...fields }) => record(codec.encode(type, fields as never)))];
}

/** Its log is what is handed to it; its clock stands until it is told. */
async function open() {
  at = 0;
  const batches: Batch[] = [];
  let wake: () => void = () => undefined;
  const due: (() => void)[] = [];
  const written: number[] = [];
  async function* follow(_topic: string, _partition: number, _from: number, signal: AbortSignal): AsyncGenerator<Batch> {
    signal.addEventListener('abort', () => wake());
    while (!signal.aborted) {
      const batch = batches.shift();
      if (batch) yield batch;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }
  const stores = memoryStores();
  const projection = await openProjection({
    machine,
    log: { follow },
    stores,
    partitions: 1,
    topic: 'tenant.events',
    partitionOf: () => 0,
    clock: {
      after(_ms, run) {
        due.push(run);
        return () => void due.splice(due.indexOf(run), 1);
      },
    },
    onWrite: (partition) => written.push(partition),
  });
  return {
    projection,
    stores,
    written,
    async give(...transactions: readonly (readonly Rec[])[]) {
      batches.push(...transactions.map((records) => ({ records, next: at, end: at })));
      wake();
      await new Promise((resolve) => setImmediate(resolve));
    },
    pass() {
      for (const run of due.splice(0)) run();
    },
  };
}

test('is read at once and written when it is due: what came and went meanwhile is not in the store', async () => {
  const { projection, written, give, pass } = await open();
  await give(transaction(1, first), transaction(2, refused));
  await projection.ready;
  expect(projection.peek({ tenant, mark: first.request }).mark).toMatchObject({ stage: 'finished' });
  expect([projection.store(0).meta, written]).toEqual([undefined, []]);
  pass();
  expect([projection.store(0).meta?.batch, written]).toEqual([2, [0]]);
  expect(projection.store(0).scan('item', '', 10)).toEqual([]);
  expect(projection.store(0).scan('mark', '', 10)).toHaveLength(1);
  await projection.close();
});

test('what is due at its end is written, and what is not whole is not', async () => {
  const whole = await open();
  await whole.give(transaction(1, first));
  await whole.projection.close();
  expect((await whole.stores.open(0)).meta?.batch).toBe(1);

  const broken = await open();
  await broken.give(transaction(1, first), transaction(2, { ...refused, tenant: 'globex' as TenantId, request: 'r_9' as RequestId }));
  expect((await broken.projection.failed).message).not.toBe('');
  broken.pass();
  await broken.projection.close();
  expect((await broken.stores.open(0)).meta).toBeUndefined();
});
