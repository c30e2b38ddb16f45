/** What the processes of a started platform cost when nothing happens: share of one core, by the operating system's own accounting. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Report } from './report.ts';

const SECONDS = 20;
const TARGET_PERCENT = 2;

/** Seconds of processor time a process has used (proc(5): utime and stime, in clock ticks). */
function used(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
}

export async function idle(): Promise<Report> {
  const home = process.env.EVENKEEL_HOME ?? '.evenkeel';
  const { processes } = JSON.parse(readFileSync(join(home, 'run.json'), 'utf8')) as { processes: { name: string; pid: number }[] };
  if (processes.length === 0) throw new Error('nothing runs: npm start first');
  const before = processes.map(({ pid }) => used(pid));
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1_000));
  const percent = processes.map(({ name, pid }, at) => [name, Math.round(((used(pid) - (before[at] ?? 0)) / SECONDS) * 1_000) / 10] as const);
  const ours = percent.filter(([name]) => name !== 'kafka' && name !== 'registry');
  const most = Math.max(...ours.map(([, share]) => share));
  return {
    name: 'idle',
    figures: Object.fromEntries(percent.map(([name, share]) => [`${name}_percent_of_a_core`, share])),
    ratio: Math.round((most / TARGET_PERCENT) * 100) / 100,
    target: `each process of ours below ${TARGET_PERCENT} % of a core; Kafka and registry are shown beside`,
    met: most < TARGET_PERCENT,
    not_measured: ['memory'],
  };
}
