/** The gateway's admin API as an operator calls it: what a command did, where that stands in the history, and what to do when it was refused. */
import { randomUUID } from 'node:crypto';
import type { TenantId } from '#schemas/ids.ts';
import { CommandError, type Terminal } from './command.ts';
import { Gateway, type GatewayReply } from './gateway.ts';
import { gatewayUrl, mint } from './local.ts';

/** The gateway itself waits five seconds for the event. */
const TIMEOUT_MS = 30_000;

/** `offset` is undefined where the command was decided before, or is written and not decided yet. */
export type Done = {
  readonly tenant: string;
  readonly command: string;
  readonly done: string;
  readonly offset: number | undefined;
  readonly facts: Readonly<Record<string, unknown>>;
};

export class Operator {
  readonly #gateway: Gateway;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal;

  constructor(gateway: Gateway, timeoutMs = TIMEOUT_MS) {
    this.#gateway = gateway;
    this.#timeoutMs = timeoutMs;
    this.#signal = AbortSignal.timeout(timeoutMs);
  }

  /** For one tenant, or for all. */
  static async connect(tenant?: TenantId): Promise<Operator> {
    return new Operator(new Gateway(await gatewayUrl(), await mint({ tenant, role: 'operator', subject: 'operator' })));
  }

  /** `key` makes a repeat harmless. @throws CommandError with what the gateway said, and what to do */
  async command(method: 'POST' | 'PUT', path: string, body: object, key: string = randomUUID()): Promise<Done> {
    const headers = { 'idempotency-key': key };
    const call = method === 'POST' ? this.#gateway.post(path, body, headers, this.#signal) : this.#gateway.put(path, body, headers, this.#signal);
    const repeat = `It may be done or not: the same command with --key ${key} counts once.`;
    const { tenant_id, command_id, done, offset, facts } = checked(await this.#answered(call, repeat)) as Record<string, unknown>;
    return {
      tenant: String(tenant_id),
      command: String(command_id),
      done: String(done),
      offset: typeof offset === 'number' ? offset : undefined,
      facts: (facts ?? {}) as Done['facts'],
    };
  }

  async get(path: string): Promise<unknown> {
    return checked(await this.#answered(this.#gateway.get(path, this.#signal), 'npm run status shows what runs.'));
  }

  async #answered(call: Promise<GatewayReply>, next: string): Promise<GatewayReply> {
    try {
      return await call;
    } catch (cause) {
      if (!this.#signal.aborted) throw cause;
      throw new CommandError(`The gateway has not answered within ${this.#timeoutMs / 1_000} s.`, next, { cause });
    }
  }
}

const AS_HELP_SAYS = 'npm run tenant -- --help says what each command takes.';
const NEXT: Readonly<Record<string, string>> = {
  body_invalid: AS_HELP_SAYS,
  amount_invalid: AS_HELP_SAYS,
  tenant_exists: 'See it with npm run tenant -- show <tenant>; change its policy with npm run tenant -- policy <tenant> --set field=value.',
  not_found: 'npm run tenant -- list shows the tenants, npm run replay -- timeline --tenant <tenant> its requests.',
  tenant_unknown: 'npm run tenant -- list shows the tenants; npm run tenant -- create <tenant> makes one.',
  policy_version_conflict: 'npm run tenant -- show <tenant> tells the version of now: look at what has changed, then set yours again.',
  conflict: 'npm run replay -- timeline --tenant <tenant> shows what was done under that key.',
  policy_invalid: 'The fields, their bounds and who may set them stand in the README, under "A tenant\'s policy".',
  credential_invalid: 'Take a new token: npm run token -- --role operator, or set EVENKEEL_TOKEN.',
  forbidden: 'This needs an operator: npm run token -- --role operator, or set EVENKEEL_TOKEN.',
};

/** @throws CommandError */
export function checked({ status, body }: GatewayReply): unknown {
  if (status < 300) return body;
  const { title, detail, code, offset, retry_after_ms: retry } = (body ?? {}) as Record<string, unknown>;
  const what = [title, detail].filter((each) => typeof each === 'string').join(': ') || `The gateway answered ${status}`;
  const at = typeof offset === 'number' ? ` (offset ${offset})` : '';
  const later = typeof retry === 'number' ? `Try again in ${Math.ceil(retry / 1_000)} s.` : 'npm run status shows what runs.';
  throw new CommandError(`${what}${at}.`, NEXT[String(code)] ?? later);
}

const PAST: Readonly<Record<string, string>> = {
  tenant_created: 'created',
  policy_set: 'policy set',
  tenant_suspended: 'suspended',
  tenant_resumed: 'resumed',
  budget_granted: 'budget granted',
  outside_cost_recorded: 'cost recorded',
  decided_before: 'done before: a repeat with this key changes nothing',
  submitted: 'written, and not decided yet: npm run replay -- timeline shows when it is',
};

/** `acme: suspended, event tenant_suspended at offset 57`. */
export function asLine({ tenant, done, offset, facts: { decided_at: before } }: Done): string {
  const where = offset === undefined ? '' : `, event ${done} at offset ${offset}`;
  return `${tenant}: ${PAST[done] ?? done}${where}${before === undefined ? '' : `; it was decided at ${before}`}`;
}

export function say(done: Done, json: boolean, terminal: Terminal, more: object = {}): void {
  terminal.out(json ? JSON.stringify({ ...done, offset: done.offset ?? null, ...more }) : asLine(done));
}
