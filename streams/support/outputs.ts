/** The records that an event brings besides itself: words and results. Words come sealed with the input, only for the request it names. */

import type { Codec } from '#schemas/codec.ts';
import type { Event, EventOf } from '#schemas/events.ts';
import type { Topic } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Rows } from './evolve.ts';
import type { Input } from './input.ts';

const STEPS: Topic = 'support.steps';
const RESULTS: Topic = 'support.results';
/** The step under which a request's own message is kept. */
export const MESSAGE_STEP = 'message';

function words(codec: Codec, event: EventOf<'request_queued' | 'step_finished'>, step: string, attempt: number, sealed: Uint8Array): Output {
  const { tenant, request, conversation } = event;
  return {
    topic: STEPS,
    key: tenant,
    value: codec.encode('support_step', { tenant, request, conversation, step, attempt, sealed }),
    words: { tenant, item: conversation, mark: request, step },
  };
}

function result(codec: Codec, after: Rows, event: EventOf<'request_finished'>, input: Input): Output {
  const { tenant, request, conversation, outcome, reason, degraded, cost } = event;
  const person = after.mark?.person;
  if (!person) throw new RangeError(`${request} has no person`);
  const sealed = input.kind === 'finish' && input.mark === request ? input.sealed : null;
  const value = codec.encode('support_result', { tenant, request, conversation, person, outcome, reason, degraded, cost, sealed });
  return { topic: RESULTS, key: tenant, value };
}

export function outputs(codec: Codec, after: Rows, event: Event, input: Input): readonly Output[] {
  switch (event.type) {
    case 'request_queued':
      return input.kind === 'request' ? [words(codec, event, MESSAGE_STEP, 0, input.sealed)] : [];
    case 'step_finished':
      return input.kind === 'step_finish' ? [words(codec, event, event.step, event.attempt, input.sealed)] : [];
    case 'request_finished':
      return [result(codec, after, event, input)];
    case 'tenant_created':
    case 'policy_set':
    case 'tenant_suspended':
    case 'tenant_resumed':
    case 'refusals_reported':
    case 'budget_granted':
    case 'outside_cost_recorded':
    case 'command_refused':
    case 'request_refused':
    case 'request_conflicted':
    case 'hold_placed':
    case 'step_started':
    case 'cost_recorded':
    case 'step_failed':
    case 'step_refused':
    case 'hold_settled':
    case 'request_forgotten':
    case 'alert_raised':
    case 'forecast_raised':
    case 'error_rate_raised':
    case 'alert_cleared':
      return [];
  }
}
