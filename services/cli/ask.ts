/** Asks as a tenant's end user: publishes over HTTP, watches the request's life, prints its end. */
import { randomUUID } from 'node:crypto';
import pc from 'picocolors';
import { EXIT } from '../exit.ts';
import { type Answer, answerJson, failed, parseAnswer, parseVerdict, refusedAtTheDoor, type Verdict } from './answer.ts';
import { type Command, CommandError, dollars, integerOption, parseOptions, type Terminal, tenantOption, UsageError } from './command.ts';
import { Gateway, type GatewayReply } from './gateway.ts';
import { gatewayUrl, mint } from './local.ts';
import { Stages } from './stages.ts';

const DAY_MS = 86_400_000;
const DEFAULT_TIMEOUT_S = 120;
/** Where the stream of events has ended early, it is tried again this often. */
const POLL_MS = 300;
/** Times in a row that no gateway answers. */
const MOST_FAILURES = 30;

const OPTIONS = {
  tenant: { type: 'string' },
  conversation: { type: 'string' },
  person: { type: 'string' },
  'deadline-ms': { type: 'string' },
  timeout: { type: 'string' },
  json: { type: 'boolean' },
} as const;

type Asked = {
  readonly tenant: ReturnType<typeof tenantOption>;
  readonly person: string;
  readonly timeoutMs: number;
  readonly json: boolean;
  readonly body: { readonly message: string; readonly conversation_id?: string; readonly deadline_ms?: number };
};

export function parseAsk(args: readonly string[]): Asked {
  const { values, positionals } = parseOptions(args, OPTIONS);
  const message = positionals.join(' ').trim();
  const tenant = tenantOption(values.tenant);
  if (message === '') throw new UsageError('no question was given');
  const deadline = integerOption('deadline-ms', values['deadline-ms'], 1, DAY_MS);
  const timeout = integerOption('timeout', values.timeout, 1, 86_400) ?? DEFAULT_TIMEOUT_S;
  return {
    tenant,
    person: values.person ?? 'local-user',
    timeoutMs: timeout * 1_000,
    json: values.json ?? false,
    body: {
      message,
      ...(values.conversation === undefined ? {} : { conversation_id: values.conversation }),
      ...(deadline === undefined ? {} : { deadline_ms: deadline }),
    },
  };
}

export const ask: Command = {
  name: 'ask',
  summary: "Ask a tenant's support desk a question, and see what becomes of it.",
  usage: 'npm run ask -- --tenant <tenant> [options] "<question>"',
  options: [
    '--tenant <tenant>          whose desk is asked',
    '--person <name>            who asks (local-user): requests and conversations belong to one person',
    '--conversation <id>        goes on with a conversation; without it, a new one',
    '--deadline-ms <ms>         how long the platform may take',
    `--timeout <seconds>        how long this command waits (${DEFAULT_TIMEOUT_S})`,
    '--json                     exactly one object on stdout, nothing else there',
    'exit codes                 0 answered or handed off, 1 refused or failed, 2 wrong usage',
  ],
  examples: [
    'npm run ask -- --tenant fastify "How do I register a plugin?"',
    'npm run ask -- --tenant pino --conversation c1 "How do I redact a field?"',
    'npm run --silent ask -- --tenant undici --json "How do I set a timeout?"',
  ],
  async run(args, terminal) {
    const asked = parseAsk(args);
    const answer = asked.json ? await answerOrFailure(asked, terminal) : await live(asked, terminal);
    if (asked.json) terminal.out(answerJson(answer));
    else print(answer, terminal);
    return answer.outcome === 'answered' || answer.outcome === 'handed_off' ? EXIT.ok : EXIT.failed;
  },
};

async function live(asked: Asked, terminal: Terminal): Promise<Answer> {
  const gateway = new Gateway(await gatewayUrl(), await mint({ tenant: asked.tenant, role: 'end_user', subject: asked.person }));
  return watch(asked, gateway, terminal);
}

/** A program that reads the object gets one whatever happens; people read stderr. */
async function answerOrFailure(asked: Asked, terminal: Terminal): Promise<Answer> {
  try {
    return await live(asked, quiet(terminal));
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    terminal.note(`${error.message}\n${error.next}`);
    return failed(error instanceof Unanswered ? error.request : undefined, error instanceof Unanswered ? 'timeout' : 'unavailable');
  }
}

/** The time is up; the request goes on. */
class Unanswered extends CommandError {
  readonly request: string | undefined;
  constructor(seconds: number, request: string | undefined, stage: string) {
    const at = request === undefined ? '' : ` Request ${request} was ${stage}.`;
    super(`No answer within ${seconds} s.${at}`, 'It goes on without this command. Wait longer with --timeout <seconds>.');
    this.request = request;
  }
}

const quiet = (terminal: Terminal): Terminal => ({ ...terminal, live: false, note: () => undefined, status: () => undefined });

export async function watch({ timeoutMs, body }: Pick<Asked, 'timeoutMs' | 'body'>, gateway: Gateway, terminal: Terminal): Promise<Answer> {
  const stop = AbortSignal.timeout(timeoutMs);
  const stages = new Stages(terminal);
  let verdict: Verdict | undefined;
  try {
    const reply = await gateway.post('/v1/requests', body, { 'idempotency-key': randomUUID() }, stop);
    if (reply.status !== 202) return refusal(reply);
    verdict = parseVerdict(reply.body);
    stages.reached(verdict.stage);
    return await finish(gateway, verdict.request, stages, stop);
  } catch (error) {
    if (!stop.aborted) throw error;
    throw new Unanswered(timeoutMs / 1_000, verdict?.request, stages.last);
  } finally {
    stages.end();
  }
}

/** The lifecycle as it happens; the answer itself is fetched once it is there. */
async function finish(gateway: Gateway, request: string, stages: Stages, stop: AbortSignal): Promise<Answer> {
  const path = `/v1/requests/${encodeURIComponent(request)}`;
  for (let failures = 0; ; ) {
    await watchStages(gateway, `${path}/events`, stages, stop);
    const reply = await gateway.get(path, stop).catch((error: Error) => {
      // A gateway that restarts has lost nothing.
      if (stop.aborted || ++failures > MOST_FAILURES) throw error;
      return undefined;
    });
    if (reply) failures = 0;
    const answer = reply?.status === 200 ? parseAnswer(reply.body) : undefined;
    if (answer) return answer;
    // A request of which the gateway's view has not heard yet is there a moment later: its record is safe.
    if (reply && reply.status !== 200 && reply.status !== 404) throw unexpected(reply);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    stop.throwIfAborted();
  }
}

/** The stream is for watching: where it breaks, what the request came to can be asked for without it. */
async function watchStages(gateway: Gateway, path: string, stages: Stages, stop: AbortSignal): Promise<void> {
  try {
    for await (const event of gateway.events(path, stop)) if (stages.event(event) === 'finished') return;
  } catch (error) {
    if (stop.aborted) throw error;
  }
}

function refusal(reply: GatewayReply): Answer {
  const answer = refusedAtTheDoor(reply.status, reply.body);
  if (answer) return answer;
  throw unexpected(reply);
}

function unexpected({ status, body }: GatewayReply): CommandError {
  const { title, detail } = body as { title?: string; detail?: string };
  const said = [title, detail].filter(Boolean).join(': ');
  const next =
    status === 401 || status === 403
      ? 'Does the tenant exist, and is this the local gateway? npm run status shows what runs.'
      : 'npm run status shows what runs.';
  return new CommandError(`The gateway says ${status}${said ? `: ${said}` : ''}.`, next);
}

const words = (name: string): string => name.replaceAll('_', ' ');

function print(answer: Answer, terminal: Terminal): void {
  if (answer.answer) terminal.out(answer.answer);
  if (answer.citations.length > 0) {
    terminal.out('');
    for (const [at, { document, heading, version }] of answer.citations.entries())
      terminal.out(`${pc.dim(`[${at + 1}]`)} ${document}${heading ? ` › ${heading}` : ''} ${pc.dim(version)}`);
  }
  const good = answer.outcome === 'answered';
  const why = answer.reason && answer.reason !== answer.outcome ? ` (${words(answer.reason)})` : '';
  const outcome = `${words(answer.outcome)}${why}`;
  const degraded = answer.degraded ? ` · degraded: ${words(answer.degraded.mode)}, for ${words(answer.degraded.detail || answer.degraded.reason)}` : '';
  const again = answer.retry_at ? ` · try again at ${answer.retry_at}` : '';
  if (answer.answer) terminal.out('');
  terminal.out(
    `${good ? pc.green(outcome) : pc.yellow(outcome)} · ${dollars(answer.cost_micro_usd)}${degraded}${again}${answer.request_id ? pc.dim(` · ${answer.request_id}`) : ''}`,
  );
  if (answer.detail) terminal.note(answer.detail);
}
