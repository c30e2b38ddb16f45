/**
 * What is outside of a partition: the provider that effects call, and the way their results take back to the task: late, twice, out of
 * order, or of an attempt long over. It keeps the bills, and says when a call was not allowed or was made twice.
 */
import type { Codec } from '#schemas/codec.ts';
import type { StepKind } from '#schemas/events.ts';
import type { MicroUsd, PersonId, TenantId } from '#schemas/ids.ts';
import { CallFailed, type SupportTask } from '#services/runtime/journal.ts';
import { type Agent, turns } from '#services/runtime/turns.ts';
import type { Effects } from '#streams/engine/ports.ts';
import type { Input, StepFinish, StepStart } from '#streams/support/input.ts';
import type { RunTurn } from '#streams/support/support.ts';
import type { Amount } from './books.ts';
import type { Process } from './process.ts';
import { numberOf } from './traffic.ts';
import type { World } from './world.ts';

const STEP_MS = 400;
const HANGS_MS = 5_000;
const LATE_MS = 2_000;
/** Each step's worst case; two of them fit into most ceilings. */
const WORST = { worstCase: 900 as MicroUsd, worstTokens: 100 };

export class Bills {
  /** By request, then by step and attempt. */
  readonly #calls = new Map<string, Map<string, Amount>>();

  of(request: string, step: string, attempt: number): Amount | undefined {
    return this.#calls.get(request)?.get(`${step}/${attempt}`);
  }
  total(request: string): Amount {
    const bills = [...(this.#calls.get(request)?.values() ?? [])];
    return { money: bills.reduce((sum, { money }) => sum + money, 0), tokens: bills.reduce((sum, { tokens }) => sum + tokens, 0) };
  }
  forget(request: string): void {
    this.#calls.delete(request);
  }
  /** Whether that attempt had not been called before. */
  add(request: string, step: string, attempt: number, amount: Amount): boolean {
    const calls = this.#calls.get(request) ?? new Map<string, Amount>();
    this.#calls.set(request, calls);
    if (calls.has(`${step}/${attempt}`)) return false;
    calls.set(`${step}/${attempt}`, amount);
    return true;
  }
}

/** The kind of a step is a property of the request: every run of it says the same. */
function kindOf(request: string, step: number): StepKind {
  const turn = (numberOf(request) * 7 + step * 3) % 10;
  return turn === 0 ? 'unsafe' : turn < 4 ? 'idempotent' : 'read';
}

const FAILED = 'the provider failed';
const NO_BILL: Amount = { money: 0, tokens: 0 };
const clear = async (_tenant: TenantId, _person: PersonId, _place: string, words: Uint8Array): Promise<Uint8Array> => words;

export function effectsOf(process: Process, task: SupportTask, codec: Codec): Effects<RunTurn> {
  const { world } = process;
  const attempts = new Map<string, number>();
  const report = { codec, vault: { seal: clear, open: clear }, warn: (message: string, error: Error) => process.gaveUp(message, error) };
  const effects = turns({ ...report, agent: agentOf(process, attempts) }, lossy(world, task, attempts));
  const running = new Set<object>();
  return {
    start(work, row) {
      if (process.alive && world.faults.strikes('crash before effects start')) process.die();
      if (!process.alive) return { key: work.key, abort: () => undefined };
      const { request } = work;
      if (!world.model.placed.has(request)) world.problem(`effects: ${request} runs, and no committed event allows it`);
      for (const step of world.model.wanted(request, process.tenure))
        if (!task.words({ tenant: row.tenant, mark: request }, step)) world.problem(`invariant 3: the words of ${request}/${step} are not in the store`);
      const token = {};
      running.add(token);
      if (running.size > process.cap) world.problem(`invariant 7: ${running.size} effects run in a process with a cap of ${process.cap}`);
      const handle = effects.start(work, row);
      return {
        key: handle.key,
        abort() {
          running.delete(token);
          handle.abort();
        },
      };
    },
  };
}

/** Two or three steps, some at once; the answer says the question. */
function agentOf(process: Process, attempts: ReadonlyMap<string, number>): Agent {
  const { world } = process;
  return async (ask, journal, signal) => {
    if (!ask.message.includes(`question ${numberOf(ask.request)} of ${ask.tenant}`))
      world.problem(`invariant 8: ${ask.request} of ${ask.tenant} was given the words ${ask.message}`);
    const once = (at: number) =>
      journal.step(`step-${at}`, { ...WORST, calls: at === 2 ? 'tool' : 'model', kind: kindOf(ask.request, at) }, () =>
        call(process, ask, `step-${at}`, attempts, signal),
      );
    // A failed step is tried once more, which may not be allowed.
    const step = (at: number) =>
      once(at).catch((error: Error) => {
        if (!error.message.endsWith(FAILED) || kindOf(ask.request, at) === 'unsafe') throw error;
        return once(at);
      });
    const answer = { outcome: 'answered', reason: 'answered', answer: ask.message, citations: [], degraded: ask.degraded } as const;
    if (ask.degraded && ask.degraded.mode !== 'cheaper_model') return answer;
    if (numberOf(ask.request) % 4 === 0) await Promise.all([step(1), step(2)]);
    else for (let at = 1; at <= world.steps; at++) await step(at);
    return answer;
  };
}

async function call(
  process: Process,
  { request, tenant, message }: Parameters<Agent>[0],
  step: string,
  attempts: ReadonlyMap<string, number>,
  signal: AbortSignal,
) {
  const { world } = process;
  await process.running();
  const attempt = attempts.get(`${request}/${step}`) ?? 0;
  if (!world.model.started(request, step, attempt))
    world.problem(`effects: attempt ${attempt} of ${request}/${step} is called, and its start is not committed`);
  const fails = world.faults.strikes('provider fails');
  // Some refuse before they do anything.
  const refuses = fails && world.chance.next() < 0.5;
  const amount = refuses ? NO_BILL : world.price(tenant, WORST);
  if (!world.bills.add(request, step, attempt, amount)) world.problem(`effects: attempt ${attempt} of ${request}/${step} is called twice`);
  await world.time.sleep(world.hangs || world.faults.strikes('provider hangs') ? HANGS_MS : world.chance.next() * STEP_MS);
  await process.running();
  if (signal.aborted) throw signal.reason;
  if (refuses) throw new CallFailed(FAILED, false);
  if (fails) throw new Error(FAILED);
  return { value: `${message} ${step}`, cost: amount.money as MicroUsd, inputTokens: amount.tokens, outputTokens: 0, model: 'simulated' };
}

/** The task as effects see it: what they report takes its time, comes twice, or long after. */
function lossy(world: World, task: SupportTask, attempts: Map<string, number>): SupportTask {
  const offer = async (input: Input) => {
    if (input.kind === 'step_start') {
      attempts.set(`${input.mark}/${input.step}`, input.attempt);
      if (world.faults.strikes('start of a step repeated')) again(world, task, input);
      if (input.attempt > 1 && world.faults.strikes('result of the attempt before')) again(world, task, late(world, input));
      return task.offer(input);
    }
    if (input.kind === 'step_finish' || input.kind === 'step_fail' || input.kind === 'finish') {
      if (world.faults.strikes('result late')) await world.time.sleep(world.chance.next() * LATE_MS);
      if (world.faults.strikes('result repeated')) again(world, task, input);
      if (input.kind === 'step_finish') world.results.push(input);
    }
    if (world.results.length > 0 && world.faults.strikes('result of an old attempt or owner')) again(world, task, world.chance.pick(world.results));
    return task.offer(input);
  };
  return replaced(task, offer);
}

function again(world: World, task: SupportTask, input: Input): void {
  // One that the task no longer takes is the task's affair.
  world.time.after(world.chance.next() * LATE_MS, () => void task.offer(input).catch(() => undefined));
}

/** What an attempt that was given up may still say. */
function late(world: World, { tenant, item, mark, arrival, step, attempt, worstCase }: StepStart): StepFinish {
  const spent = { cost: world.chance.below(worstCase) as MicroUsd, inputTokens: 1, outputTokens: 1, model: 'simulated' };
  const sealed = Buffer.from(JSON.stringify(`question ${numberOf(mark)} of ${tenant} ${step}`));
  return { kind: 'step_finish', tenant, item, mark, arrival, step, attempt: attempt - 1, ...spent, digest: '', sealed };
}

function replaced(task: SupportTask, offer: SupportTask['offer']): SupportTask {
  return new Proxy(task, {
    get(target, name) {
      if (name === 'offer') return offer;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
