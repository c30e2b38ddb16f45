/** Requests at an even pace, and how long each took from its record's append to its result's: both by the broker's clock. */
import type { Load, Made } from './load.ts';

const TICK_MS = 5;
const RESULTS_WITHIN_MS = 120_000;

/** ms, in the order sent. @throws Error when results are missing after two minutes */
export async function pace(load: Load, made: readonly Made[], ratePerS: number): Promise<readonly number[]> {
  const sending: Promise<number>[] = [];
  const began = performance.now();
  while (sending.length < made.length) {
    const due = Math.min(made.length, Math.ceil(((performance.now() - began) / 1_000) * ratePerS));
    for (const each of made.slice(sending.length, due)) sending.push(load.send([each]).then(([sent]) => sent?.time ?? 0));
    await pause(TICK_MS);
  }
  const sent = await Promise.all(sending);
  const missing = () => made.filter(({ request }) => !load.results.has(request)).length;
  await waitUntil(
    () => `${missing()} of ${made.length} results`,
    RESULTS_WITHIN_MS,
    () => missing() === 0,
  );
  return made.map(({ request }, at) => (load.results.get(request) as number) - (sent[at] as number));
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function waitUntil(what: () => string, ms: number, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; await pause(50)) if (await condition()) return;
  throw new Error(`waited ${ms} ms for ${what()}`);
}
