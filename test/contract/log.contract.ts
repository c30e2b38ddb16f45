/** What the engine relies on of any log, run on memory and on real Kafka, so that the simulation stays honest. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Output } from '#streams/engine/machine.ts';
import type { Log, PartitionLog } from '#streams/engine/ports.ts';

export type LogUnderTest = {
  readonly log: Log;
  /** A partition that no other test has written to. */
  readonly partition: number;
  readonly history: string;
  readonly words: string;
  readonly input: string;
  /** A topic beside history and words. */
  readonly snapshots: string;
  /** Writes these in a transaction and aborts it. */
  abandon(records: readonly Output[]): Promise<void>;
  groupOffset(topic: string, partition: number): Promise<number | undefined>;
  close(): Promise<void>;
};

export function logContract(make: () => Promise<LogUnderTest>): void {
  let under: LogUnderTest;
  const opened: PartitionLog[] = [];
  beforeEach(async () => {
    under = await make();
  });
  afterEach(async () => {
    for (const log of opened.splice(0)) await log.close();
    await under.close();
  });

  const open = async (): Promise<PartitionLog> => {
    const log = await under.log.open(under.partition);
    opened.push(log);
    return log;
  };
  const record = (value: string, topic = under.history): Output => ({ topic, partition: under.partition, key: 'acme', value: Buffer.from(value) });
  const readAll = async (log: PartitionLog, topic: string, from = 0) => {
    const found: { offset: number; value: string; timestamp: number }[] = [];
    let next = from;
    for await (const batch of log.read(topic, from)) {
      next = batch.next;
      for (const { offset, value, timestamp } of batch.records) found.push({ offset, value: Buffer.from(value ?? []).toString(), timestamp });
    }
    return { values: found.map(({ value }) => value), found, next };
  };

  describe('log contract', () => {
    test('an empty log reads to its end at once', async () => {
      expect(await readAll(await open(), under.history)).toMatchObject({ values: [], next: 0 });
    });

    test('a transaction is there whole and in order, in both logs, with the inputs’ offsets', async () => {
      const log = await open();
      const committed = await log.commit([record('a'), record('b'), record('w', under.words)], { [under.input]: 7 });
      expect(committed.time).toBeGreaterThan(0);
      const again = await open();
      expect((await readAll(again, under.history)).values).toEqual(['a', 'b']);
      expect((await readAll(again, under.words)).values).toEqual(['w']);
      expect(await under.groupOffset(under.input, under.partition)).toBe(7);
    });

    test('from the position that a commit returned, exactly what follows is read', async () => {
      const log = await open();
      const first = await log.commit([record('1'), record('w1', under.words)], {});
      const second = await log.commit([record('2'), record('3')], {});
      await log.commit([record('4'), record('w2', under.words)], {});
      const again = await open();
      expect((await readAll(again, under.history, first.history)).values).toEqual(['2', '3', '4']);
      expect((await readAll(again, under.history, second.history)).values).toEqual(['4']);
      expect((await readAll(again, under.words, second.words)).values).toEqual(['w2']);
    });

    test('the end of one read is where the next begins, markers included', async () => {
      const log = await open();
      await log.commit([record('1')], {});
      const between = await open();
      const { next } = await readAll(between, under.history);
      expect((await readAll(between, under.history, next)).values).toEqual([]);
      await between.commit([record('2')], {});
      expect((await readAll(await open(), under.history, next)).values).toEqual(['2']);
    });

    test('invariant 6: opening fences the old owner, whose commit leaves nothing', async () => {
      const old = await open();
      await old.commit([record('before')], {});
      const fresh = await open();
      await expect(old.commit([record('zombie')], { [under.input]: 99 })).rejects.toMatchObject({ code: 'fenced' });
      await fresh.commit([record('after')], {});
      expect((await readAll(await open(), under.history)).values).toEqual(['before', 'after']);
      expect(await under.groupOffset(under.input, under.partition)).not.toBe(99);
    });

    test('a producer that has failed once commits nothing more', async () => {
      const old = await open();
      await open();
      await expect(old.commit([record('x')], {})).rejects.toThrow();
      await expect(old.commit([record('y')], {})).rejects.toMatchObject({ code: 'commit_failed' });
    });

    test('two thousand records and large values come back in order', async () => {
      const log = await open();
      const values = Array.from({ length: 2_000 }, (_, at) => `${at}`);
      await log.commit(
        values.map((value) => record(value)),
        {},
      );
      const large = 'x'.repeat(700_000);
      await log.commit([record(large)], {});
      const { found, values: read } = await readAll(await open(), under.history);
      expect(read).toEqual([...values, large]);
      expect(found.every(({ timestamp }) => timestamp > 0)).toBe(true);
    });

    test('a follower gets what is there, then what is committed later, and ends when told', async () => {
      const log = await open();
      await log.commit([record('1')], {});
      const stop = new AbortController();
      const seen: string[] = [];
      let position = 0;
      const followed = (async () => {
        for await (const batch of under.log.follow(under.history, under.partition, 0, stop.signal)) {
          for (const { value } of batch.records) seen.push(Buffer.from(value ?? []).toString());
          expect(batch.next).toBeGreaterThanOrEqual(position);
          position = batch.next;
          if (seen.length === 1 && batch.next >= batch.end) void log.commit([record('2'), record('3')], {});
          if (seen.length === 3) stop.abort();
        }
      })();
      await followed;
      expect(seen).toEqual(['1', '2', '3']);
    });

    test('what was aborted is never seen, and from every position exactly what follows is read', async () => {
      const log = await open();
      const first = await log.commit([record('a'), record('b')], {});
      await under.abandon([record('never'), record('never, neither')]);
      const second = await log.commit([record('c')], {});
      await under.abandon([record('nor at the end')]);
      const again = await open();
      const all = await readAll(again, under.history);
      expect(all.values).toEqual(['a', 'b', 'c']);
      expect(second.history).toBeGreaterThan(first.history);
      for (let from = 0; from <= all.next; from++) {
        const expected = all.found.filter(({ offset }) => offset >= from).map(({ value }) => value);
        expect((await readAll(again, under.history, from)).values, `from ${from}`).toEqual(expected);
      }
      await again.commit([record('d')], {});
      expect((await readAll(await open(), under.history, all.next)).values).toEqual(['d']);
    });

    test('a log that holds nothing but an aborted transaction is read to its end', async () => {
      await under.abandon([record('never')]);
      const log = await open();
      const { values, next } = await readAll(log, under.history);
      expect(values).toEqual([]);
      await log.commit([record('1')], {});
      expect((await readAll(await open(), under.history, next)).values).toEqual(['1']);
    });

    test('a transaction of more than the broker takes in one batch is committed whole and in order', async () => {
      const log = await open();
      const values = (of: string) => Array.from({ length: 60 }, (_, at) => `${of}${at}`.padEnd(50_000, '.'));
      const [events, words] = [values('e'), values('w')];
      const small = await log.commit([...events.map((value) => record(value)), ...words.map((value) => record(value, under.words))], { [under.input]: 1 });
      await log.commit([record('after'), record('words after', under.words)], {});
      const again = await open();
      expect((await readAll(again, under.history)).values).toEqual([...events, 'after']);
      expect((await readAll(again, under.words)).values).toEqual([...words, 'words after']);
      expect((await readAll(again, under.history, small.history)).values).toEqual(['after']);
      expect((await readAll(again, under.words, small.words)).values).toEqual(['words after']);
    });

    test('without new words their position stays, after a re-opening too; time never goes back', async () => {
      const log = await open();
      const first = await log.commit([record('1'), record('w', under.words)], {});
      const second = await log.commit([record('2')], {});
      expect(second.words).toBe(first.words);
      expect(second.time).toBeGreaterThanOrEqual(first.time);
      await log.close();
      const again = await open();
      const { next } = await readAll(again, under.words, first.words);
      const third = await again.commit([record('3')], {});
      expect(third.words).toBe(next);
      expect((await readAll(again, under.words, third.words)).values).toEqual([]);
    });

    test('what rides beside the history is read to its end by the next owner, and an old one adds nothing', async () => {
      const log = await open();
      const chunk = (key: string, value: string | null): Output => ({
        topic: under.snapshots,
        partition: under.partition,
        key,
        value: value === null ? null : Buffer.from(value),
      });
      const first = await log.commit([record('1'), chunk('0/0', 'a'.repeat(250_000))], {});
      const second = await log.commit([record('2'), chunk('0/0', null), chunk('0/1', 'b')], {});
      expect(second.history).toBeGreaterThan(first.history);
      expect(second.words).toBe(first.words);
      const again = await open();
      await expect(log.commit([chunk('0/0', 'of an old owner')], {})).rejects.toMatchObject({ code: 'fenced' });
      const seen: (readonly [string | undefined, number | undefined])[] = [];
      for await (const { records } of again.read(under.snapshots, 0)) seen.push(...records.map(({ key, value }) => [key, value?.byteLength] as const));
      expect(seen).toEqual([
        ['0/0', 250_000],
        ['0/0', undefined],
        ['0/1', 1],
      ]);
      // While it is read, the owner goes on.
      const reading = (async () => {
        let count = 0;
        for await (const { records } of again.read(under.snapshots, 0)) count += records.length;
        return count;
      })();
      await again.commit([record('3')], {});
      expect(await reading).toBeGreaterThanOrEqual(3);
    });

    test('the end is past everything that was committed, and at nothing in a log without records', async () => {
      const log = await open();
      expect(await log.end(under.words)).toBe(0);
      const { history } = await log.commit([record('1'), record('2')], {});
      const again = await open();
      expect(await again.end(under.history)).toBeGreaterThanOrEqual(history);
      expect((await readAll(again, under.history, await again.end(under.history))).values).toEqual([]);
    });

    test('headers and a value of null come back as they were', async () => {
      const log = await open();
      const headers = { trace: Buffer.from([0, 255, 7]), text: 'a' };
      await log.commit([{ topic: under.history, partition: under.partition, key: 'acme/é', value: null, headers }], {});
      for await (const { records } of (await open()).read(under.history, 0)) {
        expect(records.map(({ key, value }) => ({ key, value }))).toEqual([{ key: 'acme/é', value: null }]);
        expect(Buffer.from(records[0]?.headers.trace ?? [])).toEqual(Buffer.from([0, 255, 7]));
        expect(Buffer.from(records[0]?.headers.text ?? []).toString()).toBe('a');
      }
    });

    test('two followers of one partition each get everything, from where each begins', async () => {
      const log = await open();
      const { history } = await log.commit([record('1'), record('2')], {});
      const stop = new AbortController();
      const follow = async (from: number, until: string) => {
        const seen: string[] = [];
        for await (const { records } of under.log.follow(under.history, under.partition, from, stop.signal)) {
          seen.push(...records.map(({ value }) => Buffer.from(value ?? []).toString()));
          if (seen.includes(until)) return seen;
        }
        return seen;
      };
      const followers = [follow(0, '3'), follow(history, '3'), follow(0, '3')];
      await log.commit([record('3')], {});
      expect(await Promise.all(followers)).toEqual([['1', '2', '3'], ['3'], ['1', '2', '3']]);
    });

    test('a follower of a quiet log says that it stands at the end, and ends soon when told', async () => {
      const stop = new AbortController();
      const started = performance.now();
      for await (const { records, next, end } of under.log.follow(under.history, under.partition, 0, stop.signal)) {
        expect({ records, next, end }).toEqual({ records: [], next: 0, end: 0 });
        setTimeout(() => stop.abort(), 100);
      }
      expect(performance.now() - started).toBeLessThan(3_000);
    });
  });
}
