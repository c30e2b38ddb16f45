/**
 * Store keys. A tenant id has no `/`, so a row of one tenant never sorts within another's range. Numbers are fixed-width hexadecimal:
 * their byte order is their order.
 */
import type { Instant, TenantId } from '#schemas/ids.ts';
import type { ItemId, MarkId } from './machine.ts';

/** 2^53 has 14 hexadecimal digits: eight, and two times three. */
const THREE = Array.from({ length: 0x1000 }, (_, value) => value.toString(16).padStart(3, '0'));
let lastHigh = { value: 0, digits: '00000000' };

/** A few of them a row, nearly all of them times of today, whose first digits are the same. */
function hex(value: number): string {
  const high = Math.floor(value / 0x1000000);
  if (high !== lastHigh.value) lastHigh = { value: high, digits: high.toString(16).padStart(8, '0') };
  const low = value - high * 0x1000000;
  return `${lastHigh.digits}${THREE[low >> 12]}${THREE[low & 0xfff]}`;
}

export const itemKey = (tenant: TenantId, item: ItemId): string => `${tenant}/${item}`;
export const markKey = (tenant: TenantId, mark: MarkId): string => `${tenant}/${mark}`;
/** How an item names words that it wants. */
export const wordsName = (mark: MarkId, step: string): string => `${mark}/${step}`;
export const wordsKey = (tenant: TenantId, mark: MarkId, step: string): string => `${tenant}/${wordsName(mark, step)}`;
/** Past every key that begins with `prefix/`: `0` is the byte after `/`. */
export const rangeEnd = (prefix: string): string => `${prefix}0`;

/** Of a page of a tenant's queue. */
export const pageKey = (tenant: TenantId, page: number): string => `${tenant}/${hex(page)}`;
export const tenantOf = (key: string): TenantId => key.slice(0, key.indexOf('/')) as TenantId;

export const dueKey = (due: Instant, kind: 'i' | 'm' | 'q', rowKey: string): string => `${hex(due)}/${kind}/${rowKey}`;
export const dueLimit = (now: Instant): string => `${hex(now)}0`;
export const dueTime = (key: string): Instant => Number.parseInt(key.slice(0, 14), 16);
/** The page of a queue in which something is due; undefined: a row is. */
export const duePage = (key: string): string | undefined => (key[15] === 'q' ? key.slice(17) : undefined);
/** The row that is due. */
export function dueRow(key: string): { readonly tenant: TenantId; readonly item?: ItemId; readonly mark?: MarkId } {
  const row = key.slice(17);
  const tenant = tenantOf(row);
  const id = row.slice(tenant.length + 1);
  return key[15] === 'i' ? { tenant, item: id } : { tenant, mark: id };
}
