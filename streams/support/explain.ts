/** What a waiting request waits for, from its rows alone: pure, so that gateway, command line and task say the same. */
import type { RequestId } from '#schemas/ids.ts';
import { inTheWay } from './decide.ts';
import type { Rows } from './evolve.ts';
import type { No } from './limits.ts';

/**
 * conversation: earlier messages of its own conversation, the running one included, come first. limit: its tenant's own limit says no.
 * turn: nothing of its tenant is in the way; the fair queue and the partition's cap say when, which only the partition's owner knows.
 */
export type Waits =
  | { readonly for: 'conversation'; readonly before: number }
  | { readonly for: 'limit'; readonly no: No; readonly before: 0 }
  | { readonly for: 'turn'; readonly before: 0 };

/** undefined when it does not wait. */
export function waitsFor({ account, item }: Pick<Rows, 'account' | 'item'>, request: RequestId, now: number): Waits | undefined {
  const at = item?.waiting.findIndex((each) => each.request === request) ?? -1;
  if (!item || at === -1) return undefined;
  const before = at + Number(item.turn !== null);
  if (before > 0) return { for: 'conversation', before };
  const no = inTheWay(account, item, now);
  return no ? { for: 'limit', no, before: 0 } : { for: 'turn', before: 0 };
}
