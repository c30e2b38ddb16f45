/** How long partitions are without an owner: from a runtime's start, or its predecessor's end, to all partitions open. */
import { until } from '#infra/local/wait.mjs';
import { BenchPlatform } from './platform.ts';
import type { Report } from './report.ts';

const TARGET_MS = 2_000;
const WITHIN_MS = 30_000;
const MAIN = 'services/runtime/main.ts';

type Line = { readonly time: number; readonly msg: string; readonly partition?: number };

/** Partitions that a runtime has opened from a time on, by its log, and when the last one was. */
function opened(platform: BenchPlatform, name: string, since: number): { readonly count: number; readonly last: number } {
  const lines = platform
    .log(name)
    .split('\n')
    .filter((line) => line.includes('"partition opened"'))
    .map((line) => JSON.parse(line) as Line)
    .filter(({ time }) => time >= since);
  return { count: new Set(lines.map(({ partition }) => partition)).size, last: Math.max(0, ...lines.map(({ time }) => time)) };
}

export async function join(): Promise<Report> {
  const platform = await BenchPlatform.start();
  const start = (name: string) => platform.run(name, MAIN, 'runtime');
  /** ms from now until `count` partitions were opened by `name`, whatever `act` does meanwhile. */
  const took = async (name: string, count: number, act: () => Promise<unknown>) => {
    const since = Date.now();
    await act();
    await until(`${count} partitions of ${name}`, WITHIN_MS, async () => opened(platform, name, since).count >= count);
    return opened(platform, name, since).last - since;
  };
  try {
    const { partitions } = platform;
    const first = await took('one', partitions, () => start('one'));
    await platform.end('one', 'SIGKILL');
    const afterKill = await took('one', partitions, () => start('one'));
    const stopping = Date.now();
    await platform.end('one');
    const stop = Date.now() - stopping;
    const afterStop = await took('one', partitions, () => start('one'));
    const shared = await took('two', partitions / 2, () => start('two'));
    await platform.end('two', 'SIGKILL');
    const backAgain = await took('two', partitions / 2, () => start('two'));
    const handedOver = await took('one', partitions / 2, () => platform.end('two'));
    await start('two');
    const sessionEnded = await took('one', partitions / 2, () => platform.end('two', 'SIGKILL'));
    const worst = Math.max(first, afterKill, afterStop, shared, backAgain, handedOver);
    return {
      name: 'join',
      figures: {
        first_start_ms: first,
        restart_after_kill_ms: afterKill,
        clean_stop_ms: stop,
        restart_after_stop_ms: afterStop,
        second_runtime_joins_ms: shared,
        second_restarts_after_kill_ms: backAgain,
        taken_over_after_stop_ms: handedOver,
        taken_over_after_kill_ms: sessionEnded,
      },
      ratio: Math.round((worst / TARGET_MS) * 100) / 100,
      target: `all partitions open within ${TARGET_MS} ms; when a killed runtime does not come back, its session of 6 s comes first`,
      met: worst < TARGET_MS,
      not_measured: ['partitions with a long history'],
    };
  } finally {
    await platform.stop();
  }
}
