/** What a round does to the platform, and how it is healed again. A fault resolves once it is healed. */
import { spawnSync } from 'node:child_process';
import { closeSync, globSync, openSync, readdirSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT } from '#services/exit.ts';
import type { Boundary } from './boundaries.ts';
import type { Platform } from './platform.ts';

export type Strike = { readonly platform: Platform; readonly random: () => number; readonly boundary: Boundary | undefined };
export type Fault = {
  readonly what: string;
  /** One case for each. */
  readonly boundaries?: readonly Boundary[];
  /** Its own runtime's data folder is on a small disk: root alone may mount one. */
  readonly small?: true;
  readonly run: (strike: Strike) => Promise<void>;
};

const VICTIM = 'runtime-1';
const OTHER = 'runtime-2';
export const RUNTIMES = [VICTIM, OTHER] as const;
const WITHIN_MS = 30_000;
const READY_WITHIN_MS = 60_000;
/** The group's session timeout is 6 s: by then its partitions belong to another. */
const STOPPED_MS = 9_000;
const RIVALRY_MS = 6_000;
const FULL_MS = 8_000;
/** It tries for 15 s, and closes what it holds. */
const GIVES_UP_WITHIN_MS = 40_000;
const TAKEN_OVER_WITHIN_MS = 5_000;
const FILL_AGAIN_MS = 100;
/** Boundaries of an opening: they are waited for at the next start. */
const AT_OPENING: readonly Boundary[] = ['fenced', 'store-opened'];

export const FAULTS: Readonly<Record<string, Fault>> = {
  'kill-runtime': {
    what: 'kill -9 of a runtime at a named boundary',
    boundaries: ['fenced', 'store-opened', 'announced', 'sending', 'written', 'offsets', 'unknown', 'committed', 'unstored', 'stored'],
    run: (strike) => killAtBoundary(strike, VICTIM),
  },
  'kill-auditor': {
    what: 'kill -9 of the auditor, its entries acknowledged or its chains stored',
    boundaries: ['unstored', 'stored'],
    run: (strike) => killAtBoundary(strike, 'auditor'),
  },
  'kill-gateway': {
    what: 'kill -9 of the gateway under load',
    run: ({ platform }) => killAll(platform, ['gateway']),
  },
  'kill-all': {
    what: 'kill -9 of every service at once',
    run: ({ platform }) => killAll(platform, [...RUNTIMES, 'auditor', 'gateway']),
  },
  'stop-runtime': {
    what: 'SIGSTOP of a runtime for longer than its session, then SIGCONT: a zombie that does not know it',
    async run({ platform }) {
      platform.signal(VICTIM, 'SIGSTOP');
      await pause(STOPPED_MS);
      platform.signal(VICTIM, 'SIGCONT');
    },
  },
  'kill-broker': {
    what: 'kill -9 of a broker, which is started again after a second to ten',
    async run({ platform, random }) {
      const broker = Math.floor(random() * platform.cluster.brokers.length);
      await platform.kafka.kill(broker);
      await pause(1_000 + random() * 9_000);
      await platform.kafka.restart(broker);
    },
  },
  'two-owners': {
    what: 'a second runtime that is sure of every partition: both fence each other for seconds',
    async run({ platform }) {
      await platform.startAlone('rival', 'rival.ts');
      await pause(RIVALRY_MS);
      await platform.kill('rival');
    },
  },
  'disk-full': { what: "a runtime's disk is full for seconds, to the last byte", small: true, run: (strike) => fullDisk(strike, false) },
  'disk-stays-full': {
    what: "a runtime's disk stays full: it hands its partitions over and exits, and starts again without joining until there is room",
    small: true,
    run: diskStaysFull,
  },
  'disk-full-at-start': { what: 'a runtime is killed, and starts on a full disk', small: true, run: (strike) => fullDisk(strike, true) },
  'truncated-log': {
    what: "RocksDB's write-ahead log loses its second half while its runtime is down",
    run: ({ platform }) => damage(platform, '.log'),
  },
  'truncated-table': {
    what: 'a table file of RocksDB loses its second half while its runtime is down',
    run: ({ platform }) => damage(platform, '.sst'),
  },
  'lost-store': {
    what: 'the local stores of a runtime are gone',
    run: ({ platform }) => downAndUp(platform, () => rmSync(join(platform.dataDir(VICTIM), 'stores'), { recursive: true, force: true })),
  },
};

export type Case = { readonly name: string; readonly fault: Fault; readonly boundary: Boundary | undefined };
export const CASES: readonly Case[] = Object.entries(FAULTS).flatMap(([name, fault]): Case[] =>
  fault.boundaries ? fault.boundaries.map((boundary) => ({ name: `${name}/${boundary}`, fault, boundary })) : [{ name, fault, boundary: undefined }],
);

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function killAtBoundary({ platform, random, boundary }: Strike, name: string): Promise<void> {
  if (!boundary) throw new Error('which boundary?');
  const opening = AT_OPENING.includes(boundary);
  const before = platform.endsOf(name).length;
  platform.arm(name, { boundary, nth: 1 + Math.floor(random() * (opening ? 3 : 30)) }, !opening);
  if (opening) await platform.kill(name);
  const ends = before + (opening ? 2 : 1);
  await platform.until(`${name} to die at ${boundary}`, WITHIN_MS, () => platform.hit(name) && platform.endsOf(name).length >= ends);
}

async function killAll(platform: Platform, names: readonly string[]): Promise<void> {
  await Promise.all(names.map((name) => platform.kill(name)));
}

async function downAndUp(platform: Platform, whileDown: () => void): Promise<void> {
  await platform.kill(VICTIM, whileDown);
  await platform.until(`${VICTIM} to be ready`, READY_WITHIN_MS, () => platform.ready(VICTIM));
}

/** The newest file of that kind in each store. A kill -9 first: at its next opening RocksDB turns its log into a table. */
async function damage(platform: Platform, kind: '.log' | '.sst'): Promise<void> {
  if (kind === '.sst') await downAndUp(platform, () => undefined);
  let cut = 0;
  await downAndUp(platform, () => {
    const stores = join(platform.dataDir(VICTIM), 'stores');
    for (const store of readdirSync(stores)) {
      const files = readdirSync(join(stores, store)).filter((file) => file.endsWith(kind));
      const newest = files.map((file) => join(stores, store, file)).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
      if (!newest) continue;
      truncateSync(newest, Math.floor(statSync(newest).size / 2));
      cut++;
    }
  });
  if (cut === 0) throw new Error(`no store of ${VICTIM} has a ${kind} file: nothing was damaged`);
}

type Ballast = { readonly fill: () => void; readonly drop: () => void };

/** To the last byte: what RocksDB has reserved for its logs, and what it lets go of, is taken from it too. */
function ballastOf(dir: string): Ballast {
  const ballast = join(dir, 'ballast');
  if (globSync('stores/*/*.log', { cwd: dir }).length === 0) throw new Error(`${VICTIM} has no store: nothing would be written to its disk`);
  return {
    fill() {
      for (const log of globSync('stores/*/*.log', { cwd: dir })) unreserve(join(dir, log));
      fillUp(ballast);
    },
    drop: () => rmSync(ballast),
  };
}

async function diskStaysFull({ platform }: Strike): Promise<void> {
  const { fill, drop } = ballastOf(platform.dataDir(VICTIM));
  const openedBy = (name: string) => platform.log(name).split('"partition opened"').length;
  const [ends, others] = [platform.endsOf(VICTIM).length, openedBy(OTHER)];
  let [full, opened] = [true, 0];
  const filling = (async () => {
    for (; full; await pause(FILL_AGAIN_MS)) fill();
  })();
  try {
    await platform.until(`${VICTIM} to give up`, GIVES_UP_WITHIN_MS, () => platform.endsOf(VICTIM).length > ends);
    const code = platform.endsOf(VICTIM)[ends]?.code;
    if (code !== EXIT.disk) throw new Error(`${VICTIM} ended with ${code} and not ${EXIT.disk}`);
    opened = openedBy(VICTIM);
    await platform.until(`${OTHER} to take over, before any session could end`, TAKEN_OVER_WITHIN_MS, () => openedBy(OTHER) > others);
    await pause(FULL_MS);
  } finally {
    full = false;
    await filling;
    drop();
  }
  if (openedBy(VICTIM) > opened) throw new Error(`${VICTIM} took partitions although its disk was full`);
  await platform.until(`${VICTIM} to be ready`, READY_WITHIN_MS, () => platform.ready(VICTIM));
}

async function fullDisk({ platform }: Strike, atStart: boolean): Promise<void> {
  const { fill, drop } = ballastOf(platform.dataDir(VICTIM));
  const complaints = () => platform.log(VICTIM).split(/no space left on device/i).length;
  const before = complaints();
  if (atStart) await platform.kill(VICTIM, fill);
  for (const end = performance.now() + FULL_MS; performance.now() < end; await pause(FILL_AGAIN_MS)) fill();
  drop();
  if (complaints() === before) throw new Error(`${VICTIM} has met no full disk, or says nothing of it`);
  await platform.until(`${VICTIM} to be ready`, READY_WITHIN_MS, () => platform.ready(VICTIM));
}

/** Pages of a file beyond its end. It may be gone meanwhile. */
function unreserve(file: string): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) return;
  const page = 4_096;
  const from = Math.ceil(size / page) * page;
  spawnSync('fallocate', ['--punch-hole', '--offset', String(from), '--length', String(64 * 1_048_576), file]);
}

function fillUp(file: string): void {
  const out = openSync(file, 'a');
  try {
    for (let size = 1_048_576; size >= 1; ) {
      try {
        writeSync(out, Buffer.alloc(size));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        size = Math.floor(size / 2);
      }
    }
  } finally {
    closeSync(out);
  }
}
