/** `GET /state?partition=p` on the ops port: the committed state as one hash, for `replay verify` (invariants 3 and 5). */
import { EvenkeelError } from '#schemas/errors.ts';
import { stateHash } from '#streams/engine/state-hash.ts';
import type { SupportTask } from './journal.ts';

export function pageOfState(tasks: ReadonlyMap<number, SupportTask>, query: URLSearchParams): unknown {
  const asked = query.get('partition');
  if (asked === null) return { partitions: [...tasks.keys()].sort((a, b) => a - b) };
  const task = tasks.get(Number(asked));
  if (!task) throw new EvenkeelError('not_found', `partition ${asked} is not owned here`);
  const { store } = task;
  const { hash, rows } = stateHash(store);
  return { partition: Number(asked), position: store.meta?.positions.history, batch: store.meta?.batch, hash, rows };
}
