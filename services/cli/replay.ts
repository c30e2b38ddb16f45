/** `npm run replay -- timeline | verify`: what happened, and whether the live state says the same. */
import { type Command, UsageError } from './command.ts';
import { timeline } from './timeline.ts';
import { verifyState } from './verify-state.ts';

export const replay: Command = {
  name: 'replay',
  summary: "Reads the history again: a tenant's timeline, or the live state checked against it.",
  usage: 'npm run replay -- timeline --tenant <tenant> [options] | verify [--json]',
  options: [
    'timeline                   one line an event, oldest first, to the end of the history as it is now',
    '  --tenant <tenant>        whose',
    '  --request <r_…>          of one request only',
    '  --from <offset>          from that offset of its partition on',
    '  --limit <n>              at most n events',
    '  --json                   one object a line; of a failure the last, with error and next',
    "verify                     folds the whole history and compares it with each runtime's state, byte for byte;",
    '                           exits 1 on a difference',
    '  --json                   one object; of a failure, with error and next',
  ],
  examples: [
    'npm run replay -- timeline --tenant fastify',
    'npm run replay -- timeline --tenant fastify --limit 20',
    'npm run --silent replay -- timeline --tenant fastify --json | jq .type',
    'npm run replay -- verify',
  ],
  run([action, ...args], terminal) {
    if (action === 'timeline') return timeline(args, terminal);
    if (action === 'verify') return verifyState(args, terminal);
    throw new UsageError(action === undefined ? 'what is to be replayed: timeline or verify?' : `replay cannot ${action}: it knows timeline and verify`);
  },
};
