/** `npm run explain`: what a request waits for, who is ahead, and until when. */
import pc from 'picocolors';
import { parseRequestId } from '#schemas/ids.ts';
import { EXIT } from '../exit.ts';
import { type Command, CommandError, parseOptions, tenantOption, UsageError } from './command.ts';
import { Operator } from './operator.ts';

const OPTIONS = { tenant: { type: 'string' }, json: { type: 'boolean' } } as const;

type Waiting = {
  readonly waits_for: string;
  readonly words: string;
  readonly ahead: { readonly in_conversation: number; readonly conversations: number | null; readonly tenants: number | null };
  readonly until: string | null;
  readonly deadline: string | null;
  readonly limit?: { readonly name: string; readonly limit: number; readonly observed: number; readonly unit: string };
  readonly offset: number | null;
};
export type Explained = {
  readonly tenant: string;
  readonly request_id: string;
  readonly stage: string;
  readonly outcome: string | null;
  readonly reason: string | null;
  readonly started_at: string | null;
  readonly finished_at: string | null;
  readonly deadline: string | null;
  readonly waiting: Waiting | null;
};

export const explain: Command = {
  name: 'explain',
  summary: 'Says what a request waits for, who is ahead of it, and until when.',
  usage: 'npm run explain -- <r_…> [--tenant <tenant>] [--json]',
  options: [
    '<r_…>                      the request, as the answer to its publication names it',
    '--tenant <tenant>          whose it is; without it, all tenants are asked for it',
    '--json                     exactly one object on stdout; of a failure, with error and next',
  ],
  examples: ['npm run explain -- r_3tQv9mYc0Zk1xWb7LhPs2A', 'npm run --silent explain -- r_3tQv9mYc0Zk1xWb7LhPs2A --json | jq .waiting'],
  async run(args, terminal) {
    const { values, positionals } = parseOptions(args, OPTIONS);
    const [id, extra] = positionals;
    if (id === undefined) throw new UsageError('which request is meant?');
    if (extra !== undefined) throw new UsageError(`unexpected argument: ${extra}`);
    if (parseRequestId(id) === undefined) throw new UsageError(`${id}: r_ and 22 letters, as the answer names it`);
    const tenant = values.tenant === undefined ? undefined : tenantOption(values.tenant);
    const found = (await (await Operator.connect(tenant)).get(`/v1/requests/${id}/explain`)) as Explained;
    if (typeof found.stage !== 'string')
      throw new CommandError('The gateway’s answer has no stage.', 'Is EVENKEEL_GATEWAY_URL the address of an Evenkeel gateway?');
    for (const line of values.json ? [JSON.stringify(found)] : asLines(found)) terminal.out(line);
    return EXIT.ok;
  },
};

const clock = (iso: string | null): string => iso?.replace('T', ' ') ?? 'never';

export function asLines({ tenant, request_id, stage, outcome, reason, started_at, finished_at, deadline, waiting }: Explained): readonly string[] {
  const head = `${pc.bold(request_id)} of ${tenant} `;
  if (stage === 'finished') return [`${head}has ended: ${outcome}${reason === outcome ? '' : ` (${reason})`}, ${clock(finished_at)}. It waits for nothing.`];
  if (stage === 'running') return [`${head}has been running since ${clock(started_at)}; its deadline is ${clock(deadline)}.`];
  if (stage === 'submitted') return [`${head}is in the log, and the task has not come to it yet.`];
  if (!waiting) return [`${head}is about to run.`];
  const { words, ahead, until, limit, offset } = waiting;
  return [
    `${head}waits ${words}.`,
    ...(limit ? [`limit   ${limit.name}: ${limit.observed} of ${limit.limit} ${limit.unit}`] : []),
    `ahead   ${aheadOf(ahead)}`,
    `until   ${until ? clock(until) : 'something of the above ends'}, and at the latest its deadline, ${clock(waiting.deadline)}`,
    ...(offset === null ? [] : [pc.dim(`as of offset ${offset}; its life so far: npm run replay -- timeline --tenant ${tenant} --request ${request_id}`)]),
  ];
}

function aheadOf({ in_conversation, conversations, tenants }: Waiting['ahead']): string {
  if (in_conversation > 0) return `${in_conversation} of its own conversation`;
  if (conversations === null || tenants === null) return 'not known: the owner of its partition did not answer';
  const own = conversations >= 1_000 ? 'at least 1000' : String(conversations);
  return `${own} other conversations of its tenant, ${tenants} other tenants`;
}
