/** Assembles the support domain into the engine's Machine. */
import type { Codec } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Batch, Event } from '#schemas/events.ts';
import { EVENTS } from '#schemas/events.ts';
import type { ConversationId, MicroUsd, RequestId, TenantId } from '#schemas/ids.ts';
import type { SnapshotRecord } from '#schemas/records.ts';
import { wordsName } from '#streams/engine/keys.ts';
import type { Charge, HistoryCodec, Keys, Machine, RowCodec, Work } from '#streams/engine/machine.ts';
import { decide, ready } from './decide.ts';
import { evolve, rowOf } from './evolve.ts';
import type { Dispatch, Input, Wake } from './input.ts';
import { MESSAGE_STEP, outputs } from './outputs.ts';
import { type Account, type Conversation, type Mark, newAccount, rows, type Turn } from './state.ts';

/** The turn that should run. `key` is its request: a re-opened partition knows its effect by it. */
export type RunTurn = Work & {
  readonly tenant: TenantId;
  readonly request: RequestId;
  readonly conversation: ConversationId;
  readonly turn: Turn;
};
export type Support = Machine<Account, Conversation, Mark, Input, Event, RunTurn>;

/** Raised with every change of the fold or of its keys. */
const VERSION = 7;
/** Dispatches that cost nothing still count in the fair queue, as this many micro-dollars. */
const LEAST_CHARGE = 100;

export function support(codec: Codec): Support {
  return {
    version: VERSION,
    rows,
    history: historyCodec(codec),
    snapshots: snapshotCodec(codec),
    isBatch: (entry): entry is Batch => entry.type === 'batch',
    wordsOf(value) {
      const decoded = codec.decode(value);
      if (decoded.name !== 'support_step') throw new EvenkeelError('fold_failed', `${decoded.name} among the words`);
      const { tenant, conversation, request, step } = decoded.value;
      return { tenant, item: conversation, mark: request, step };
    },
    initial: newAccount,
    rowOf,
    decide,
    evolve,
    outputs: (after, event, input) => outputs(codec, after, event, input),
    itemKeys,
    itemWords,
    markKeys: ({ forgetAt }) => ({ due: forgetAt ?? undefined }),
    effect: ({ tenant, conversation, turn }) =>
      turn ? { key: `${turn.request} ${turn.arrival}`, cost: charged(turn.hold), tenant, request: turn.request, conversation, turn } : undefined,
    ready,
    charge,
    weight: ({ policy }) => policy.weight / 100,
    dispatch: (row) => ({ kind: 'dispatch', ...row }) as Dispatch,
    wake: (row) => ({ kind: 'wake', ...row }) as Wake,
  };
}

/** Words of the steps that have a result. */
const resultsOf = ({ request, steps }: Turn) => steps.filter((each) => each.state === 'done').map((each) => wordsName(request, each.step));

/** Asked before and after each event. */
function itemKeys({ turn, waiting }: Conversation): Keys {
  let due = turn?.deadline;
  for (const { deadline } of waiting) if (due === undefined || deadline < due) due = deadline;
  return { queue: turn ? undefined : waiting[0]?.arrival, due, runs: turn !== null };
}

function itemWords({ turn, waiting }: Conversation): readonly string[] {
  const messages = (turn ? [turn, ...waiting] : waiting).map((each) => wordsName(each.request, MESSAGE_STEP));
  return turn ? [...messages, ...resultsOf(turn)] : messages;
}

const charged = (amount: number): MicroUsd => Math.max(amount, LEAST_CHARGE) as MicroUsd;

/** Held by the estimate at dispatch, spent at settlement. */
function charge(event: Event): Charge | undefined {
  if (event.type === 'hold_placed') return { held: charged(event.amount), spent: 0 };
  return event.type === 'hold_settled' ? { held: -charged(event.held), spent: charged(event.settled) } : undefined;
}

function historyCodec(codec: Codec): HistoryCodec<Event | Batch> {
  const decodeAt = (bytes: Uint8Array, from: number, to: number) => {
    const entry = codec.decodeTagged(bytes, from, to);
    if (!Object.hasOwn(EVENTS, entry.type)) throw new EvenkeelError('fold_failed', `${entry.type} is no event of the history`);
    return entry as Event | Batch;
  };
  return { encode: (entry) => codec.encode(entry.type, entry), decode: (bytes) => decodeAt(bytes, 0, bytes.byteLength), decodeAt };
}

function snapshotCodec(codec: Codec): RowCodec<SnapshotRecord> {
  return {
    encode(record) {
      return codec.encode(record.type, record);
    },
    decode(bytes) {
      const { name, value } = codec.decode(bytes);
      if (name === 'snapshot_chunk') return { type: name, ...value };
      if (name === 'snapshot_manifest') return { type: name, ...value };
      throw new EvenkeelError('record_unreadable', `${name} is no part of a snapshot`);
    },
  };
}
