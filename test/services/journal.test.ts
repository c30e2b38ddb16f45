import { expect, test } from 'vitest';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { StepJournal, type SupportTask } from '#services/runtime/journal.ts';
import type { Conversation, Turn, TurnStep } from '#streams/support/state.ts';

const [tenant, conversation] = ['acme' as TenantId, 'c_1' as ConversationId];
const words = { seal: async (_step: string, bytes: Uint8Array) => bytes, read: async () => undefined };

function turn(request: string, steps: readonly TurnStep[]): Conversation {
  const waited = { request: request as RequestId, person: 'p_1' as PersonId, arrival: 0, deadline: 0, queuedAt: 0, startedAt: 0 };
  const held = { hold: 900, left: 900, spent: 0, holdTokens: 0, leftTokens: 0, spentTokens: 0 } as const;
  return { tenant, conversation, turn: { ...waited, ...held, day: '', month: '', degraded: null, steps } as unknown as Turn, waiting: [] };
}

// Found by the simulation: the turn had ended by its deadline, and the step of the turn after it was taken for its own: a call nobody allowed.
test('a step of a turn that has ended is not called because the next turn has begun one of the same name', async () => {
  const open = { step: 'model-1', attempt: 1, kind: 'read', worstCase: 900, worstTokens: 0, calls: 'model', priceVersion: 0, state: 'open' } as TurnStep;
  const task = { peek: () => ({ item: turn('r_1', []) }), offer: async () => ({ item: turn('r_2', [open]) }) } as unknown as SupportTask;
  const journal = new StepJournal(task, words, { tenant, conversation, turn: { request: 'r_1' as RequestId, arrival: 0 } }, new AbortController().signal);
  let called = false;
  const step = journal.step('model-1', { kind: 'read', worstCase: 900 as MicroUsd, worstTokens: 0 }, async () => {
    called = true;
    return { value: '', cost: 0 as MicroUsd, inputTokens: 0, outputTokens: 0, model: '' };
  });
  await expect(step).rejects.toThrow('this turn no longer runs');
  expect(called).toBe(false);
});
