/** What the routes share. */
import type { Codec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import { type ConversationId, isTenantId, type RequestId, type TenantId } from '#schemas/ids.ts';
import { partitionOf } from '#schemas/topics.ts';
import type { Output, State } from '#streams/engine/machine.ts';
import type { Account, Conversation, Mark } from '#streams/support/state.ts';
import type { Vault } from '../vault.ts';
import type { Authenticator, Caller, Role } from './auth.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { RateCounter } from './rate.ts';
import type { Result } from './results.ts';
import type { View } from './view.ts';

export type Row = { readonly tenant: TenantId; readonly item?: ConversationId; readonly mark?: RequestId };
export type GatewayParts = {
  readonly auth: Pick<Authenticator, 'authenticate'>;
  readonly codec: Codec;
  readonly vault: Pick<Vault, 'seal' | 'open'>;
  readonly masterKey: Uint8Array;
  readonly partitions: number;
  readonly send: (records: readonly Output[]) => Promise<unknown>;
  readonly peek: (row: Row) => State<Account, Conversation, Mark>;
  readonly position: (partition: number) => number;
  /** The sealed result of a finished request. */
  readonly result: (partition: number, tenant: TenantId, request: RequestId) => Promise<Result | undefined>;
  readonly lifecycle: Lifecycle;
  readonly rate: RateCounter;
  readonly view: View;
  readonly random: () => string;
  /** How long a client waits for the task's verdict, ms. */
  readonly verdictMs: number;
  readonly commandMs: number;
};

export const partition = (parts: Pick<GatewayParts, 'partitions'>, tenant: TenantId): number => partitionOf(tenant, parts.partitions);

/** @throws EvenkeelError `forbidden` */
export function mustBe(caller: Caller, ...roles: readonly Role[]): void {
  if (!roles.includes(caller.role)) throw new EvenkeelError('forbidden', `this call is for ${roles.join(' or ')}; the token says ${caller.role}`);
}

/** The tenant of the credential; an operator without one may name it. */
export function tenantFor(caller: Caller, named: string): TenantId {
  if (!isTenantId(named)) throw new EvenkeelError('tenant_id_invalid', 'a tenant id matches [a-z0-9][a-z0-9-]{1,62}');
  if (caller.role === 'operator' ? caller.tenant !== undefined && caller.tenant !== named : caller.tenant !== named)
    throw new EvenkeelError('not_found', `there is no tenant ${named} for this credential`);
  return named;
}
