/** What an operator or tenant admin may ask for on `tenant.commands`. `commandId` makes a repeat harmless. */
import { as, type Infer, long, nullable, oneOf, record, string, withDefault } from './avro.ts';
import { COST_KINDS, WINDOWS } from './events.ts';
import type { TenantId } from './ids.ts';

const head = { tenantId: as<TenantId>(string), commandId: string, by: string, role: oneOf('command_role', ['operator', 'tenant_admin']) };
/** Changes of policy as JSON: validated by the task against the table, so that an unknown field is refused with its path. */
const changes = string;

export const COMMANDS = {
  create_tenant: record('create_tenant', { ...head, changes }),
  set_policy: record('set_policy', { ...head, changes, expectedVersion: nullable(long) }),
  suspend_tenant: record('suspend_tenant', head),
  resume_tenant: record('resume_tenant', head),
  grant_budget: record('grant_budget', { ...head, window: oneOf('grant_window', WINDOWS), amount: long, tokens: withDefault(long, 0) }),
  /** A fact: it may come late, twice or out of order. `incurredAt` names the windows it belongs to; without it, those of its arrival. */
  record_cost: record('record_cost', {
    ...head,
    amount: long,
    tokens: withDefault(long, 0),
    kind: withDefault(oneOf('command_cost_kind', COST_KINDS), 'outside'),
    reference: withDefault(string, ''),
    incurredAt: nullable(long),
  }),
  /** What a gateway refused by itself in the last seconds, so that the history knows of a flood that never reached the log. */
  report_refusals: record('report_refusals', { ...head, limitName: string, count: long, since: long }),
} as const;

type CommandShapes = typeof COMMANDS;
export type CommandType = keyof CommandShapes;
export type Command = { readonly [K in CommandType]: { readonly type: K } & Infer<CommandShapes[K]> }[CommandType];
