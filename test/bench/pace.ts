/** Requests at an even pace, and how long each took from its record's append to its result's: both by the broker's clock. */
import type { Load, Made } from './load.ts';

const TICK_MS = 5;
const RESULTS_WITHIN_MS = 120_000;

/** ms, in the order sent. @throws Error when results are missing after two minutes */
export async function pace(load: Load, made: readonly Made[], ratePerS: number): Promise<readonly number[]> {
  const sent = await evenly(made.length, ratePerS, async (at) => (await load.send([made[at] as Made]))[0]?.time ?? 0);
  const missing = () => made.filter(({ request }) => !load.results.has(request)).length;
  await waitUntil(
    () => `${missing()} of ${made.length} results`,
    RESULTS_WITHIN_MS,
    () => missing() === 0,
  );
  return made.map(({ request }, at) => (load.results.get(request) as number) - (sent[at] as number));
}

/** `count` of what `start` begins, as many a second as asked for; what they came to, in that order. */
export async function evenly<T>(count: number, ratePerS: number, start: (at: number) => Promise<T>): Promise<readonly T[]> {
  const [started, began]: [Promise<T>[], number] = [[], performance.now()];
  while (started.length < count) {
    const due = Math.min(count, Math.ceil(((performance.now() - began) / 1_000) * ratePerS));
    while (started.length < due) started.push(start(started.length));
    await pause(TICK_MS);
  }
  return Promise.all(started);
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function waitUntil(what: () => string, ms: number, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; await pause(50)) if (await condition()) return;
  throw new Error(`waited ${ms} ms for ${what()}`);
}
