/** Invariants 3 and 5: whatever a partition is opened from, its state is the fold of its log; a torn snapshot is told and never used. */
import { describe, expect, test } from 'vitest';
import { EvenkeelError } from '#schemas/errors.ts';
import { Folder } from '#streams/engine/fold.ts';
import type { Log, PartitionLog, Rec, Store, Stores } from '#streams/engine/ports.ts';
import { recover, restoreFrom, type Source } from '#streams/engine/recover.ts';
import { restore } from '#streams/engine/restore.ts';
import { newest, type Slot, survey } from '#streams/engine/snapshot-survey.ts';
import { SnapshotWriter } from '#streams/engine/snapshot-writer.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import { Desk, machine, requestOf, SNAPSHOTS, until } from './snapshot-desk.ts';

const topics = { history: 'tenant.events', words: 'support.steps' };
const META = { positions: { history: 1, words: 0 }, batch: 1, time: 0, inputs: {}, partitions: 1 };
const EXPECTED = { version: machine.version, partitions: 1 };

class World {
  #now = 20_000 * 86_400_000;
  readonly broker = new MemoryBroker(() => this.#now++);
  readonly log = memoryLog({ broker: this.broker, topics, owned: () => true });
  readonly stores = memoryStores();

  open(stores: Stores = memoryStores(), more: { readonly topic?: string | undefined; readonly every?: number } = { topic: SNAPSHOTS }): Promise<Desk> {
    return Desk.open({ log: this.log, topics, stores, ...more });
  }
  /** An owner that has served, has written `snapshots` of them, has gone on and has ended. Its state's hash. */
  async history(snapshots = 2): Promise<string> {
    const desk = await this.open(this.stores);
    await desk.tenants();
    let at = 0;
    // Each is written to its end before the traffic goes on: none is under way at the close.
    const between = () => this.records.length === 0 || (this.records.at(-1)?.key?.endsWith('manifest') === true && this.records.at(-1)?.value !== null);
    for (; desk.written.length < snapshots; at += 10) {
      await desk.traffic(at, at + 10);
      await until(between);
    }
    // What is not yet in any snapshot.
    await desk.traffic(at, at + 5);
    await desk.idle();
    const { hash } = stateHash(desk.task.store);
    await desk.task.close();
    return hash;
  }
  get records(): Rec[] {
    return this.broker.partition(SNAPSHOTS, 0).records;
  }
  async slots(): Promise<readonly Slot[]> {
    const { records } = this;
    const log = {
      read: async function* () {
        yield { records, next: records.length, end: records.length };
      },
    };
    return survey(machine.snapshots, log, SNAPSHOTS);
  }
  async newest(): Promise<{ readonly slot: number; readonly snapshot: number; readonly parts: number }> {
    const whole = newest(await this.slots(), EXPECTED, () => undefined);
    if (!whole) throw new Error('there is no whole snapshot');
    return { slot: whole.name, snapshot: whole.manifest.snapshot, parts: whole.manifest.parts };
  }
  append(key: string, value: Uint8Array | null): void {
    this.broker.append({ topic: SNAPSHOTS, key, value }, 0);
  }
  /** The newest record of a key, decoded. */
  record(key: string) {
    const found = this.records.findLast((record) => record.key === key)?.value;
    if (!found) throw new Error(`no ${key}`);
    return machine.snapshots.decode(found);
  }
}

async function opened(world: World, stores?: Stores, topic: string | undefined = SNAPSHOTS) {
  const desk = await world.open(stores, { topic, every: 1e9 });
  const { hash } = stateHash(desk.task.store);
  return { desk, hash, recovered: desk.recovered[0], warnings: desk.warnings };
}

describe('a partition is opened', () => {
  test('from its store, from a snapshot and from nothing but the log, to the same state', async () => {
    const world = new World();
    const hash = await world.history();
    const store = await opened(world, world.stores);
    await store.desk.task.close();
    const snapshot = await opened(world);
    await snapshot.desk.task.close();
    const desk = await world.open(memoryStores(), {});
    expect([store.hash, snapshot.hash, stateHash(desk.task.store).hash]).toEqual([hash, hash, hash]);
    expect([store.recovered?.source, snapshot.recovered?.source, desk.recovered[0]?.source]).toEqual(['store', 'snapshot', 'log']);
    const [tail, all] = [snapshot.recovered?.events ?? 0, desk.recovered[0]?.events ?? 0];
    expect(store.recovered?.events).toBe(0);
    expect(tail).toBeGreaterThan(0);
    expect(tail).toBeLessThan(all / 2);
    expect(snapshot.warnings).toEqual([]);
    await desk.task.close();
  });

  test('from a snapshot with the words of every request that still waits, however old, and with none of another', async () => {
    const world = new World();
    await world.history();
    const { desk } = await opened(world);
    const rows = desk.task.store.scan('item', '', 1_000);
    const wanted = rows.flatMap(([key, value]) =>
      machine.itemWords(machine.rows.item.decode(value)).map((name) => ({ tenant: key.split('/')[0], mark: name.split('/')[0] as string })),
    );
    expect(wanted.length).toBeGreaterThan(20);
    // The first request of all may be among them: long before the snapshot.
    for (const { tenant, mark } of wanted)
      expect(Buffer.from(desk.task.words({ tenant: tenant as never, mark }, 'message') ?? []).toString()).toContain(`sealed words of ${Number(mark.slice(2))}`);
    expect(desk.task.store.scan('words', '', 1_000).length).toBe(wanted.length);
    expect(desk.task.words({ tenant: 'acme' as never, mark: requestOf(100_000) }, 'message')).toBeUndefined();
    await desk.task.close();
  });

  test('in another thread when its history is long, and by another way when that says that the one before does not fit', async () => {
    const world = new World();
    await world.history();
    const log = await world.log.open(0);
    const asked: string[] = [];
    const recovery = { machine, partition: 0, partitions: 1, topics, snapshots: { topic: SNAPSHOTS }, discarded: (why: string) => asked.push(why) };
    const aside = async (_: number, store: Store, source: Source) => {
      asked.push(source);
      if (source === 'last snapshot') store.write([{ table: 'mark', key: 'left', value: Buffer.from('behind') }], { ...META, version: machine.version });
      if (source === 'last snapshot') throw new EvenkeelError('store_ahead', 'it is ahead');
      return restoreFrom(recovery, log, store, source);
    };
    const short = await recover({ ...recovery, stores: memoryStores(), aside }, log, undefined);
    expect([asked, short.source]).toEqual([[], 'snapshot']);
    const long = await recover({ ...recovery, stores: memoryStores(), aside }, { ...log, read: log.read.bind(log), end: async () => 60_000 }, undefined);
    expect([asked, long.source]).toEqual([['last snapshot', 'it is ahead', 'snapshot'], 'snapshot']);
    expect(stateHash(long.store)).toEqual(stateHash(short.store));
  });

  test('from a topic that was compacted, its tombstones gone', async () => {
    const world = new World();
    const hash = await world.history(3);
    world.broker.compact(SNAPSHOTS, 0);
    const { desk, ...found } = await opened(world);
    expect(found).toMatchObject({ hash, recovered: { source: 'snapshot' }, warnings: [] });
    await desk.task.close();
  });

  test('from the snapshot that its topic ends with, which is read once; by a survey when another was begun since', async () => {
    const world = new World();
    const hash = await world.history(3);
    const froms: number[] = [];
    const counted = async () => {
      const log = await world.log.open(0);
      const read: PartitionLog['read'] = (topic, from) => {
        if (topic === SNAPSHOTS) froms.push(from);
        return log.read(topic, from);
      };
      const recovery = { machine, stores: memoryStores(), partition: 0, partitions: 1, topics, snapshots: { topic: SNAPSHOTS }, discarded: expect.fail };
      const { store, source } = await recover(recovery, { ...log, read }, undefined);
      expect([stateHash(store).hash, source]).toEqual([hash, 'snapshot']);
    };
    await counted();
    expect(froms.length).toBe(2);
    // Its end, and then from where its chunks may begin.
    expect(froms[0]).toBeGreaterThan(froms[1] ?? 0);
    const { slot } = await world.newest();
    world.append(`${1 - slot}/manifest`, null);
    world.append(`${1 - slot}/0`, machine.snapshots.encode({ type: 'snapshot_chunk', snapshot: 1e6, part: 0, rows: Buffer.from('begun') }));
    await counted();
    expect(froms.length).toBe(2 + 3);
  });

  test('by a survey, in a store thrown away and made anew, when what the topic ends with is not what its manifest says', async () => {
    const world = new World();
    const hash = await world.history(2);
    const { slot } = await world.newest();
    const at = world.records.findLastIndex(({ key }) => key === `${slot}/0`);
    const chunk = world.record(`${slot}/0`);
    if (chunk.type !== 'snapshot_chunk') throw new Error('no chunk');
    const rows = Buffer.from(chunk.rows);
    rows[20] = (rows[20] ?? 0) ^ 1;
    world.records[at] = { ...(world.records[at] as Rec), value: machine.snapshots.encode({ ...chunk, rows }) };
    const { desk, recovered, warnings, ...found } = await opened(world);
    expect([found.hash, recovered?.source]).toEqual([hash, 'snapshot']);
    const digest = expect.stringContaining('its digest is not that of its chunks');
    // Told of what was loaded, and of what the survey passed over.
    expect(warnings).toEqual([digest, digest]);
    await desk.task.close();
  });

  test.each([0, 1])('by a survey when chunk %i of what the topic ends with cannot be read', async (part) => {
    const world = new World();
    const hash = await world.history(2);
    const { slot } = await world.newest();
    const at = world.records.findLastIndex(({ key }) => key === `${slot}/${part}`);
    // Of a schema that nobody has registered here.
    world.records[at] = { ...(world.records[at] as Rec), value: Buffer.from([0, 0, 1, 1, 1, 1]) };
    const { desk, recovered, ...found } = await opened(world);
    expect([found.hash, recovered?.source]).toEqual([hash, 'snapshot']);
    expect(found.warnings.at(-1)).toContain(`chunk ${part} of`);
    await desk.task.close();
  });

  test('again from a snapshot after a crash in the middle of loading one', async () => {
    const world = new World();
    const hash = await world.history();
    const stores = memoryStores();
    let writes = 0;
    const crashing: Stores = {
      ...stores,
      async open(partition) {
        const store = await stores.open(partition);
        const write: Store['write'] = (batch, meta) => {
          if (++writes > 3) throw new Error('the process dies');
          store.write(batch, meta);
        };
        return Object.defineProperties({ ...store, write }, { meta: { get: () => store.meta } });
      },
    };
    const log = await world.log.open(0);
    const recovery = {
      machine,
      stores: crashing,
      partition: 0,
      partitions: 1,
      topics,
      snapshots: { topic: SNAPSHOTS },
      discarded: () => undefined,
      ignored: () => undefined,
    };
    await expect(recover(recovery, log, undefined)).rejects.toThrow('the process dies');
    const { desk, ...found } = await opened(world, stores);
    expect(found).toMatchObject({ hash, recovered: { source: 'snapshot' } });
    expect(found.warnings).toEqual([expect.stringContaining('it was filled in part')]);
    await desk.task.close();
  });
});

describe('a torn snapshot is told, and the one before it is used:', () => {
  const cases: Record<string, readonly [(world: World, key: (part: number | 'manifest') => string) => void, string]> = {
    'a missing chunk': [(world, key) => world.append(key(1), null), 'chunk 1 of'],
    'a changed byte': [
      (world, key) => {
        const chunk = world.record(key(0));
        if (chunk.type !== 'snapshot_chunk') throw new Error('no chunk');
        const rows = Buffer.from(chunk.rows);
        rows[20] = (rows[20] ?? 0) ^ 1;
        world.append(key(0), machine.snapshots.encode({ ...chunk, rows }));
      },
      'its digest is not that of its chunks',
    ],
    'a chunk of another owner': [
      (world, key) => {
        const chunk = world.record(key(1));
        world.append(key(1), machine.snapshots.encode({ ...chunk, snapshot: chunk.snapshot + 1 }));
      },
      'chunk 1 belongs to batch',
    ],
    'the manifest of another owner': [
      (world, key) => {
        const manifest = world.record(key('manifest'));
        world.append(key('manifest'), machine.snapshots.encode({ ...manifest, snapshot: manifest.snapshot + 5 }));
      },
      'chunk 0 belongs to batch',
    ],
    'an older fold': [
      (world, key) => {
        const manifest = world.record(key('manifest'));
        if (manifest.type === 'snapshot_manifest') world.append(key('manifest'), machine.snapshots.encode({ ...manifest, version: 1 }));
      },
      'it was folded by version 1',
    ],
    'another count of partitions': [
      (world, key) => {
        const manifest = world.record(key('manifest'));
        if (manifest.type === 'snapshot_manifest') world.append(key('manifest'), machine.snapshots.encode({ ...manifest, partitions: 7 }));
      },
      'it was written for 7 partitions',
    ],
    'a chunk that cannot be read': [(world, key) => world.append(key(0), Buffer.from('nonsense')), 'chunk 0 of'],
  };
  test.each(Object.entries(cases))('%s', async (_, [tear, why]) => {
    const world = new World();
    const hash = await world.history(2);
    const { slot, snapshot } = await world.newest();
    tear(world, (part) => `${slot}/${part}`);
    const before = await opened(world);
    expect(before).toMatchObject({ hash, recovered: { source: 'snapshot' } });
    expect(before.warnings).toEqual([expect.stringContaining(why)]);
    await before.desk.task.close();
    const other = await world.newest();
    expect(other.snapshot).toBeLessThan(snapshot);
    // Without the other one as well: the log.
    world.append(`${other.slot}/0`, null);
    const last = await opened(world);
    expect(last).toMatchObject({ hash, recovered: { source: 'log' } });
    await last.desk.task.close();
  });

  test('a manifest that takes it back is no flaw', async () => {
    const world = new World();
    const hash = await world.history(2);
    const { slot } = await world.newest();
    world.append(`${slot}/manifest`, null);
    const found = await opened(world);
    expect(found).toMatchObject({ hash, recovered: { source: 'snapshot' }, warnings: [] });
    await found.desk.task.close();
  });

  test('one that is ahead of its log is thrown away, and nothing of it stays', async () => {
    const world = new World();
    await world.history();
    const other = new World();
    for (const { key, value } of world.records) other.append(key ?? '', value);
    const { desk, recovered, warnings } = await opened(other);
    expect(recovered).toMatchObject({ source: 'log', events: 0 });
    // As the last record of its topic, and as what a survey of the topic finds.
    const ahead = expect.stringMatching(/thrown away: the store reflects the history up to \d+, the log ends at 0/);
    expect(warnings).toEqual([ahead, ahead]);
    expect(stateHash(desk.task.store).rows).toBe(0);
    await desk.task.close();
  });
});

describe('while snapshots are written', () => {
  test('from the first on there is a whole one after every transaction, compacted or not', async () => {
    const world = new World();
    await world.history(4);
    const all = [...world.records];
    let [seen, before] = [0, -1];
    for (let end = 0; end <= all.length; end++) {
      world.broker.partition(SNAPSHOTS, 0).records = all.slice(0, end);
      if (end % 3 === 0) world.broker.compact(SNAPSHOTS, 0, end % 2 === 0);
      const whole = newest(await world.slots(), EXPECTED, (why) => expect.fail(why));
      // The first chunk and the end of its slot's manifest are one transaction, as are a commit and its marker.
      if (whole) seen++;
      if (seen > 0) expect(whole, `after ${end} records`).toBeDefined();
      expect(whole?.manifest.snapshot ?? 0).toBeGreaterThanOrEqual(before);
      before = whole?.manifest.snapshot ?? before;
    }
    expect(seen).toBeGreaterThan(10);
  });

  test('an owner that ends in the middle leaves nothing that its successor could take for whole', async () => {
    const world = new World();
    await world.history(1);
    const first = await world.newest();
    const desk = await Desk.open({ log: world.log, topics, stores: world.stores, topic: SNAPSHOTS, every: 10, pauseMs: 5 });
    const length = world.records.length;
    await desk.traffic(1_000, 1_030);
    await until(() => world.records.length > length + 2);
    await desk.task.close();
    expect(await world.newest()).toEqual(first);
    const next = await Desk.open({ log: world.log, topics, stores: world.stores, topic: SNAPSHOTS, every: 10 });
    await next.traffic(2_000, 2_030);
    await until(() => next.written.length > 0);
    await next.task.close();
    const second = await world.newest();
    expect(second.snapshot).toBeGreaterThan(first.snapshot);
    expect([desk.warnings, next.warnings]).toEqual([[], []]);
  });

  test('two writers of one slot never leave a mixture that is taken for whole', async () => {
    const outcomes = new Set<string>();
    for (let seed = 1; seed <= 200; seed++) {
      const world = new World();
      const writers: SnapshotWriter[] = [];
      for (const [batch, of] of [10, 11].entries()) {
        const store = await memoryStores().open(0);
        const rows = Array.from({ length: 12 }, (_, row) => ({ table: 'mark' as const, key: `acme/${row}`, value: Buffer.from(`of writer ${of}`) }));
        store.write(rows, { ...new Folder(machine, store, 1).meta, batch: 10 + batch });
        writers.push(new SnapshotWriter(machine.snapshots, store, { topic: SNAPSHOTS, partition: 0, slot: 0, former: [] }, 100));
      }
      let random = seed;
      while (writers.some(({ done }) => !done)) {
        random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
        // In runs: one writer is slow, as a zombie is.
        const writer = writers[random % 97 < 48 ? 0 : 1] as SnapshotWriter;
        if (!writer.done) for (const { key, value } of writer.step() ?? []) world.append(key, value);
      }
      const into = await memoryStores().open(0);
      const restored = await restore({ codec: machine.snapshots, topic: SNAPSHOTS, ...EXPECTED, ignored: () => undefined }, await world.log.open(0), into);
      const values = new Set(into.scan('mark', '', 100).map(([, value]) => Buffer.from(value).toString()));
      expect(values.size).toBe(restored ? 1 : 0);
      outcomes.add(restored ? [...values].join() : 'none');
    }
    expect([...outcomes].sort()).toContain('none');
    expect(outcomes.size).toBeGreaterThan(1);
  });

  test('the chunks of a longer one before it go, and a row may be larger than a chunk', async () => {
    const world = new World();
    const store = await memoryStores().open(0);
    const write = async (batch: number, value: Uint8Array | undefined, former: Iterable<number>) => {
      store.write([{ table: 'account', key: 'acme', value }], { ...new Folder(machine, store, 1).meta, batch });
      const writer = new SnapshotWriter(machine.snapshots, store, { topic: SNAPSHOTS, partition: 0, slot: 1, former }, 100);
      while (!writer.done) for (const record of writer.step() ?? []) world.append(record.key, record.value);
    };
    const parts = async () => [...((await world.slots())[1]?.parts.keys() ?? [])];
    await write(1, new Uint8Array(5_000).fill(7), []);
    expect((await parts()).length).toBe(51);
    await write(2, Buffer.from('small'), await parts());
    expect(await parts()).toEqual([0]);
    await write(3, undefined, await parts());
    expect(await parts()).toEqual([]);
    expect(await world.newest()).toEqual({ slot: 1, snapshot: 3, parts: 0 });
  });

  test('one that fell due while it was not yet time is written without another transaction', async () => {
    const world = new World();
    const desk = await Desk.open({ log: world.log, topics, stores: world.stores, topic: SNAPSHOTS, every: 50, settleMs: 300 });
    await desk.tenants();
    await desk.traffic(0, 30);
    expect(desk.written.length).toBe(0);
    await until(() => desk.written.length > 0);
    await desk.task.close();
  });

  test('none is written twice for the same history, nor by an owner whose store knows of a recent one', async () => {
    const world = new World();
    await world.history(2);
    const length = world.records.length;
    let surveys = 0;
    const log: Log = {
      ...world.log,
      async open(partition) {
        const opened = await world.log.open(partition);
        const read: PartitionLog['read'] = (topic, from) => {
          if (topic === SNAPSHOTS) surveys++;
          return opened.read(topic, from);
        };
        return { ...opened, read };
      },
    };
    const desk = await Desk.open({ log, topics, stores: world.stores, topic: SNAPSHOTS });
    await desk.traffic(5_000, 5_002);
    await new Promise((resolve) => setTimeout(resolve, 30));
    await desk.task.close();
    expect(world.records.length).toBe(length);
    expect(surveys).toBe(0);
  });
});
