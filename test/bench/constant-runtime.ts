/** A runtime whose agent is one free step of constant words: real parts everywhere else. EVENKEEL_MODEL_DELAY_MS makes its effects slow. */
import { setTimeout as delay } from 'node:timers/promises';
import type { MicroUsd } from '#schemas/ids.ts';
import { runMain } from '#services/ops.ts';
import { startRuntime } from '#services/runtime/start.ts';
import type { Agent } from '#services/runtime/turns.ts';

const FREE = 0 as MicroUsd;

function constantAgent(delayMs: number): Agent {
  return async ({ degraded }, journal) => {
    const answer = await journal.step('model-1', { worstCase: FREE, worstTokens: 100, kind: 'read' }, async (_grant, signal) => {
      if (delayMs > 0) await delay(delayMs, undefined, { signal });
      return { value: 'Set `trustProxy` to true.', cost: FREE, inputTokens: 12, outputTokens: 6, model: 'constant' };
    });
    return { outcome: 'answered', reason: 'answered', answer, citations: [], degraded };
  };
}

await runMain((context) => startRuntime(context, ({ config }) => constantAgent(config.modelDelayMs)));
