/** Nine tenants who ask over HTTP and wait for their answers, the whole system on: alone, and beside a tenth that floods over HTTP. */
import { randomUUID } from 'node:crypto';
import { Pool } from 'undici';
import type { TenantId } from '#schemas/ids.ts';
import type { Flood, Offered } from './flood.ts';
import { QUESTION } from './load.ts';
import { evenly } from './pace.ts';
import type { BenchPlatform } from './platform.ts';
import { quantile, say } from './report.ts';

const CONNECTIONS = 256;
const WARM_SECONDS = 3;

export type OverHttp = {
  readonly alone: number;
  readonly flooded: number;
  /** Requests of the quiet ones, in both, and how many of them were not answered. */
  readonly asked: number;
  readonly failed: number;
  readonly offered: Offered;
};
export type Asking = {
  readonly url: string;
  readonly tokens: ReadonlyMap<TenantId, string>;
  readonly perS: number;
  readonly seconds: number;
  readonly flood: Flood;
  readonly floodPerS: number;
};

export async function overHttp(platform: BenchPlatform, { url, tokens, perS, seconds, flood, floodPerS }: Asking): Promise<OverHttp> {
  await platform.provisionAudits([...tokens.keys()]);
  await platform.run('auditor', 'services/auditor/main.ts', 'auditor');
  const pool = new Pool(url, { connections: CONNECTIONS });
  const callers = [...tokens.values()];
  try {
    await paced(pool, callers, perS, WARM_SECONDS);
    say('nine tenants over HTTP, alone');
    const alone = await paced(pool, callers, perS, seconds);
    say(`beside a flood of ${floodPerS}/s over HTTP`);
    const asking = paced(pool, callers, perS, seconds);
    const [flooded, offered] = await Promise.all([asking, flood.run(floodPerS, asking, 0)]);
    return { alone: alone.p95, flooded: flooded.p95, asked: alone.asked + flooded.asked, failed: alone.failed + flooded.failed, offered };
  } finally {
    await pool.destroy();
    await platform.end('auditor');
  }
}

type Paced = { readonly p95: number; readonly asked: number; readonly failed: number };

/** `perS` of each, evenly; how long an answer took, as its caller saw it, ms. The first second is not looked at. */
async function paced(pool: Pool, tokens: readonly string[], perS: number, seconds: number): Promise<Paced> {
  const rate = perS * tokens.length;
  const took = await evenly(rate * seconds, rate, (at) => answered(pool, tokens[at % tokens.length] as string));
  const looked = took.slice(rate).filter((ms) => ms !== undefined);
  return { p95: quantile(looked, 0.95), asked: took.length, failed: took.filter((ms) => ms === undefined).length };
}

/** undefined: it was answered otherwise than with the answer. */
async function answered(pool: Pool, token: string): Promise<number | undefined> {
  const began = performance.now();
  const { statusCode, body } = await pool.request({
    path: '/v1/requests',
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', prefer: 'wait=30', 'idempotency-key': randomUUID() },
    body: JSON.stringify({ message: QUESTION }),
  });
  const told = (await body.json()) as { readonly outcome?: string };
  return statusCode === 200 && told.outcome === 'answered' ? performance.now() - began : undefined;
}
