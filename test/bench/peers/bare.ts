/** Starts the bare loop as a process of its own, on topics of its own, and takes its rate. */
import { spawn } from 'node:child_process';
import type { BenchPlatform } from '../platform.ts';
import type { Written } from './written.ts';

type Bare = { readonly rate: number; readonly recordsPerTransaction: number };

export async function bareLoop(platform: BenchPlatform, requests: number, written: Written): Promise<Bare> {
  const { brokers, admin } = platform.kafka;
  const args = JSON.stringify({ brokers, ...admin, partitions: platform.partitions, requests, written });
  const child = spawn(process.execPath, ['test/bench/peers/bare-loop.ts', args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (data: Buffer) => {
    said += data.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (code !== 0) throw new Error(`the bare loop ended with ${code}`);
  return JSON.parse(said) as Bare;
}
