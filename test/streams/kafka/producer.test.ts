/** The producer of gateway, auditor and tools: whatever fails, what it says is in the log is there, once and in order. */
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createSender, type Sent } from '#streams/kafka/producer.ts';
import { readsDone } from '#streams/kafka/reads-done.ts';
import { Brokers, type Fault } from './brokers.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Longer than all retries of one record, and of the next. */
const SETTLED_MS = 40_000;
const [NOT_LEADER, TIMED_OUT, TOO_LARGE, AFTER_APPEND] = [6, 7, 10, 20];

const which = fc.nat(5);
const fault: fc.Arbitrary<Fault> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ fault: fc.constantFrom('none', 'refused', 'lost') }) },
  fc.record({ fault: fc.constant('error'), code: fc.constantFrom(NOT_LEADER, TIMED_OUT, TOO_LARGE, AFTER_APPEND), written: fc.boolean(), which }),
  fc.record({ fault: fc.constantFrom('unanswered', 'moved'), which }),
);
/** Partitions that one call writes to, and how long it is until the next. */
const calls = fc.array(fc.record({ to: fc.array(fc.nat(2), { minLength: 1, maxLength: 6 }), pause: fc.constantFrom(0, 1, 3, 10, 60, 9_000) }), {
  minLength: 1,
  maxLength: 25,
});

type Told = { readonly at: string; readonly key: string; sent?: Sent; failed?: boolean };

class Writer {
  readonly brokers = new Brokers();
  readonly sender = createSender(this.brokers.kafka);
  readonly told: Told[] = [];

  send(partitions: readonly number[]): void {
    const of: Told[] = partitions.map((partition, place) => ({ at: `t/${partition}`, key: `${this.told.length + place}` }));
    this.told.push(...of);
    this.sender.send(of.map(({ key }, place) => ({ topic: 't', partition: partitions[place] as number, key, value: null }))).then(
      (sent) => {
        for (const [place, each] of of.entries()) each.sent = sent[place] as Sent;
      },
      () => {
        for (const each of of) each.failed = true;
      },
    );
  }

  check(): void {
    expect(this.brokers.broken).toEqual([]);
    expect(this.told.filter(({ sent, failed }) => !sent && !failed)).toEqual([]);
    for (const { at, key, sent } of this.told) {
      const places = (this.brokers.logs.get(at) ?? []).flatMap((each, offset) => (each === key ? [offset] : []));
      if (sent) expect(places).toEqual([sent.offset]);
      else expect(places.length).toBeLessThan(2);
    }
    // Keys are numbered as they were sent.
    for (const log of this.brokers.logs.values()) expect(log).toEqual([...log].sort((a, b) => Number(a) - Number(b)));
  }
}

test('whatever fails, each record is in the log at most once, in order, and where its caller was told; and it goes on afterwards', async () => {
  await fc.assert(
    fc.asyncProperty(calls, fc.array(fault, { maxLength: 40 }), async (all, faults) => {
      const writer = new Writer();
      writer.brokers.faults = [...faults];
      for (const { to, pause } of all) {
        writer.send(to);
        await vi.advanceTimersByTimeAsync(pause);
      }
      await vi.advanceTimersByTimeAsync(SETTLED_MS);
      writer.check();
      writer.brokers.faults = [];
      writer.send([0, 1, 2]);
      await vi.advanceTimersByTimeAsync(SETTLED_MS);
      writer.check();
      expect(writer.told.slice(-3).filter(({ sent }) => sent)).toHaveLength(3);
      await writer.sender.close();
    }),
    { numRuns: 300 },
  );
});

test('a close at any moment settles every call at once', async () => {
  await fc.assert(
    fc.asyncProperty(calls, fc.array(fault, { maxLength: 20 }), fc.nat(60), async (all, faults, after) => {
      const writer = new Writer();
      writer.brokers.faults = [...faults];
      for (const { to } of all) writer.send(to);
      await vi.advanceTimersByTimeAsync(after);
      const closed = writer.sender.close();
      await vi.advanceTimersByTimeAsync(0);
      expect(writer.told.filter(({ sent, failed }) => !sent && !failed)).toEqual([]);
      await vi.advanceTimersByTimeAsync(SETTLED_MS);
      await closed;
      writer.check();
      expect(vi.getTimerCount()).toBe(0);
    }),
    { numRuns: 200 },
  );
});

/** One that knows who leads the partitions, and that nothing is on its way. */
async function atRest(): Promise<Writer> {
  const writer = new Writer();
  writer.send([0, 1, 2]);
  await vi.advanceTimersByTimeAsync(100);
  writer.brokers.requests.length = 0;
  return writer;
}

test('partitions of one leader share a request, and what comes while it is in flight shares the next', async () => {
  const writer = await atRest();
  const { requests } = writer.brokers;
  for (const partition of [2, 0, 0]) writer.send([partition]);
  await vi.advanceTimersByTimeAsync(1);
  for (const partition of [0, 1, 2]) writer.send([partition]);
  await vi.advanceTimersByTimeAsync(100);
  // A partition that was not in the first waits no longer than the others.
  expect(requests.map((each) => each.toSorted())).toEqual([
    ['t/0', 't/2'],
    ['t/0', 't/1', 't/2'],
  ]);
  writer.check();
});

test('what is sent in one turn of the event loop shares a request, by whoever waits for the turn’s reads too', async () => {
  const writer = await atRest();
  const { requests } = writer.brokers;
  void readsDone().then(() => writer.send([1]));
  writer.send([0]);
  void readsDone().then(() => writer.send([2]));
  await vi.advanceTimersByTimeAsync(100);
  expect(requests.map((each) => each.toSorted())).toEqual([['t/0', 't/1', 't/2']]);
  writer.check();
});

test('a leader that has moved is found by the next try, for its partition alone', async () => {
  const writer = new Writer();
  writer.send([0, 1]);
  await vi.advanceTimersByTimeAsync(100);
  writer.brokers.faults = [{ fault: 'moved', which: 0 }];
  writer.send([0, 1]);
  await vi.advanceTimersByTimeAsync(100);
  writer.check();
  expect(writer.told.filter(({ sent }) => sent)).toHaveLength(4);
  expect(writer.brokers.requests.slice(-2)).toEqual([['t/0', 't/1'], ['t/0']]);
});

test('a partition that was forgotten among many and is written again begins no sequence that was there before', async () => {
  const { sender, brokers } = new Writer();
  const write = async (topic: string) => {
    const sent = sender.send([{ topic, partition: 0, key: 'k', value: null }]);
    await vi.advanceTimersByTimeAsync(50);
    return (await sent)[0]?.offset;
  };
  expect(await write('first')).toBe(0);
  const many = sender.send(Array.from({ length: 20_000 }, (_, at) => ({ topic: `t${at}`, partition: 0, key: 'k', value: null })));
  await vi.advanceTimersByTimeAsync(1_000);
  await many;
  expect(await write('one more')).toBe(0);
  expect(await write('first')).toBe(1);
  expect(brokers.logs.get('first/0')).toHaveLength(2);
  await sender.close();
});
