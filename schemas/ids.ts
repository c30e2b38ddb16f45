/** The identifiers and units of the platform. Each is branded; its parser is its only maker. */
import { EvenkeelError } from './errors.ts';

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Matches `[a-z0-9][a-z0-9-]{1,62}`: safe as a topic suffix, a path segment and a metric label. */
export type TenantId = Brand<string, 'TenantId'>;
/** `r_` and 22 characters of base64url: a keyed digest of tenant, person and what the caller sent. */
export type RequestId = Brand<string, 'RequestId'>;
/** `c_` and 22 characters of base64url: a keyed digest of tenant, person and the caller's conversation. */
export type ConversationId = Brand<string, 'ConversationId'>;
/** `p_` and 22 characters of base64url: a keyed digest of tenant and person. */
export type PersonId = Brand<string, 'PersonId'>;
/** Integer millionths of a US dollar. */
export type MicroUsd = Brand<number, 'MicroUsd'>;
/** Milliseconds since the Unix epoch, by the broker's clock. */
export type Instant = number;
/** A Kafka offset. Below 2^53 for any topic that could be written in a lifetime. */
export type Offset = number;

const TENANT = /^[a-z0-9][a-z0-9-]{1,62}$/;

export function isTenantId(text: unknown): text is TenantId {
  return typeof text === 'string' && TENANT.test(text);
}

/** @throws EvenkeelError `tenant_id_invalid` */
export function tenantId(text: unknown): TenantId {
  if (isTenantId(text)) return text;
  throw new EvenkeelError('tenant_id_invalid', `a tenant id matches ${TENANT.source}`);
}

const REQUEST = /^r_[A-Za-z0-9_-]{22}$/;

/** undefined when `text` is no such id. */
export function parseRequestId(text: unknown): RequestId | undefined {
  return typeof text === 'string' && REQUEST.test(text) ? (text as RequestId) : undefined;
}

export const ZERO = 0 as MicroUsd;
