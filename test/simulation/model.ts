/**
 * What the committed records must look like: an independent reading that shares no code with decide, evolve or the fold. It is told each
 * transaction as the broker commits it, by whom, and what producers wrote; it keeps its own books and says where the two differ.
 * It stands for invariants 1, 2, 4, 6, 7 and 10, and for liveness: no transaction ends with a free slot and a ready head,
 * but for the last slots, where a tenant that runs nothing is not the first in line.
 */
import type { Batch, Event, EventOf } from '#schemas/events.ts';
import type { RecordOf } from '#schemas/records.ts';
import { type Amount, Books, type Broken, exceeds, NOTHING, same, say } from './books.ts';
import { type Request, Steps } from './steps.ts';
import { type Expected, Verdicts } from './verdicts.ts';

/** Who commits. `epoch` counts the openings of the partition's log, `tenure` its assignments by the group. */
export type Writer = { readonly epoch: number; readonly tenure: number; readonly cap: number };
export type Committed = {
  readonly batch: Batch;
  readonly events: readonly Event[];
  readonly words: readonly RecordOf<'support_step'>[];
  readonly results: readonly RecordOf<'support_result'>[];
  readonly deadLetters: number;
};
/** What the world outside knows: the provider's bill for one attempt of a step. */
export type Outside = {
  bill(request: string, step: string, attempt: number): Amount | undefined;
  /** All attempts together. */
  billed(request: string): Amount;
  /** The id may come again, as another request. */
  forget(request: string): void;
  produced(topic: string, offset: number): Expected;
  /** The latest that the broker's clock has shown, carried on. */
  latest(): number;
};

/** Of the square root of a cap. */
const LAST_SLOTS = 2 / 3;

export class Model {
  readonly problems: string[] = [];
  /** Requests ended, by `outcome/reason`. */
  readonly endings = new Map<string, number>();
  /** Requests refused at the door, by code. */
  readonly refusals = new Map<string, number>();
  /** Requests that were allowed to run at least once. */
  readonly placed = new Set<string>();
  readonly tenants = new Map<string, Books>();
  readonly #outside: Outside;
  readonly #verdicts: Verdicts;
  readonly #steps: Steps;
  readonly #requests = new Map<string, Request>();
  /** Open requests of a conversation in order of arrival; the first may run. */
  readonly #conversations = new Map<string, Request[]>();
  readonly #refused = new Set<string>();
  readonly #forgotten = new Set<string>();
  /** Forgotten once, and perhaps known again. */
  readonly #released = new Set<string>();
  #batch = 0;
  #time = 0;
  #epoch = 0;
  /** The last that has committed. */
  #tenure = 0;
  #running = 0;
  transactions = 0;

  constructor(outside: Outside) {
    this.#outside = outside;
    this.#verdicts = new Verdicts(outside.produced, this.#broken);
    this.#steps = new Steps(outside.bill, this.#broken);
  }

  covered(topic: string): number {
    return this.#verdicts.covered(topic);
  }
  get open(): number {
    let open = 0;
    for (const waiting of this.#conversations.values()) open += waiting.length;
    return open;
  }
  get time(): number {
    return this.#time;
  }

  /** One transaction, in the order of the log. */
  add(transaction: Committed, writer: Writer): void {
    const { batch, events } = transaction;
    this.transactions++;
    if (writer.epoch < this.#epoch) this.#broken(6, `tenure ${writer.tenure} commits batch ${batch.number} after another has opened the log and committed`);
    this.#epoch = Math.max(this.#epoch, writer.epoch);
    this.#tenure = writer.tenure;
    if (batch.number !== this.#batch + 1) this.#broken(10, `batch ${batch.number} follows ${this.#batch}`);
    if (batch.events !== events.length) this.#broken(10, `batch ${batch.number} announces ${batch.events} events and has ${events.length}`);
    if (batch.time < this.#time) this.#broken(5, `time goes back by ${this.#time - batch.time} ms at batch ${batch.number}`);
    const ahead = batch.time - this.#outside.latest();
    if (ahead > 0) this.#broken(5, `time is ${ahead} ms ahead of all that the broker's clock has shown, at batch ${batch.number}`);
    this.#batch = batch.number;
    this.#time = Math.max(this.#time, batch.time);
    this.#verdicts.check(transaction, (id) => this.#requests.get(id)?.digest);
    for (const event of events) this.#apply(event, batch.time, writer);
    this.#words(transaction);
    this.#results(transaction);
    const opening = events.length === 0 && batch.inputs.length === 0;
    if (!opening) this.#liveness(batch.time, writer);
  }

  /** What a caller was told of its request: it must stand in the log. */
  told(id: string, digest: string, mark: { readonly stage: string; readonly outcome: string | null; readonly bodyDigest: string } | undefined): void {
    const request = this.#requests.get(id);
    if (!mark) {
      if (!this.#refused.has(id) && !this.#forgotten.has(id)) this.#broken(10, `nothing was kept of ${id}, and its caller was told so`);
      return;
    }
    if (!request) {
      if (!this.#forgotten.has(id)) this.#broken(10, `the caller of ${id} was told it is ${mark.stage}: the log does not have it`);
    } else if (mark.stage === 'finished' && request.outcome !== mark.outcome)
      this.#broken(10, `the caller of ${id} was told ${mark.outcome}: the log says ${request.outcome || request.stage}`);
    else if (mark.bodyDigest !== digest && !this.#verdicts.hasConflict(id, digest) && !this.#refused.has(id) && !this.#released.has(id))
      this.#broken(10, `another body under ${id} left no event`);
  }

  /** A reader saw that it runs. */
  seen(running: string | undefined): void {
    if (running !== undefined && !this.placed.has(running)) this.#broken(3, `a reader sees that ${running} runs, and its hold is not committed`);
  }

  /** The attempt of a step has been committed as started. */
  started(request: string, step: string, attempt: number): boolean {
    const known = this.#requests.get(request)?.steps.get(step);
    return this.#forgotten.has(request) || (known !== undefined && known.attempt >= attempt);
  }

  /** The words that a running request cannot do without in a process that has all that is committed. */
  wanted(id: string, tenure: number): readonly string[] {
    const request = this.#requests.get(id);
    if (request?.stage !== 'running' || this.#tenure !== tenure) return [];
    return ['message', ...[...request.steps].filter(([, { done }]) => done).map(([step]) => step)];
  }

  /** After everything has healed. */
  finish(produced: ReadonlyMap<string, number>): void {
    for (const [topic, count] of produced)
      if (this.covered(topic) !== count) this.#broken(11, `${this.covered(topic)} of ${count} records of ${topic} are covered`);
    for (const [id, { stage, deadline }] of this.#requests)
      if (stage !== 'finished') this.#broken(11, `${id} is still ${stage}, its deadline ${deadline - this.#time} ms away`);
    for (const [name, books] of this.tenants)
      for (const [window, { held, heldTokens }] of books.balances)
        if ((held !== 0 || heldTokens !== 0) && this.open === 0) this.#broken(4, `${name} still holds ${held} and ${heldTokens} tokens in ${window}`);
    for (const request of this.#requests.values()) if (request.stage === 'finished') this.#billed(request);
  }

  /** What was called and gave no result is presumed at its worst case: no bill is higher than what was recorded. */
  #billed({ id, costs }: Request): void {
    const bill = this.#outside.billed(id);
    if (exceeds(bill, costs)) this.#broken(4, `${id} was billed ${say(bill)} and recorded ${say(costs)}`);
  }

  readonly #broken: Broken = (invariant, why) => {
    this.problems.push(typeof invariant === 'number' ? `invariant ${invariant}: ${why}` : `${invariant}: ${why}`);
  };

  #books(tenant: string): Books {
    const books = this.tenants.get(tenant) ?? new Books();
    this.tenants.set(tenant, books);
    return books;
  }

  #apply(event: Event, at: number, writer: Writer): void {
    const books = this.#books(event.tenant);
    books.command(event);
    switch (event.type) {
      case 'request_queued':
        return this.#queued(event, books, at);
      case 'request_refused':
        return this.#refusedAtDoor(event, books, at);
      case 'hold_placed':
        return this.#hold(event, books, at, writer);
      case 'request_forgotten': {
        const request = this.#requests.get(event.request);
        if (request?.stage !== 'finished') this.#broken(10, `${event.request} is forgotten while ${request?.stage ?? 'unknown'}`);
        if (request) this.#billed(request);
        this.#outside.forget(event.request);
        this.#requests.delete(event.request);
        this.#forgotten.add(event.request);
        this.#released.add(event.request);
        return;
      }
      case 'request_finished':
        return this.#finished(event, books, at);
      case 'step_started':
      case 'step_refused':
      case 'step_finished':
      case 'step_failed':
      case 'cost_recorded':
      case 'hold_settled': {
        const request = this.#requests.get(event.request);
        if (request?.stage !== 'running') this.#broken(4, `${event.type} of ${event.request}, which is ${request?.stage ?? 'unknown'}`);
        else this.#steps.apply(event, request, books);
        return;
      }
      default:
    }
  }

  #queued(event: EventOf<'request_queued'>, books: Books, at: number): void {
    const { request: id, tenant, conversation, bodyDigest: digest, arrival, deadline } = event;
    const waiting = this.#conversations.get(conversation) ?? [];
    if (books.suspended) this.#broken(7, `${id} is queued while ${tenant} is suspended`);
    if (books.queued >= books.policy.maxQueued) this.#broken(7, `${id} is queued behind ${books.queued} of ${books.policy.maxQueued}`);
    if (deadline <= at) this.#broken(1, `${id} is queued after its deadline`);
    if (this.#requests.has(id)) this.#broken(10, `${id} is queued twice`);
    const windows = { day: '', month: '' };
    const request: Request = {
      id,
      tenant,
      conversation,
      digest,
      arrival,
      deadline,
      stage: 'waiting',
      windows,
      held: NOTHING,
      costs: NOTHING,
      settled: false,
      steps: new Map(),
      outcome: '',
    };
    this.#requests.set(id, request);
    this.#forgotten.delete(id);
    this.#conversations.set(conversation, [...waiting, request]);
    books.queued++;
  }

  #refusedAtDoor({ request: id, code, limit, conversation }: EventOf<'request_refused'>, books: Books, at: number): void {
    this.#refused.add(id);
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
    books.refused++;
    if (this.#requests.has(id)) this.#broken(1, `${id} is refused, and it is ${this.#requests.get(id)?.stage}`);
    const waiting = (this.#conversations.get(conversation) ?? []).filter(({ stage }) => stage === 'waiting').length;
    const without =
      (code === 'tenant_suspended' && !books.suspended) ||
      (code === 'queue_full' && books.queued < books.policy.maxQueued) ||
      (code === 'conversation_full' && waiting < books.policy.maxQueuedPerConversation) ||
      (code === 'deadline_expired' && limit > at);
    if (without) this.#broken(1, `${id} is refused without reason: ${code}`);
  }

  #hold(event: EventOf<'hold_placed'>, books: Books, at: number, writer: Writer): void {
    const { request: id, tenant, amount: money, tokens, day, month } = event;
    const amount = { money, tokens };
    const line = this.#conversations.get(event.conversation) ?? [];
    const request = line[0];
    if (!request || request.id !== id || request.stage !== 'waiting')
      return this.#broken(1, `${id} starts, and ${request ? `${request.id} is ${request.stage}` : 'nothing waits'} in its conversation`);
    if (this.#running >= writer.cap) this.#broken(7, `${id} starts as number ${this.#running + 1} under a cap of ${writer.cap}`);
    const no = books.blocked(at);
    if (no) this.#broken(7, `${id} of ${tenant} starts: ${no}`);
    const due = books.holdFor(request.deadline, at);
    if (!same(amount, due)) this.#broken(4, `${id} starts with a hold of ${say(amount)}, its rung takes ${say(due)}`);
    const short = exceeds(amount, NOTHING) ? books.shortage(amount, { day, month }) : undefined;
    if (short) this.#broken(4, `a hold of ${say(amount)} for ${tenant}: ${short}`);
    const today = new Date(at).toISOString();
    if (day !== today.slice(0, 10) || month !== today.slice(0, 7)) this.#broken(4, `a hold of ${today} in the windows of ${day}`);
    if (request.deadline <= at) this.#broken(1, `${id} starts after its deadline`);
    request.stage = 'running';
    request.held = amount;
    request.windows = { day, month };
    this.placed.add(id);
    this.#running++;
    books.start(at);
    books.post(request.windows, { held: amount });
  }

  #finished(event: EventOf<'request_finished'>, books: Books, at: number): void {
    const { request: id, conversation, outcome, reason, ran, cost } = event;
    const request = this.#requests.get(id);
    if (!request || request.stage === 'finished') return this.#broken(1, `${id} ends ${request ? 'twice' : 'unknown'}`);
    if (ran !== (request.stage === 'running')) this.#broken(1, `${id} is ${request.stage}, its end says ran: ${ran}`);
    if (ran && !request.settled) this.#broken(4, `${id} ends and its hold is not settled`);
    if (cost !== request.costs.money) this.#broken(4, `${id} ends at ${cost}, its costs are ${say(request.costs)}`);
    if (reason === 'deadline' && request.deadline > at) this.#broken(1, `${id} ends by its deadline, ${request.deadline - at} ms early`);
    if (ran) {
      books.running--;
      this.#running--;
    } else books.queued--;
    books.finished++;
    if (outcome === 'answered') books.answered++;
    request.stage = 'finished';
    request.outcome = outcome;
    const line = (this.#conversations.get(conversation) ?? []).filter((each) => each !== request);
    if (line.length === 0) this.#conversations.delete(conversation);
    else this.#conversations.set(conversation, line);
    this.endings.set(`${outcome}/${reason}`, (this.endings.get(`${outcome}/${reason}`) ?? 0) + 1);
  }

  /** One record of words for each message that is queued and each result that is journaled, with the request's own words. */
  #words({ events, words }: Committed): void {
    const expected = events.flatMap((event) =>
      event.type === 'request_queued' ? [`${event.request}/message`] : event.type === 'step_finished' ? [`${event.request}/${event.step}`] : [],
    );
    const found = words.map(({ request, step }) => `${request}/${step}`);
    if (expected.join() !== found.join()) this.#broken(10, `words of ${found.join()} where ${expected.join()} belong`);
    for (const { request, sealed } of words) this.#own(request, sealed, 'the words');
  }

  /** One result for each request that ends, in the same transaction, with its own words. */
  #results({ events, results }: Committed): void {
    const ends = events.filter((event): event is EventOf<'request_finished'> => event.type === 'request_finished');
    const line = (each: Pick<EventOf<'request_finished'>, 'request' | 'outcome' | 'reason' | 'cost'>) =>
      `${each.request} ${each.outcome} ${each.reason} ${each.cost}`;
    if (ends.map(line).join() !== results.map(line).join()) this.#broken(1, `results ${results.map(line).join()} of the ends ${ends.map(line).join()}`);
    for (const { request, outcome, sealed } of results) {
      if (sealed) this.#own(request, sealed, 'the result');
      else if (outcome === 'answered') this.#broken(1, `${request} is answered without words`);
    }
  }

  #own(request: string, sealed: Uint8Array, what: string): void {
    for (const [, number] of Buffer.from(sealed)
      .toString()
      .matchAll(/question (\d+) of/g))
      if (Number(number) !== Number(request.slice(2))) this.#broken(8, `${what} of ${request} say question ${number}`);
  }

  /** Deadlines hide a head that was forgotten: so each transaction is asked whether it left one. A tenant's head is its first idle conversation. */
  #liveness(at: number, writer: Writer): void {
    if (this.#running >= writer.cap) return;
    const heads = new Map<string, Request>();
    for (const [head] of this.#conversations.values())
      if (head?.stage === 'waiting' && head.arrival < (heads.get(head.tenant)?.arrival ?? Number.POSITIVE_INFINITY)) heads.set(head.tenant, head);
    const ready = [...heads.values()].filter(({ tenant, deadline }) => {
      const books = this.#books(tenant);
      return !books.blocked(at) && !books.waitsForHolds(deadline, at);
    });
    // The last slots are kept for tenants that hold no more than their share: who runs nothing holds nothing.
    const kept = writer.cap - this.#running <= LAST_SLOTS * Math.sqrt(writer.cap);
    if (kept && ready.some(({ tenant }) => this.#books(tenant).running > 0)) return;
    for (const { id, tenant } of ready) {
      this.#broken('liveness', `${id} is the head of ${tenant}, ${this.#running} of ${writer.cap} run, and batch ${this.#batch} leaves it`);
    }
  }
}
