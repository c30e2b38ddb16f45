/**
 * Bugs planted one at a time in the parts under test: a simulation that catches none finds none. Most are put in at the ports or at the
 * machine that the real task is given; the others replace one line of a source file as it is loaded (source-edit.ts). Product code has no switch.
 */
import type { Event } from '#schemas/events.ts';
import { windowKeys } from '#streams/support/ledger.ts';
import type { Support } from '#streams/support/support.ts';
import type { Options } from './process.ts';

export type Mutation = {
  /** `line` stands in `file` exactly once. */
  readonly edit?: { readonly file: string; readonly line: string; readonly becomes: string };
  /** The task is given these instead. */
  readonly options?: (options: Options) => Options;
  /** The broker takes commits of any epoch. */
  readonly broker?: 'unfenced';
  /** Where it shows: fair shares need no faults. */
  readonly world?: 'shares';
};
export type Mutant = Mutation & {
  readonly name: string;
  readonly what: string;
  /** What a seed that catches it has to say; others may stumble over what follows from it. */
  readonly caught: RegExp;
};
export const NO_MUTATION: Mutation = {};

const machine = (change: (machine: Support) => Partial<Support>): Mutation => ({
  options: (options) => ({ ...options, machine: { ...options.machine, ...change(options.machine) } as Support }),
});
const decide = (change: (...of: [...Parameters<Support['decide']>, Support['decide']]) => readonly Event[]): Mutation =>
  machine((right) => ({ decide: (rows, input, now) => change(rows, input, now, right.decide) }));
/** What `dispatch` and the fair queue see of an account. */
const account = (change: (account: Parameters<Support['ready']>[0]) => Parameters<Support['ready']>[0]): Mutation =>
  machine((right) => ({
    ready: (of, item, now) => right.ready(change(of), item, now),
    decide: (rows, input, now) => right.decide(input.kind === 'dispatch' ? { ...rows, account: change(rows.account) } : rows, input, now),
  }));
const edit = (file: string, line: string, becomes: string): Mutation => ({ edit: { file: `streams/${file}`, line, becomes } });
type Rows = Parameters<Support['decide']>[0];
type Steps = NonNullable<NonNullable<Rows['item']>['turn']>['steps'];
const steps = (rows: Rows, change: (step: Steps[number]) => Steps[number]): Rows =>
  rows.item?.turn ? { ...rows, item: { ...rows.item, turn: { ...rows.item.turn, steps: rows.item.turn.steps.map(change) } } } : rows;

const AT_THE_PORTS: readonly Mutant[] = [
  { name: 'no-fence', what: 'a commit of an old owner is taken', caught: /invariant (6|10)/, broker: 'unfenced' },
  {
    name: 'no-owner-check',
    what: 'a fenced zombie opens again, and fences the owner',
    caught: /invariant 6: tenure \d+ lost the partition/,
    options: (options) => ({ ...options, log: { ...options.log, owned: async () => true } }),
  },
  { name: 'hold-without-limit', what: 'a dispatch does not ask the budget', caught: /invariant 4: a hold/, ...account((of) => ({ ...of, balances: [] })) },
  { name: 'no-tenant-cap', what: 'a dispatch does not ask what runs', caught: /invariant 7: .* run/, ...account((of) => ({ ...of, running: 0 })) },
  {
    name: 'settles-into-today',
    what: 'a hold settles in the window of its end, not of its beginning',
    caught: /invariant 4: .* settles in the window|decision: .* no balance may be/,
    ...decide((rows, input, now, right) => right(rows, input, now).map((event) => (event.type === 'hold_settled' ? { ...event, ...windowKeys(now) } : event))),
  },
  {
    name: 'result-counts-twice',
    what: 'a result that comes again is counted again',
    caught: /invariant (4|10): a (cost|result) of .* not open/,
    ...decide((rows, input, now, right) =>
      right(input.kind === 'step_finish' ? steps(rows, (step) => (step.step === input.step ? { ...step, state: 'open' } : step)) : rows, input, now),
    ),
  },
  {
    name: 'result-of-old-attempt',
    what: 'a late result of an attempt that was given up is taken for the one that runs',
    caught: /invariant (4|10): a (cost|result) of .* not open/,
    ...decide((rows, input, now, right) =>
      right(input.kind === 'step_finish' ? steps(rows, (step) => (step.step === input.step ? { ...step, attempt: input.attempt } : step)) : rows, input, now),
    ),
  },
  {
    name: 'lost-step-is-free',
    what: 'a step that started and has no result is not presumed spent',
    caught: /invariant (4|7)/,
    ...decide((rows, input, now, right) => right(rows, input, now).filter((event) => event.type !== 'cost_recorded' || !event.presumed)),
  },
  {
    name: 'unsafe-step-again',
    what: 'an unsafe step that may have run runs again',
    caught: /unsafe steps: .* starts again/,
    ...decide((rows, input, now, right) => right(input.kind === 'step_start' ? steps(rows, (step) => ({ ...step, kind: 'read' })) : rows, input, now)),
  },
  {
    name: 'refused-after-its-end',
    what: 'a repeated request is refused at the door, whatever became of it',
    caught: /invariant (1|10): request_refused of/,
    ...decide((rows, input, now, right) => {
      if (input.kind !== 'request' || !rows.mark) return right(rows, input, now);
      const asNew = right({ ...rows, mark: undefined }, input, now);
      return asNew[0]?.type === 'request_refused' ? asNew : right(rows, input, now);
    }),
  },
  {
    name: 'words-of-another',
    what: 'a result is written with the words of the request that ended before it',
    caught: /invariant 8: the result of/,
    ...machine((right) => {
      let before: Uint8Array | null = null;
      return {
        outputs(after, event, input) {
          if (event.type !== 'request_finished' || input.kind !== 'finish') return right.outputs(after, event, input);
          const sealed = before ?? input.sealed;
          before = input.sealed;
          return right.outputs(after, event, { ...input, sealed });
        },
      };
    }),
  },
  {
    name: 'refunds-clamped',
    what: 'a tenant is charged by estimate, and what it did not spend is not given back',
    caught: /fair shares: /,
    world: 'shares',
    ...machine(() => ({
      charge(event) {
        if (event.type === 'hold_placed') return { held: 0, spent: event.amount };
        return event.type === 'hold_settled' ? { held: 0, spent: Math.max(0, event.settled - event.held) } : undefined;
      },
    })),
  },
];

const IN_THE_SOURCE: readonly Mutant[] = [
  {
    name: 'decided-on-committed-rows',
    what: 'a decision does not see what was decided before it in the same transaction',
    caught: /was lost: the dispatch of .* changed nothing|invariant/,
    ...edit('engine/round.ts', 'machine.decide(overlay.state(input), input, now)', 'machine.decide(overlay.committedState(input), input, now)'),
  },
  {
    name: 'effect-before-commit',
    what: 'an effect starts before the event that allows it has committed',
    caught: /effects: .* no committed event allows it/,
    ...edit(
      'engine/task.ts',
      'await this.#commit(round, now);',
      `this.#running.reconcile(this.#overlay.touchedItems().map(({ row, item }) => ({ row, work: item && this.#options.machine.effect(item) })));
       await this.#commit(round, now);`,
    ),
  },
  {
    name: 'overlay-kept',
    what: 'what was decided for a commit that failed is kept when the partition is opened again',
    caught: /its start is not committed|invariant/,
    ...edit('engine/task.ts', 'this.#overlay = new Overlay(machine, this.#store);', 'this.#overlay ??= new Overlay(machine, this.#store);'),
  },
  {
    name: 'words-not-read-again',
    what: 'recovery reads the history and not the words',
    caught: /invariant 3: the words of/,
    ...edit('engine/recover.ts', 'await readWords(recovery, log, store, folder.meta);', ';'),
  },
  {
    name: 'words-without-their-request',
    what: 'the words of two requests of one tenant share a key',
    caught: /invariant (3|8)/,
    ...edit('engine/keys.ts', '{wordsName(mark, step)}', '{step}'),
  },
  {
    name: 'queue-not-refilled',
    what: 'the fair queue is empty after a partition was opened',
    caught: /liveness: .* is the head/,
    ...edit('engine/fair-queue.ts', 'for (const tenant of this.#unasked ?? []) this.touch(tenant, now);', ';'),
  },
  {
    name: 'running-not-resumed',
    what: 'what ran when a partition was lost does not run in its next owner',
    caught: /invariant 11: .* is still running/,
    ...edit('engine/task.ts', 'this.#running.adopt(wanted);', 'this.#running.adopt([]);'),
  },
  {
    name: 'effects-begun-anew',
    what: 'what runs is called again when its partition is opened again in the same process',
    caught: /effects: attempt \d+ of .* is called twice/,
    ...edit('engine/running.ts', 'const keep = new Set(', 'this.abortAll();\n    const keep = new Set('),
  },
  {
    name: 'last-slots-for-nobody',
    what: 'the slots that are kept are kept from all',
    caught: /liveness: /,
    ...edit('engine/fair-queue.ts', '!(kept && this.#isOver(flow))', '!kept'),
  },
  {
    name: 'cap-by-transaction',
    what: 'what one transaction starts is not counted before its end',
    caught: /invariant 7: .* starts as number|liveness: .* is the head/,
    ...edit('engine/round.ts', 'running + overlay.runningDelta < cap; started++', 'running < cap; started++'),
  },
  {
    name: 'takeover-over-the-cap',
    what: 'all that a takeover leaves running starts at once',
    caught: /invariant 7: \d+ effects run/,
    ...edit('engine/running.ts', 'return this.#handles.size >= this.#cap;', 'return false;'),
  },
  {
    name: 'fed-twice',
    what: 'a record that was fed twice before its first commit is decided twice',
    caught: /invariant 10: .* answers no record|invariant 2: /,
    ...edit(
      'engine/inbox.ts',
      'else if (consumed && consumed.next <= (next[consumed.topic] ?? 0)) again.push(entry);',
      'else if (most < 0) again.push(entry);',
    ),
  },
  {
    name: 'logged-inputs-decided-again',
    what: 'a record that is in the log already is decided again',
    caught: /invariant (2|10)/,
    ...edit('engine/inbox.ts', 'if (consumed && consumed.next <= position(consumed.topic)) logged.push(entry);', 'if (most < 0) logged.push(entry);'),
  },
  {
    name: 'inputs-lost-with-their-commit',
    what: 'the inputs of a commit that failed are not put back',
    caught: /invariant (10|11)/,
    ...edit('engine/task.ts', 'this.#inbox.putBack(entries);', ';'),
  },
  {
    name: 'told-before-commit',
    what: 'a caller is told before the transaction has committed',
    caught: /invariant 10: .* (caller|left no event)/,
    ...edit('engine/task.ts', 'await this.#commit(round, now);', 'round.resolve(entries); await this.#commit(round, now);'),
  },
  {
    name: 'readers-see-the-overlay',
    what: 'who peeks sees what has not committed',
    caught: /invariant 3: a reader sees/,
    ...edit('engine/task.ts', 'return this.store && this.#overlay.committedState(row);', 'return this.store && this.#overlay.state(row);'),
  },
  {
    name: 'store-before-log',
    what: 'the store is written before the log has the transaction',
    caught: /invariant (3|4)/,
    ...edit(
      'engine/task.ts',
      'const committed = await this.#log.commit([this.#encode(batch), ...round.events, ...round.outputs], round.inputs);',
      `this.store.write(this.#overlay.writes(), this.#meta);
       const committed = await this.#log.commit([this.#encode(batch), ...round.events, ...round.outputs], round.inputs);`,
    ),
  },
  {
    name: 'row-left-behind',
    what: 'a write of the store leaves a row out, and its position goes on',
    caught: /invariant 3/,
    ...edit('engine/task.ts', 'const writes = this.#overlay.writes();', 'const writes = this.#overlay.writes().slice(1);'),
  },
  {
    name: 'words-from-behind-them',
    what: 'words are kept as if they stood behind the transaction that brought them',
    caught: /invariant 3: the words of/,
    ...edit('engine/task.ts', 'this.#settle(round, entries, wordsFrom);', 'this.#settle(round, entries, this.#meta.positions.words);'),
  },
  {
    name: 'changes-of-a-dead-letter-kept',
    what: 'an input that fails half-way leaves what it changed',
    caught: /invariant/,
    ...edit('engine/round.ts', 'overlay.rollback();', ';'),
  },
  {
    name: 'store-left-open',
    what: 'a task that is fenced while it opens keeps its store, and the next meets its lock',
    caught: /invariant 3: .* the store is open, and has its lock/,
    ...edit('engine/task.ts', 'this.#end(error as Error);\n      await this.#log?.close();', ';'),
  },
  {
    name: 'stale-row-cache',
    what: 'a committed row is read as it was before',
    caught: /invariant|was lost|decision/,
    ...edit('engine/overlay.ts', 'cell.committed = cell.after;', ';'),
  },
  {
    name: 'batch-record-last',
    what: 'a transaction’s batch record stands after its events',
    caught: /history at offset \d+: an event outside a batch/,
    ...edit(
      'engine/task.ts',
      'const committed = await this.#log.commit([this.#encode(batch), ...round.events, ...round.outputs], round.inputs);',
      'const committed = await this.#log.commit([...round.events, this.#encode(batch), ...round.outputs], round.inputs);',
    ),
  },
  {
    name: 'time-goes-back',
    what: 'the task follows the broker’s clock wherever it steps',
    caught: /invariant 5: time goes back/,
    ...edit('engine/broker-time.ts', 'if (time <= this.now()) return;', ';'),
  },
  {
    name: 'time-runs-ahead',
    what: 'the time of a process is counted from its start, not from the broker’s last word',
    caught: /invariant 5: time is \d+ ms ahead/,
    ...edit('engine/broker-time.ts', 'this.#since = this.#clock.monotonic();', ';'),
  },
  {
    name: 'steps-counted-twice',
    what: 'a step that is tried again counts as one more step',
    caught: /invariant 7: step .* is refused without reason/,
    ...edit('support/decide.ts', 'const steps = turn.steps.length - Number(known !== undefined);', 'const steps = turn.steps.length;'),
  },
  {
    name: 'snapshot-without-words',
    what: 'after a snapshot, words are read from the end of those it knows, not from the first that is still wanted',
    caught: /invariant 3: the words of/,
    ...edit('engine/snapshot-writer.ts', 'words: this.#words,', 'words: positions.words,'),
  },
  {
    name: 'old-manifest-stays',
    what: 'a snapshot is written under the manifest of the one before it',
    caught: /invariant 3: .* the snapshot of batch \d+/,
    ...edit('engine/snapshot-writer.ts', '? [this.#record(manifestKey(this.#target.slot), undefined), chunk] : [chunk];', '? [chunk] : [chunk];'),
  },
  {
    name: 'clock-set-back-not-seen',
    what: 'after the broker’s clock was set back, requests are taken for as old as the step',
    caught: /liveness: .* refused as late at once/,
    ...edit('engine/broker-time.ts', 'this.#behind = this.now() - time;', ';'),
  },
  {
    name: 'no-alarm-for-deadlines',
    what: 'a deadline falls only when something else happens',
    caught: /liveness: .* past their deadline/,
    ...edit('engine/task.ts', 'const at = due === undefined ? wakeAt : Math.min(due, wakeAt ?? due);', 'const at = wakeAt;'),
  },
];

export const MUTANTS: readonly Mutant[] = [...AT_THE_PORTS, ...IN_THE_SOURCE];
