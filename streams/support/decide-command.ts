/** What follows from a tenant command. A repeat of a command id changes nothing; a refusal is an event that names the field. */
import type { Command } from '#schemas/commands.ts';
import { commandDigest } from '#schemas/digest.ts';
import { type ErrorCode, EvenkeelError } from '#schemas/errors.ts';
import { type Event, type EventOf, WINDOWS } from '#schemas/events.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import { applyPolicy, DEFAULT_POLICY, type Policy } from '#schemas/policy.ts';
import type { Rows } from './evolve.ts';
import { balance, keyOf, windowKeys } from './ledger.ts';
import { LIMITS } from './limits.ts';
import type { Account, Mark } from './state.ts';

export function decideCommand({ account, mark }: Rows, command: Command, now: Instant): readonly Event[] {
  const head = { tenant: command.tenantId, command: command.commandId, by: command.by, digest: commandDigest(command) };
  const refuse: Refuse = (code, field = null) => [{ type: 'command_refused', ...head, code, field }];
  if (mark) return isRepeat(mark, head.digest) ? [] : refuse('conflict', KEY_OF_ANOTHER);
  if (command.role !== 'operator' && command.type !== 'set_policy') return refuse('forbidden');
  if (command.type === 'create_tenant') {
    if (account.created) return refuse('tenant_exists');
    return withPolicy(DEFAULT_POLICY, command, refuse, (policy) => ({ type: 'tenant_created', ...head, policy }));
  }
  if (!account.created) return refuse('tenant_unknown');
  switch (command.type) {
    case 'set_policy': {
      const { expectedVersion } = command;
      if (expectedVersion !== null && expectedVersion !== account.policyVersion) return refuse('policy_version_conflict');
      const version = account.policyVersion + 1;
      return withPolicy(account.policy, command, refuse, (policy) => ({ type: 'policy_set', ...head, version, policy }));
    }
    case 'suspend_tenant':
      return [{ type: 'tenant_suspended', ...head }];
    case 'resume_tenant':
      return [{ type: 'tenant_resumed', ...head }];
    case 'grant_budget': {
      const { window, amount, tokens } = command;
      const key = keyOf(window, windowKeys(now));
      const { granted, grantedTokens } = balance(account, window, key);
      if (amount === 0 && tokens === 0) return refuse('amount_invalid', 'amount, tokens: nothing is granted; at least one of them is to be other than 0');
      const wrong = wrongAmount({ amount, tokens }) ?? wrongSum('grants', granted + amount, grantedTokens + tokens);
      if (wrong) return refuse('amount_invalid', wrong);
      return [{ type: 'budget_granted', ...head, window, key, amount: amount as MicroUsd, tokens }];
    }
    case 'report_refusals': {
      const { by, limitName, count, since } = command;
      const known = LIMITS.some(({ name }) => name === limitName) && Number.isSafeInteger(count) && count > 0 && count <= MOST_REFUSALS;
      if (!known) return refuse('body_invalid', 'limitName: of the table of limits; count: a whole number above 0');
      return [{ type: 'refusals_reported', tenant: command.tenantId, by, limitName, count, since }];
    }
    case 'record_cost':
      return recordCost(account, command, now, head, refuse);
  }
}

export const KEY_OF_ANOTHER = 'this key was used for another command: send the same again, or take a new key';
/** Marks of before there were digests know none. */
export const isRepeat = ({ bodyDigest }: Mark, digest: string): boolean => bodyDigest === '' || bodyDigest === digest;

/** The windows follow from when it was incurred: so facts that come late or out of order come to the same balances. */
function recordCost(account: Account, command: Extract<Command, { type: 'record_cost' }>, now: Instant, head: Head, refuse: Refuse): readonly Event[] {
  const { amount, tokens, kind, reference, incurredAt } = command;
  const wrong = wrongAmount({ amount, tokens });
  if (wrong) return refuse('amount_invalid', wrong);
  if (kind === 'outside' && (amount < 0 || tokens < 0)) return refuse('amount_invalid', 'amount: a cost is not negative; a correction may be');
  if (!REFERENCE.test(reference)) return refuse('body_invalid', 'reference: up to 100 letters, digits and ._:/+@-');
  const at = incurredAt ?? now;
  if (at > now + CLOCKS_APART_MS) return refuse('body_invalid', 'incurred_at: a fact is not of the future');
  if (at < now - OLDEST_FACT_MS)
    return refuse('body_invalid', `incurred_at: at most ${OLDEST_FACT_MS / DAY_MS} days ago, for as long as a repeat is known by its key`);
  const keys = windowKeys(at);
  for (const window of WINDOWS) {
    const { settled, settledTokens } = balance(account, window, keyOf(window, keys));
    const beyond = wrongSum('costs', settled + amount, settledTokens + tokens);
    if (beyond) return refuse('amount_invalid', beyond);
  }
  const fact = { amount: amount as MicroUsd, tokens, kind, reference, incurredAt };
  return [{ type: 'outside_cost_recorded', ...head, ...keys, ...fact }];
}

type Head = Pick<EventOf<'tenant_suspended'>, 'tenant' | 'command' | 'by' | 'digest'>;
type Refuse = (code: ErrorCode, field?: string | null) => readonly Event[];

const DAY_MS = 86_400_000;
/** A fact that names its time is counted once for ever: its key is remembered for longer than it may come late (evolve.ts). */
export const OLDEST_FACT_MS = 35 * DAY_MS;
const MOST_REFUSALS = 1e12;
const CLOCKS_APART_MS = 60_000;
const REFERENCE = /^[\w.:/+@-]{0,100}$/;
/** A fact or grant of more than a billion dollars is a slip of the keyboard, and sums stay within 2^53. */
const MOST = 1e15;
const MOST_IN_ALL = 8e15;

function wrongAmount(amounts: Readonly<Record<string, number>>): string | undefined {
  const wrong = Object.entries(amounts).find(([, amount]) => !Number.isSafeInteger(amount) || Math.abs(amount) > MOST);
  return wrong && `${wrong[0]}: a whole number, at most ${MOST}`;
}

/** A balance beyond what a number holds could be written by no task, and its partition would stand. */
function wrongSum(of: 'costs' | 'grants', money: number, tokens: number): string | undefined {
  return Math.max(Math.abs(money), Math.abs(tokens)) > MOST_IN_ALL ? `amount: the sum of all ${of} would pass its bound` : undefined;
}

function withPolicy(
  current: Policy,
  command: Extract<Command, { readonly changes: string }>,
  refuse: (code: ErrorCode, field: string) => readonly Event[],
  accept: (policy: Policy) => Event,
): readonly Event[] {
  try {
    return [accept(applyPolicy(current, parseChanges(command.changes), command.role))];
  } catch (error) {
    if (error instanceof EvenkeelError) return refuse(error.code, error.message);
    throw error;
  }
}

function parseChanges(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new EvenkeelError('policy_invalid', 'policy: not JSON');
  }
}
