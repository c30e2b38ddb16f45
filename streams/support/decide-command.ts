/** What follows from a tenant command. A repeat of a command id changes nothing; a refusal is an event that names the field. */
import type { Command } from '#schemas/commands.ts';
import { type ErrorCode, EvenkeelError } from '#schemas/errors.ts';
import type { Event } from '#schemas/events.ts';
import type { Instant, MicroUsd } from '#schemas/ids.ts';
import { applyPolicy, DEFAULT_POLICY, type Policy } from '#schemas/policy.ts';
import type { Rows } from './evolve.ts';
import { keyOf, windowKeys } from './ledger.ts';

export function decideCommand({ account, mark }: Rows, command: Command, now: Instant): readonly Event[] {
  if (mark) return [];
  const head = { tenant: command.tenantId, command: command.commandId, by: command.by };
  const refuse = (code: ErrorCode, field: string | null = null): readonly Event[] => [{ type: 'command_refused', ...head, code, field }];
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
      if (!isAmount(command.amount)) return refuse('amount_invalid', 'amount');
      const { window } = command;
      return [{ type: 'budget_granted', ...head, window, key: keyOf(window, windowKeys(now)), amount: command.amount as MicroUsd }];
    }
    case 'record_cost':
      if (!isAmount(command.amount)) return refuse('amount_invalid', 'amount');
      return [{ type: 'outside_cost_recorded', ...head, ...windowKeys(now), amount: command.amount as MicroUsd }];
  }
}

/** A fact or grant of more than a billion dollars is a slip of the keyboard, and sums stay within 2^53. */
const MOST = 1e15;
const isAmount = (amount: number): boolean => Number.isSafeInteger(amount) && Math.abs(amount) <= MOST;

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
