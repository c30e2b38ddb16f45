/** One round: load, a fault, its healing, then the judgement of a program that knows only the topics, and the replay of the history. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT } from '#services/exit.ts';
import type { CheckFile } from './check-main.ts';
import type { Judged } from './evidence.ts';
import { type Case, RUNTIMES } from './faults.ts';
import { Load } from './load.ts';
import { type End, PARTITION_CAP, Platform } from './platform.ts';
import { TENANTS } from './tenants.ts';

export type Outcome = {
  readonly seed: number;
  readonly fault: string;
  readonly ok: boolean;
  /** In this round, and requests that ended since the platform was started. */
  readonly acknowledged: number;
  readonly ended: number;
  /** From the healing until nothing was open any more; undefined when it never was. */
  readonly lag_back_ms: number | undefined;
  readonly problems: readonly string[];
  /** How processes ended: `runtime-1 SIGKILL`. */
  readonly ends: readonly string[];
  /** Local stores that were thrown away, loudly. */
  readonly discarded: number;
  readonly seen: Readonly<Record<string, number>>;
  readonly seconds: number;
};

const BEFORE = 40;
const AFTER = 40;
const WITHIN_MS = 60_000;
const LAG_WITHIN_MS = 60_000;
/** How a process may end by itself: ops.ts says what each means, and `npm start` starts it again. */
const LOUD = new Set<number>([EXIT.fatal, EXIT.disk, EXIT.wedged]);

export class Arena {
  readonly #platform = new Platform();
  readonly #load: Load;
  readonly #brokers: 1 | 3;
  #rounds = 0;

  constructor(brokers: 1 | 3, random: () => number) {
    this.#brokers = brokers;
    this.#load = new Load(this.#platform, random);
  }

  /** Where everything of it is kept. */
  get folders(): readonly string[] {
    return [this.#platform.home, this.#platform.kafka.dataDir];
  }

  async open(cases: readonly Case[]): Promise<void> {
    await this.#platform.start(this.#brokers, RUNTIMES, cases.some(({ fault }) => fault.small) ? RUNTIMES[0] : undefined);
    await this.#load.prepare();
  }

  async close(keep: boolean): Promise<void> {
    await this.#load.close();
    await this.#platform.stop(keep);
    if (!keep) this.#platform.remove();
  }

  async round(seed: number, { name, fault, boundary }: Case, random: () => number): Promise<Outcome> {
    const started = performance.now();
    const [platform, load] = [this.#platform, this.#load];
    const [acknowledged, ends, discarded] = [load.acknowledged.length, platform.ends.length, this.#discarded()];
    const problems: string[] = [];
    let healed = performance.now();
    let judged: Judged | undefined;
    let lag: number | undefined;
    try {
      await load.grant(++this.#rounds);
      load.start(this.#rounds);
      await this.#acknowledgements(BEFORE);
      await fault.run({ platform, random, boundary });
      healed = performance.now();
      await this.#allReady();
      await this.#acknowledgements(AFTER);
      await load.stop();
      judged = await this.#settle(healed);
      if (quiet(judged)) lag = Math.round(performance.now() - healed);
      else problems.push(`invariant 11: ${LAG_WITHIN_MS / 1_000} s after the healing ${JSON.stringify(judged.open)} is open`);
      judged = await this.#judge();
      problems.push(...judged.problems, ...(await this.#replay()));
    } catch (error) {
      await load.stop();
      problems.push((error as Error).message);
    }
    const since = platform.ends.slice(ends);
    problems.push(...since.filter(silent).map((end) => `${asText(end)}: no documented end`));
    return {
      seed,
      fault: name,
      ok: problems.length === 0,
      acknowledged: load.acknowledged.length - acknowledged,
      ended: judged?.seen.ended ?? 0,
      lag_back_ms: lag,
      problems,
      ends: since.map(asText),
      discarded: this.#discarded() - discarded,
      seen: judged?.seen ?? {},
      seconds: Math.round((performance.now() - started) / 100) / 10,
    };
  }

  async #acknowledgements(more: number): Promise<void> {
    const from = this.#load.acknowledged.length;
    await this.#platform.until(`${more} acknowledgements`, WITHIN_MS, () => this.#load.acknowledged.length >= from + more);
  }

  async #allReady(): Promise<void> {
    for (const name of ['gateway', ...RUNTIMES, 'auditor']) await this.#platform.until(`${name} to be ready`, WITHIN_MS, () => this.#platform.ready(name));
  }

  async #settle(healed: number): Promise<Judged> {
    for (;;) {
      const judged = await this.#judge();
      if (quiet(judged) || performance.now() - healed > LAG_WITHIN_MS) return judged;
    }
  }

  async #judge(): Promise<Judged> {
    const { cluster, masterKey, home } = this.#platform;
    const tenants = TENANTS.map(({ name }) => name);
    const file = join(home, 'check.json');
    const check: CheckFile = { cluster, masterKey, tenants, cap: PARTITION_CAP, acknowledged: this.#load.acknowledged };
    writeFileSync(file, JSON.stringify(check), { mode: 0o600 });
    return JSON.parse(await this.#platform.node(['test/chaos/check-main.ts', file], (code) => code === 1)) as Judged;
  }

  /** Invariants 3 and 5. */
  async #replay(): Promise<readonly string[]> {
    type Verified = { readonly ok: boolean; readonly partitions: readonly { readonly partition: number; readonly ok: boolean; readonly why?: string }[] };
    const said = await this.#platform.node(['services/cli/main.ts', 'replay', 'verify', '--json'], (code) => code === 1);
    const { partitions } = JSON.parse(said) as Verified;
    return partitions.filter(({ ok }) => !ok).map(({ partition, why }) => `invariant 3 and 5: partition ${partition}: ${why}`);
  }

  #discarded(): number {
    return RUNTIMES.reduce((sum, name) => sum + this.#platform.log(name).split('local store thrown away').length - 1, 0);
  }
}

const quiet = ({ open }: Judged): boolean => open.inputs + open.requests + open.audit === 0;
const silent = ({ code, signal }: End): boolean => signal !== 'SIGKILL' && !(code !== null && (code === 0 || LOUD.has(code)));
const asText = ({ name, code, signal }: End): string => `${name} ${signal ?? `exit ${code}`}`;
