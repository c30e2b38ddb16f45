/** A runtime whose agent is one step of constant words that takes its time and has a price: from one to four thousand micro-dollars, by tenant. */
import { setTimeout as delay } from 'node:timers/promises';
import type { MicroUsd, TenantId } from '#schemas/ids.ts';
import { runMain } from '#services/ops.ts';
import { startRuntime } from '#services/runtime/start.ts';
import type { Agent } from '#services/runtime/turns.ts';

/** Those who wait all at once (fair.ts) cost from one to four thousand, everybody else the same. */
const costOf = (tenant: TenantId): number => (tenant.startsWith('dear-') ? 1_000 * (1 + (Number(tenant.slice(5)) % 4)) : 1_000);

function pricedAgent(delayMs: number): Agent {
  return async ({ tenant, degraded }, journal) => {
    const cost = costOf(tenant) as MicroUsd;
    const answer = await journal.step('model-1', { worstCase: cost, worstTokens: 100, kind: 'read' }, async (_grant, signal) => {
      await delay(delayMs, undefined, { signal });
      return { value: 'Set `trustProxy` to true.', cost, inputTokens: 12, outputTokens: 6, model: 'constant' };
    });
    return { outcome: 'answered', reason: 'answered', answer, citations: [], degraded };
  };
}

await runMain((context) => startRuntime(context, ({ config }) => pricedAgent(config.modelDelayMs)));
