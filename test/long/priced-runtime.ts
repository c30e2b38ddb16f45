/** A runtime whose agent is one step that takes its time and costs half a cent; where there is no money, it answers for nothing. */
import { setTimeout as delay } from 'node:timers/promises';
import type { MicroUsd } from '#schemas/ids.ts';
import { runMain } from '#services/ops.ts';
import { startRuntime } from '#services/runtime/start.ts';
import type { Agent } from '#services/runtime/turns.ts';

const COST = 5_000 as MicroUsd;
/** What a call might cost at worst. */
const WORST = 15_000 as MicroUsd;

function pricedAgent(delayMs: number): Agent {
  return async ({ degraded }, journal) => {
    if (degraded) return { outcome: 'answered', reason: 'answered', answer: 'From the documentation, as it stands.', citations: [], degraded };
    const answer = await journal.step('model-1', { worstCase: WORST, worstTokens: 100, kind: 'read' }, async (_grant, signal) => {
      await delay(delayMs, undefined, { signal });
      return { value: 'Set `trustProxy` to true.', cost: COST, inputTokens: 12, outputTokens: 6, model: 'constant' };
    });
    return { outcome: 'answered', reason: 'answered', answer, citations: [], degraded };
  };
}

await runMain((context) => startRuntime(context, ({ config }) => pricedAgent(config.modelDelayMs)));
