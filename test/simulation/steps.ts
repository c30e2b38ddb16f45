/** A running request in the model: its steps, what they cost, and the settlement of its hold (invariants 4 and 7, unsafe steps). */
import type { EventOf } from '#schemas/events.ts';
import { type Amount, type Books, type Broken, exceeds, minus, NOTHING, plus, same, say, type Windows } from './books.ts';

type Step = {
  readonly attempt: number;
  readonly kind: string;
  readonly calls: string;
  readonly worst: Amount;
  open: boolean;
  charged: boolean;
  done: boolean;
};
export type Request = {
  readonly id: string;
  readonly tenant: string;
  readonly conversation: string;
  readonly digest: string;
  readonly arrival: number;
  readonly deadline: number;
  stage: 'waiting' | 'running' | 'finished';
  windows: Windows;
  held: Amount;
  costs: Amount;
  settled: boolean;
  readonly steps: Map<string, Step>;
  outcome: string;
};

type StepEvent = EventOf<'step_started' | 'step_refused' | 'step_finished' | 'step_failed' | 'cost_recorded' | 'hold_settled'>;
export type BillOf = (request: string, step: string, attempt: number) => Amount | undefined;

export class Steps {
  readonly #bill: BillOf;
  readonly #broken: Broken;
  constructor(bill: BillOf, broken: Broken) {
    this.#bill = bill;
    this.#broken = broken;
  }

  apply(event: StepEvent, request: Request, books: Books): void {
    switch (event.type) {
      case 'step_started':
        return this.#stepStarted(event, request, books);
      case 'step_refused':
        return this.#stepRefused(event, request, books);
      case 'step_finished':
        return this.#stepFinished(event, request, books);
      case 'step_failed':
        return this.#stepFailed(event, request, books);
      case 'cost_recorded':
        return this.#cost(event, request, books);
      case 'hold_settled':
        return this.#settled(event, request, books);
    }
  }

  #stepStarted(event: EventOf<'step_started'>, request: Request, books: Books): void {
    const { step, attempt, kind, calls, worstCase: money, worstTokens: tokens } = event;
    const before = request.steps.get(step);
    const of = `step ${step} of ${request.id}`;
    if (before?.done) this.#broken(10, `${of} has a result, and starts again`);
    if (before?.kind === 'unsafe') this.#broken('unsafe steps', `${of} starts again`);
    if (before?.open) this.#broken(4, `attempt ${attempt} of ${of} starts while ${before.attempt} is open`);
    if (attempt <= (before?.attempt ?? 0)) this.#broken(10, `attempt ${attempt} of ${of} follows ${before?.attempt}`);
    const open = [...request.steps.values()].filter((each) => each.open);
    const promised = open.filter(({ charged }) => !charged).reduce((sum, { worst }) => plus(sum, worst), plus(request.costs, { money, tokens }));
    if (exceeds(promised, request.held)) this.#broken(4, `${of} may come to ${say(promised)}, its hold is ${say(request.held)}`);
    const { maxSteps, maxToolCalls, maxToolFanOut } = books.policy;
    if (!before && request.steps.size >= maxSteps) this.#broken(7, `${of} is beyond ${maxSteps} steps`);
    const own = open.filter((each) => each.calls === 'tool').length;
    if (calls === 'tool' && (own >= maxToolFanOut || books.toolCalls >= maxToolCalls))
      this.#broken(7, `${of} calls a tool beside ${own} of ${maxToolFanOut} and ${books.toolCalls} of ${maxToolCalls}`);
    if (calls === 'tool') books.toolCalls++;
    request.steps.set(step, { attempt, kind, calls, worst: { money, tokens }, open: true, charged: false, done: false });
  }

  /** A refusal has its reason; what it needed is not in the event, but that it was more than there is. */
  #stepRefused({ step, code, limitName, limit, observed }: EventOf<'step_refused'>, request: Request, books: Books): void {
    const before = request.steps.get(step);
    const open = [...request.steps].filter(([name, each]) => name !== step && each.open).map(([, each]) => each);
    const left = open.filter(({ charged }) => !charged).reduce((rest, { worst }) => minus(rest, worst), minus(request.held, request.costs));
    const others = request.steps.size - Number(before !== undefined);
    const { maxSteps, maxToolCalls, maxToolFanOut } = books.policy;
    const reasons: Record<string, boolean> = {
      '': code === 'unsafe_repeat' && before?.kind === 'unsafe',
      request_steps: others >= maxSteps,
      request_budget: limit === Math.max(0, left.money) && observed > limit,
      request_tokens: limit === Math.max(0, left.tokens) && observed > limit,
      tool_fan_out: open.filter(({ calls }) => calls === 'tool').length >= maxToolFanOut,
      tool_calls_in_flight: books.toolCalls >= maxToolCalls,
    };
    if (reasons[limitName] === false)
      this.#broken(7, `step ${step} of ${request.id} is refused without reason: ${code} by ${limitName}, ${observed} of ${limit}`);
  }

  #cost(event: EventOf<'cost_recorded'>, request: Request, books: Books): void {
    const { step: name, attempt, presumed, day, month } = event;
    const amount = { money: event.amount, tokens: event.inputTokens + event.outputTokens };
    const step = request.steps.get(name);
    const of = `attempt ${attempt} of step ${name} of ${request.id}`;
    if (!step?.open || step.attempt !== attempt || step.charged) return this.#broken(4, `a cost of ${of}, which is not open`);
    const expected = presumed ? step.worst : this.#bill(request.id, name, attempt);
    if (!same(expected, amount)) this.#broken(4, `${of} is recorded at ${say(amount)}, it ${presumed ? 'was held at' : 'cost'} ${say(expected)}`);
    if (day !== request.windows.day || month !== request.windows.month)
      this.#broken(4, `a cost of ${of} in the window of ${day}: held in ${request.windows.day}`);
    step.charged = true;
    if (presumed) this.#closed(step, books);
    request.costs = plus(request.costs, amount);
    books.post(request.windows, { settled: amount, held: minus(NOTHING, amount) });
  }

  #closed(step: Step, books: Books): void {
    step.open = false;
    if (step.calls === 'tool') books.toolCalls--;
  }

  #stepFinished({ step: name, attempt }: EventOf<'step_finished'>, request: Request, books: Books): void {
    const step = request.steps.get(name);
    const of = `attempt ${attempt} of step ${name} of ${request.id}`;
    if (!step?.open || step.attempt !== attempt) return this.#broken(10, `a result of ${of}, which is not open`);
    if (!step.charged && !same(this.#bill(request.id, name, attempt), NOTHING)) this.#broken(4, `the cost of ${of} is missing`);
    this.#closed(step, books);
    step.done = true;
  }

  /** It was presumed spent just before, or nothing was done for it. */
  #stepFailed({ step: name, attempt }: EventOf<'step_failed'>, request: Request, books: Books): void {
    const step = request.steps.get(name);
    const of = `attempt ${attempt} of step ${name} of ${request.id}`;
    if (!step || step.attempt !== attempt || step.done || (!step.open && !step.charged)) return this.#broken(10, `a failure of ${of}, which is not open`);
    if (!step.open) return;
    if (!same(this.#bill(request.id, name, attempt), NOTHING)) this.#broken(4, `${of} failed, and its bill is forgotten`);
    this.#closed(step, books);
  }

  #settled(event: EventOf<'hold_settled'>, request: Request, books: Books): void {
    const { day, month } = event;
    const { id, windows, costs, held } = request;
    const [was, settled] = [
      { money: event.held, tokens: event.heldTokens },
      { money: event.settled, tokens: event.settledTokens },
    ];
    if (request.settled) this.#broken(4, `${id} settles twice`);
    if (!same(costs, settled)) this.#broken(4, `${id} settles at ${say(settled)}, its costs are ${say(costs)}`);
    if (!same(held, was)) this.#broken(4, `${id} settles a hold of ${say(was)}, it was ${say(held)}`);
    if (day !== windows.day || month !== windows.month) this.#broken(4, `${id} settles in the window of ${day}: held in ${windows.day}`);
    if ([...request.steps.values()].some(({ open }) => open)) this.#broken(4, `${id} settles with an open step`);
    request.settled = true;
    books.post(windows, { held: minus(costs, held) });
  }
}
