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
  });
}
