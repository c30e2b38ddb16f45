/** What a store says, against the log: the same bytes as a fresh fold (invariants 3 and 5), and the model's own sums. */
import type { TenantId } from '#schemas/ids.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import { Folder, RESTORING } from '#streams/engine/fold.ts';
import { HistoryReader } from '#streams/engine/history.ts';
import { tenantOf } from '#streams/engine/keys.ts';
import type { Store, Stores } from '#streams/engine/ports.ts';
import { openProjection } from '#streams/engine/projection.ts';
import { waitingIn } from '#streams/engine/queue-pages.ts';
import { memoryLog } from '#streams/memory/partition-log.ts';
import { memoryStores } from '#streams/memory/store.ts';
import type { Balance } from './books.ts';
import { TOPICS } from './broker.ts';
import type { World } from './world.ts';

type Dump = ReadonlyMap<string, string>;

/** Everything a store holds but the words, which are a cache beside the state. */
function dump(store: Awaited<ReturnType<Stores['open']>>): Dump {
  const rows = new Map<string, string>();
  for (const [table, key, value] of store.entries()) if (table !== 'words') rows.set(`${table} ${key}`, Buffer.from(value).toString('hex'));
  return rows;
}

/** What a process left on its disk equals the fold of the log up to the position that stands there. */
export async function checkDisk(world: World, stores: Stores): Promise<string[]> {
  const store = await stores.open(0);
  // Half a snapshot says so: whoever opens it begins anew.
  if (!store.meta || store.meta.version === RESTORING) return [];
  const { history } = store.meta.positions;
  const fresh = await fold(world, history).catch((error: Error) => error);
  if (fresh instanceof Error) return [`invariant 5: ${fresh.message}`];
  const [live, folded] = [dump(store), dump(fresh)];
  const problems: string[] = [];
  if (fresh.meta?.batch !== store.meta.batch || fresh.meta.time !== store.meta.time)
    problems.push(`invariant 3: the store is at batch ${store.meta.batch}, its position ${history} is that of batch ${fresh.meta?.batch}`);
  for (const row of new Set([...live.keys(), ...folded.keys()]))
    if (live.get(row) !== folded.get(row)) problems.push(`invariant 3 and 5: ${row} is ${live.get(row)}, a fresh fold says ${folded.get(row)}`);
  problems.push(...checkKeys(world, store));
  return problems.slice(0, 3);
}

async function fold(world: World, end: number) {
  const fresh = await memoryStores().open(0);
  const folder = new Folder(world.machine, fresh, 1);
  const reader = new HistoryReader<Parameters<World['machine']['evolve']>[1]>(world.machine);
  for (const record of world.broker.records(TOPICS.history)) {
    if (record.offset >= end) break;
    const transaction = reader.push(record);
    if (transaction) folder.add(transaction);
  }
  folder.flush();
  return fresh;
}

/** The secondary keys that the rows call for, from the rows alone: what waits, by name; of the others as many as there are. */
function checkKeys({ machine }: World, store: Store): string[] {
  const keys = { due: 0, running: 0 };
  const expected = { due: 0, running: 0 };
  const [paged, waits]: [string[], string[]] = [[], []];
  for (const [table, key, value] of store.entries()) {
    if (table === 'due' || table === 'running') keys[table]++;
    if (table === 'mark') expected.due += Number(machine.rows.mark.decode(value).forgetAt !== null);
    if (table === 'queue') {
      // A page has one key for the first deadline in it.
      expected.due++;
      for (const { order, due, item } of waitingIn(key, value)) paged.push(`${tenantOf(key)}/${item} ${order} ${due}`);
    }
    if (table !== 'item') continue;
    const { tenant, conversation, turn, waiting } = machine.rows.item.decode(value);
    expected.due += Number(turn !== null);
    expected.running += Number(turn !== null);
    const due = Math.min(...waiting.map(({ deadline }) => deadline));
    if (turn === null) waits.push(`${tenant}/${conversation} ${waiting[0]?.arrival} ${due}`);
  }
  const wrong = (['due', 'running'] as const).filter((table) => keys[table] !== expected[table]);
  const problems = wrong.map((table) => `invariant 3: ${keys[table]} keys in ${table}, the rows call for ${expected[table]}`);
  if (paged.sort().join() !== waits.sort().join()) problems.push(`invariant 3: the queues hold ${paged}, the rows call for ${waits}`);
  return problems;
}

/** Accounts, as whoever reads them sees them, against the model's books. */
export function checkBooks(world: World, reader: Pick<SupportTask, 'peek'>): string[] {
  const problems: string[] = [];
  for (const [name, books] of world.model.tenants) {
    const tenant = name as TenantId;
    const { account } = reader.peek({ tenant });
    const same = (what: string, is: number, expected: number) => {
      if (is !== expected) problems.push(`invariant 4: ${tenant} has ${is} ${what}, the history has ${expected}`);
    };
    for (const count of ['queued', 'running', 'toolCalls', 'answered', 'finished', 'refused'] as const) same(count, account[count], books[count]);
    for (const balance of account.balances) {
      const name = `${balance.window} ${balance.key}`;
      for (const [what, expected] of Object.entries(books.balance(name))) same(`${what} in ${name}`, balance[what as keyof Balance], expected);
    }
  }
  return problems;
}

/** A reader beside the owner, as the gateway is one: it folds what commits, and fences nobody. */
export async function followerOf(world: World): Promise<{ check(): Promise<readonly string[]> }> {
  const stores = memoryStores();
  const log = memoryLog({ broker: world.broker, topics: TOPICS, owned: () => false });
  const { history: topic } = TOPICS;
  const projection = await openProjection({ machine: world.machine, log, stores, partitions: 1, topic, partitionOf: () => 0 });
  void projection.failed.then((error) => world.problem(`a follower: ${error.message}`));
  return {
    async check() {
      const behind = world.model.transactions - (projection.store(0).meta?.batch ?? 0);
      const problems = behind === 0 ? checkBooks(world, projection) : [`invariant 11: a follower is ${behind} transactions behind`];
      problems.push(...(await checkDisk(world, stores)));
      await projection.close();
      return problems;
    },
  };
}
