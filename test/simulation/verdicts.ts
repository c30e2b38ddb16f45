/**
 * Each record below the committed offset has its verdict, in order and in the transaction that covers it: a request is queued, refused, in
 * conflict or known; a command has its event or is known; a report is counted; what cannot be decided is a dead letter (invariants 2 and 10).
 */
import type { Event, EventOf } from '#schemas/events.ts';
import type { Broken } from './books.ts';
import type { Committed } from './model.ts';

/** What a producer or an operator wrote, by its offset. `poison`: it must end in dead letters; where it is too large, only if it is not refused before. */
export type Expected = { readonly id: string; readonly digest: string; readonly poison?: 'unknown' | 'large' | undefined; readonly report: boolean };
type CommandEvent = Extract<Event, { readonly command: string }>;
type Verdict = 'request_queued' | 'request_refused' | 'request_conflicted';
const isVerdict = (event: Event): event is EventOf<Verdict> =>
  event.type === 'request_queued' || event.type === 'request_refused' || event.type === 'request_conflicted';

export class Verdicts {
  readonly #produced: (topic: string, offset: number) => Expected;
  readonly #broken: Broken;
  /** What each key stands for; a refused one for nothing. */
  readonly #commands = new Map<string, string>();
  readonly #conflicts = new Set<string>();
  readonly #covered = new Map<string, number>();

  constructor(produced: (topic: string, offset: number) => Expected, broken: Broken) {
    this.#produced = produced;
    this.#broken = broken;
  }

  covered(topic: string): number {
    return this.#covered.get(topic) ?? 0;
  }
  hasConflict(request: string, digest: string): boolean {
    return this.#conflicts.has(`${request} ${digest}`);
  }

  /** `known`: the body's digest of a request that is remembered. */
  check({ batch, events, deadLetters }: Committed, known: (request: string) => string | undefined): void {
    const verdicts = events.filter(isVerdict);
    const commands = events.filter((event) => 'command' in event);
    const reports = events.filter((event) => event.type === 'refusals_reported');
    const fresh = new Map<string, string>();
    let letters = 0;
    for (const { topic, next } of batch.inputs) {
      const from = this.covered(topic);
      if (next <= from) this.#broken(2, `${topic} is covered to ${next} after ${from}`);
      for (let offset = from; offset < next; offset++) {
        const { id, digest, poison, report } = this.#produced(topic, offset);
        const turnedAway = verdicts[0]?.request === id && verdicts[0].type === 'request_refused';
        if (poison === 'unknown' || (poison === 'large' && !turnedAway)) letters++;
        else if (report) this.#report(id, reports.shift());
        else if (topic === 'tenant.commands') this.#commandVerdict(id, digest, commands);
        else this.#requestVerdict({ id, digest, before: fresh.get(id) ?? known(id) }, fresh, verdicts);
      }
      this.#covered.set(topic, Math.max(from, next));
    }
    for (const { type, request } of verdicts) this.#broken(10, `${type} of ${request} answers no record of this transaction`);
    for (const { type, command } of commands) this.#broken(10, `${type} of ${command} answers no record of this transaction`);
    if (reports.length > 0) this.#broken(10, `${reports.length} reports answer no record of this transaction`);
    if (letters !== deadLetters) this.#broken(2, `${letters} records could not be decided, ${deadLetters} are dead letters`);
  }

  /** A count that a gateway adds to: whatever it tells is one event, told again or not. */
  #report(id: string, event: Event | undefined): void {
    if (!event) this.#broken(10, `report ${id} has no event`);
  }

  #commandVerdict(id: string, digest: string, commands: CommandEvent[]): void {
    const known = this.#commands.get(id);
    if (known === digest) return;
    const event = commands[0];
    if (event?.command !== id) return this.#broken(10, `command ${id} has no event: there is ${event?.command ?? 'none'}`);
    commands.shift();
    const conflict = event.type === 'command_refused' && event.code === 'conflict';
    if (conflict !== (known !== undefined)) this.#broken(10, `${event.type} of command ${id}, which is ${known === undefined ? 'new' : 'known'}`);
    if (event.type !== 'command_refused') this.#commands.set(id, digest);
  }

  #requestVerdict(
    { id, digest, before }: { readonly id: string; readonly digest: string; readonly before: string | undefined },
    fresh: Map<string, string>,
    verdicts: EventOf<Verdict>[],
  ): void {
    if (before === digest) return;
    const event = verdicts[0];
    if (event?.request !== id) return this.#broken(10, `${id} has no verdict: there is ${event ? `${event.type} of ${event.request}` : 'none'}`);
    verdicts.shift();
    if (before !== undefined) {
      if (event.type !== 'request_conflicted') this.#broken(1, `${event.type} of ${id}, which is known under another body`);
      this.#conflicts.add(`${id} ${digest}`);
    } else if (event.type === 'request_queued') {
      fresh.set(id, digest);
      if (event.bodyDigest !== digest) this.#broken(10, `${id} was queued with another body`);
    } else if (event.type === 'request_conflicted') this.#broken(10, `${id} is new, and in conflict`);
  }
}
