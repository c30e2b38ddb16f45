/** What the routes share: the parts they stand on, and who may do what. */
import type { FastifyRequest } from 'fastify';
import type { Codec } from '#schemas/codec.ts';
import { type ErrorCode, EvenkeelError } from '#schemas/errors.ts';
import type { HmacKey } from '#schemas/hmac.ts';
import { type ConversationId, type RequestId, type TenantId, tenantId } from '#schemas/ids.ts';
import { partitionOf } from '#schemas/topics.ts';
import type { MarkId, Output, State } from '#streams/engine/machine.ts';
import type { Account, Conversation, Mark } from '#streams/support/state.ts';
import type { Vault } from '../vault.ts';
import type { Authenticator, Caller, Role } from './auth.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Places } from './places.ts';
import { Problem } from './problems.ts';
import type { RateCounter } from './rate.ts';
import type { Result } from './results.ts';
import type { StreamBound } from './sse.ts';
import type { Submissions } from './submissions.ts';
import type { View } from './view.ts';

export type Row = { readonly tenant: TenantId; readonly item?: ConversationId; readonly mark?: MarkId };
export type GatewayParts = {
  readonly auth: Pick<Authenticator, 'authenticate'>;
  readonly codec: Codec;
  readonly vault: Pick<Vault, 'seal' | 'open'>;
  readonly masterKey: Uint8Array;
  readonly platformKey: HmacKey;
  readonly partitions: number;
  readonly send: (records: readonly Output[]) => Promise<unknown>;
  readonly peek: (row: Row) => State<Account, Conversation, Mark>;
  /** The sealed result of a finished request; it may arrive a moment after its end, and is waited for at most that long. */
  readonly result: (partition: number, tenant: TenantId, request: RequestId, ms: number) => Promise<Result | undefined>;
  /** A waiting request's place, from the owner of its partition. */
  readonly placeOf: Places;
  readonly lifecycle: Lifecycle;
  readonly rate: RateCounter;
  readonly streams: StreamBound;
  readonly submissions: Submissions;
  readonly view: View;
  /** A refusal of the gateway's own, for its metrics. */
  readonly refused: (tenant: TenantId, code: ErrorCode, limitName: string) => void;
  readonly random: () => string;
  /** How long a client waits for the task's verdict, ms. */
  readonly verdictMs: number;
  readonly commandMs: number;
};

export const partition = (parts: Pick<GatewayParts, 'partitions'>, tenant: TenantId): number => partitionOf(tenant, parts.partitions);

/** Who calls, with a right to call that is asked anew on every call; at once for a credential that is known. @throws EvenkeelError */
export function identify(parts: GatewayParts, request: FastifyRequest): Caller | Promise<Caller> {
  const caller = parts.auth.authenticate(request.headers.authorization);
  return caller instanceof Promise ? caller.then((known) => mustHaveRight(parts, known)) : mustHaveRight(parts, caller);
}

function mustHaveRight(parts: GatewayParts, caller: Caller): Caller {
  const lost = rightLost(parts, caller);
  if (lost) throw lost;
  return caller;
}

/** Why a caller has no right to see any more; streams ask at each event. A suspended tenant's administrators may still look. */
export function rightLost({ peek, view }: Pick<GatewayParts, 'peek' | 'view'>, { tenant, role, expiresAt }: Caller): EvenkeelError | undefined {
  if (expiresAt <= Date.now()) return new EvenkeelError('credential_invalid', 'the token has expired: take a new one');
  if (tenant === undefined || role === 'operator') return undefined;
  const { account } = peek({ tenant });
  if (!account.created) return new EvenkeelError('tenant_unknown', `there is no tenant ${tenant}: an operator may create it`);
  if (!account.suspended || role !== 'end_user') return undefined;
  return new Problem('tenant_suspended', `${tenant} is suspended: an operator may resume it`, { limitName: 'suspended', offset: view.offset(tenant) });
}

/** @throws EvenkeelError `forbidden` */
export function mustBe(caller: Caller, ...roles: readonly Role[]): void {
  if (!roles.includes(caller.role)) throw new EvenkeelError('forbidden', `this call is for ${roles.join(' or ')}; the token says ${caller.role}`);
}

/** The tenant of the credential; an operator without one may name it. */
export function tenantFor(caller: Caller, named: string): TenantId {
  const tenant = tenantId(named);
  if (caller.role === 'operator' ? caller.tenant !== undefined && caller.tenant !== tenant : caller.tenant !== tenant)
    throw new EvenkeelError('not_found', `there is no tenant ${tenant} for this credential`);
  return tenant;
}

/** undefined when the client sent none. @throws EvenkeelError `body_invalid` */
export function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && /^[\x21-\x7e]{1,200}$/.test(key)) return key;
  throw new EvenkeelError('body_invalid', 'Idempotency-Key: 1 to 200 printable characters without spaces');
}
