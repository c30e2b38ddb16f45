/**
 * One partition's history, walked once: whole transactions, each request's one life, money within its limits, nothing beyond a cap.
 * Invariants 1, 4, 7 and 10. It shares no code with the engine: what an event means is written down here a second time.
 */
import type { Event, EventOf } from '#schemas/events.ts';
import type { Evidence, Stored } from './evidence.ts';

/** Of one window, in one unit. */
type Balance = { settled: number; held: number; granted: number };
type Amount = { readonly money: number; readonly tokens: number };
const NOTHING: Amount = { money: 0, tokens: 0 };
export type Life = {
  readonly tenant: string;
  readonly request: string;
  readonly conversation: string;
  readonly person: string;
  hold: Amount | undefined;
  left: Amount;
  costs: Amount;
  settled: boolean;
  readonly steps: Map<string, { attempt: number; worst: Amount; open: boolean }>;
  /** `step/attempt` of each that has a result. */
  readonly finishedSteps: Set<string>;
  finished: EventOf<'request_finished'> | undefined;
};
type Tenant = {
  policy: EventOf<'tenant_created'>['policy'] | undefined;
  suspended: boolean;
  queued: number;
  running: number;
  /** Theoretical arrival time (GCRA, ITU-T I.371), ms. */
  tat: number;
  readonly balances: Map<string, Balance>;
  /** By conversation: the waiting requests in order, and the one that runs. */
  readonly conversations: Map<string, { readonly waiting: string[]; running: string | undefined }>;
};
export type Entry = { readonly event: Event; readonly stored: Stored; readonly time: number };
/** A transaction: what it says it has consumed, and the events that stand in it. */
export type Committed = { readonly inputs: ReadonlyMap<string, number>; readonly events: readonly Entry[] };

const UNITS = ['money', 'tokens'] as const;
const HARD = {
  money: { day: 'budgetDay', month: 'budgetMonth', total: 'budgetTotal' },
  tokens: { day: 'budgetTokensDay', month: 'budgetTokensMonth', total: 'budgetTokensTotal' },
} as const;
const plus = (a: Amount, b: Amount): Amount => ({ money: a.money + b.money, tokens: a.tokens + b.tokens });
const minus = (a: Amount, b: Amount): Amount => ({ money: a.money - b.money, tokens: a.tokens - b.tokens });
const exceeds = (a: Amount, b: Amount): boolean => a.money > b.money || a.tokens > b.tokens;
const same = (a: Amount, b: Amount): boolean => a.money === b.money && a.tokens === b.tokens;
const said = ({ money, tokens }: Amount): string => `${money} micro-dollars and ${tokens} tokens`;
/** The broker's time is in whole ms, and the task rounds up. */
const RATE_TOLERANCE_MS = 1.5;

export class PartitionHistory {
  readonly problems: string[] = [];
  readonly transactions: Committed[] = [];
  readonly lives: Life[] = [];
  /** By `tenant/request`: what the history remembers now. */
  readonly #known = new Map<string, Life>();
  readonly #tenants = new Map<string, Tenant>();
  readonly #evidence: Evidence;
  readonly #partition: number;
  #batch = { number: 0, left: 0, time: 0 };
  #running = 0;
  #open: Entry[] = [];

  constructor(evidence: Evidence, partition: number) {
    this.#evidence = evidence;
    this.#partition = partition;
  }

  take(stored: Stored): void {
    const { decoded } = stored;
    if (!decoded) return this.#wrong(10, `offset ${stored.offset} of the history cannot be read`);
    if (decoded.name === 'batch') return this.#begin(decoded.value);
    const event = { type: decoded.name, ...decoded.value } as Event;
    if (this.#batch.left === 0) this.#wrong(10, `offset ${stored.offset}: ${event.type} stands in no transaction`);
    else this.#batch.left--;
    this.#open.push({ event, stored, time: this.#batch.time });
    if (this.#evidence.partitionOf(event.tenant) !== this.#partition) this.#wrong(10, `an event of ${event.tenant} stands on partition ${this.#partition}`);
    this.#fold(event);
  }

  /** Requests without an end. */
  end(): number {
    if (this.#batch.left > 0) this.#wrong(10, `batch ${this.#batch.number} lacks ${this.#batch.left} events`);
    const unfinished = this.lives.filter(({ finished }) => !finished).length;
    if (unfinished > 0) return unfinished;
    for (const [name, { balances, running, queued }] of this.#tenants) {
      for (const [window, { held }] of balances) if (held !== 0) this.#wrong(4, `${name} still holds ${held} in ${window}, and nothing runs`);
      if (running !== 0 || queued !== 0) this.#wrong(1, `${name} has ${running} running and ${queued} waiting, and every request has ended`);
    }
    return 0;
  }

  #wrong(invariant: number, what: string): void {
    this.problems.push(`invariant ${invariant}: ${what}`);
  }

  #begin(batch: { number: number; events: number; time: number; partitions: number; inputs: readonly { topic: string; next: number }[] }): void {
    const before = this.#batch;
    if (before.left > 0) this.#wrong(10, `batch ${before.number} of partition ${this.#partition} lacks ${before.left} events`);
    if (batch.number !== before.number + 1) this.#wrong(6, `partition ${this.#partition}: batch ${batch.number} follows ${before.number}`);
    if (batch.time < before.time) this.#wrong(10, `partition ${this.#partition}: batch ${batch.number} goes back in time`);
    if (batch.partitions !== this.#evidence.partitions) this.#wrong(10, `batch ${batch.number} was written for ${batch.partitions} partitions`);
    this.#batch = { number: batch.number, left: batch.events, time: batch.time };
    this.#open = [];
    this.transactions.push({ inputs: new Map(batch.inputs.map(({ topic, next }) => [topic, next])), events: this.#open });
  }

  #tenant(name: string): Tenant {
    const found = this.#tenants.get(name) ?? {
      policy: undefined,
      suspended: false,
      queued: 0,
      running: 0,
      tat: 0,
      balances: new Map<string, Balance>(),
      conversations: new Map(),
    };
    this.#tenants.set(name, found);
    return found;
  }
  #balance(tenant: string, key: string): Balance {
    const { balances } = this.#tenant(tenant);
    const found = balances.get(key) ?? { settled: 0, held: 0, granted: 0 };
    balances.set(key, found);
    return found;
  }
  #conversation({ tenant, conversation }: { readonly tenant: string; readonly conversation: string }) {
    const { conversations } = this.#tenant(tenant);
    const found = conversations.get(conversation) ?? { waiting: [], running: undefined };
    conversations.set(conversation, found);
    return found;
  }
  /** A life that no event has begun is a problem of its own, and judged no further. */
  #life(event: { readonly type: string; readonly tenant: string; readonly request: string }): Life | undefined {
    const life = this.#known.get(`${event.tenant}/${event.request}`);
    if (!life) this.#wrong(1, `${event.type} of ${event.request}, which was never queued`);
    return life;
  }
  #post(tenant: string, { day, month }: { readonly day: string; readonly month: string }, settled: Amount, held: Amount): void {
    for (const key of [day, month, 'total'])
      for (const unit of UNITS) {
        const balance = this.#balance(tenant, `${key}/${unit}`);
        balance.settled += settled[unit];
        balance.held += held[unit];
      }
  }

  #fold(event: Event): void {
    const tenant = this.#tenant(event.tenant);
    switch (event.type) {
      case 'tenant_created':
      case 'policy_set':
        tenant.policy = event.policy;
        break;
      case 'tenant_suspended':
      case 'tenant_resumed':
        tenant.suspended = event.type === 'tenant_suspended';
        break;
      case 'budget_granted':
        this.#balance(event.tenant, `${event.key}/money`).granted += event.amount;
        this.#balance(event.tenant, `${event.key}/tokens`).granted += event.tokens;
        break;
      case 'outside_cost_recorded':
        this.#post(event.tenant, event, { money: event.amount, tokens: event.tokens }, NOTHING);
        break;
      case 'request_queued':
        this.#queued(event, tenant);
        break;
      case 'hold_placed':
        this.#held(event, tenant);
        break;
      case 'step_started':
        this.#stepStarted(event);
        break;
      case 'step_finished':
      case 'step_failed':
        this.#stepEnded(event);
        break;
      case 'cost_recorded':
        this.#cost(event);
        break;
      case 'hold_settled':
        this.#settled(event);
        break;
      case 'request_finished':
        this.#finished(event, tenant);
        break;
      case 'request_forgotten':
        this.#forgotten(event);
        break;
      default:
    }
  }

  #queued(event: EventOf<'request_queued'>, tenant: Tenant): void {
    const key = `${event.tenant}/${event.request}`;
    if (this.#known.has(key)) return this.#wrong(10, `${event.request} of ${event.tenant} was queued twice`);
    const { tenant: name, request, conversation, person } = event;
    const life: Life = {
      tenant: name,
      request,
      conversation,
      person,
      hold: undefined,
      left: NOTHING,
      costs: NOTHING,
      settled: false,
      steps: new Map(),
      finishedSteps: new Set(),
      finished: undefined,
    };
    this.#known.set(key, life);
    this.lives.push(life);
    const { policy } = tenant;
    const waiting = this.#conversation(event).waiting;
    if (!policy) this.#wrong(10, `${request} of ${name}, which was never created`);
    else if (tenant.queued >= policy.maxQueued) this.#wrong(7, `${name} queues ${tenant.queued + 1} of ${policy.maxQueued}`);
    else if (waiting.length >= policy.maxQueuedPerConversation) this.#wrong(7, `a conversation of ${name} queues ${waiting.length + 1}`);
    waiting.push(request);
    tenant.queued++;
  }

  #held(event: EventOf<'hold_placed'>, tenant: Tenant): void {
    const life = this.#life(event);
    const { tenant: name, request } = event;
    if (!life) return;
    if (life.hold || life.finished) return this.#wrong(4, `${request} has more than one hold, or one after its end`);
    const hold = { money: event.amount, tokens: event.tokens };
    Object.assign(life, { hold, left: hold });
    this.#startable(event, tenant);
    tenant.queued--;
    tenant.running++;
    this.#running++;
    this.#post(name, event, NOTHING, hold);
    // The rungs that cost nothing run whatever was spent.
    if (same(hold, NOTHING)) return;
    for (const [window, key] of [['day', event.day] as const, ['month', event.month] as const, ['total', 'total'] as const])
      for (const unit of UNITS) {
        const { settled, held, granted } = this.#balance(name, `${key}/${unit}`);
        const hard = (tenant.policy?.[HARD[unit][window]] ?? 0) + granted;
        if (settled + held > hard) this.#wrong(4, `${name} has ${settled} settled and ${held} held of ${hard} in ${key}, ${unit}`);
      }
  }

  /** Invariant 7, and one turn of a conversation at a time, in order. */
  #startable({ request, day, month, ...event }: EventOf<'hold_placed'>, tenant: Tenant): void {
    const { policy } = tenant;
    const { time } = this.#batch;
    const date = new Date(time).toISOString();
    if (day !== date.slice(0, 10) || month !== date.slice(0, 7)) this.#wrong(4, `${request} is held in ${day}, at ${date}`);
    if (tenant.suspended) this.#wrong(7, `${request} starts while ${event.tenant} is suspended`);
    if (policy && tenant.running >= policy.maxInFlight) this.#wrong(7, `${event.tenant} runs ${tenant.running + 1} of ${policy.maxInFlight}`);
    if (this.#running >= this.#evidence.cap) this.#wrong(7, `partition ${this.#partition} runs ${this.#running + 1} of ${this.#evidence.cap}`);
    if (policy) {
      const interval = 1_000 / policy.requestsPerSecond;
      if (tenant.tat - (policy.burst - 1) * interval > time + RATE_TOLERANCE_MS)
        this.#wrong(7, `${event.tenant} starts more than ${policy.requestsPerSecond} requests/s`);
      tenant.tat = Math.max(tenant.tat, time) + interval;
    }
    const conversation = this.#conversation(event);
    if (conversation.running) this.#wrong(1, `${request} starts beside ${conversation.running} of the same conversation`);
    if (conversation.waiting[0] !== request) this.#wrong(1, `${request} starts before ${conversation.waiting[0]} of the same conversation`);
    conversation.waiting.splice(conversation.waiting.indexOf(request), 1);
    conversation.running = request;
  }

  #stepStarted(event: EventOf<'step_started'>): void {
    const life = this.#life(event);
    if (!life) return;
    const { step, attempt, kind } = event;
    const worst = { money: event.worstCase, tokens: event.worstTokens };
    if (!life.hold || life.finished) this.#wrong(7, `a step of ${event.request} starts while it does not run`);
    const before = life.steps.get(step);
    if (before && (before.open || before.attempt >= attempt || kind === 'unsafe'))
      this.#wrong(10, `step ${step} of ${event.request} starts again as attempt ${attempt}`);
    const others = [...life.steps].filter(([name, each]) => each.open && name !== step).map(([, each]) => each.worst);
    if (exceeds([...others, worst].reduce(plus, NOTHING), life.left))
      this.#wrong(4, `step ${step} of ${event.request} may cost ${said(worst)}, beside ${others.length} that run, of ${said(life.left)}`);
    life.steps.set(step, { attempt, worst, open: true });
  }

  #stepEnded(event: EventOf<'step_finished'> | EventOf<'step_failed'>): void {
    const life = this.#life(event);
    if (!life) return;
    const { step, attempt, request, type } = event;
    const started = life.steps.get(step);
    // What is presumed spent was recorded just before, and has closed it.
    const open = started?.attempt === attempt && (started.open || type === 'step_failed');
    if (!open) return this.#wrong(10, `attempt ${attempt} of step ${step} of ${request} ends, and was not open`);
    started.open = false;
    if (type === 'step_finished') life.finishedSteps.add(`${step}/${attempt}`);
  }

  #cost(event: EventOf<'cost_recorded'>): void {
    const life = this.#life(event);
    if (!life) return;
    const { request, step, attempt } = event;
    const cost = { money: event.amount, tokens: event.inputTokens + event.outputTokens };
    const started = life.steps.get(step);
    if (!life.hold || life.settled) this.#wrong(4, `a cost of ${request} outside its hold`);
    if (!started?.open || started.attempt !== attempt) this.#wrong(4, `a cost of step ${step} of ${request}, which is not open`);
    else if (exceeds(cost, started.worst)) this.#wrong(4, `step ${step} of ${request} costs ${said(cost)}, at most ${said(started.worst)} was announced`);
    if (exceeds(cost, life.left)) this.#wrong(4, `${request} costs ${said(cost)}, and ${said(life.left)} of its hold is left`);
    if (event.presumed && started) started.open = false;
    const released = { money: Math.min(cost.money, life.left.money), tokens: Math.min(cost.tokens, life.left.tokens) };
    life.left = minus(life.left, released);
    life.costs = plus(life.costs, cost);
    this.#post(event.tenant, event, cost, minus(NOTHING, released));
  }

  #settled(event: EventOf<'hold_settled'>): void {
    const life = this.#life(event);
    if (!life) return;
    const { request } = event;
    if (!life.hold || life.settled) return this.#wrong(4, `${request} settles twice, or without a hold`);
    const held = { money: event.held, tokens: event.heldTokens };
    const settled = { money: event.settled, tokens: event.settledTokens };
    if (!same(held, life.hold)) this.#wrong(4, `${request} settles a hold of ${said(held)}, it had ${said(life.hold)}`);
    if (!same(settled, life.costs)) this.#wrong(4, `${request} settles at ${said(settled)}, its costs are ${said(life.costs)}`);
    this.#post(event.tenant, event, NOTHING, minus(NOTHING, life.left));
    Object.assign(life, { settled: true, left: NOTHING });
  }

  #finished(event: EventOf<'request_finished'>, tenant: Tenant): void {
    const life = this.#life(event);
    if (!life) return;
    const { request, ran, cost } = event;
    if (life.finished) return this.#wrong(1, `${request} ends twice`);
    life.finished = event;
    if (ran !== (life.hold !== undefined)) this.#wrong(1, `${request} ends as one that ${ran ? 'ran, and never started' : 'never ran, and it did'}`);
    if (ran && !life.settled) this.#wrong(4, `${request} ends, and its hold is not settled`);
    if (cost !== life.costs.money) this.#wrong(4, `${request} ends at ${cost}, its costs are ${life.costs.money}`);
    const conversation = this.#conversation(event);
    if (ran) {
      conversation.running = undefined;
      tenant.running--;
      this.#running--;
    } else {
      const at = conversation.waiting.indexOf(request);
      if (at >= 0) conversation.waiting.splice(at, 1);
      tenant.queued--;
    }
  }

  #forgotten(event: EventOf<'request_forgotten'>): void {
    const key = `${event.tenant}/${event.request}`;
    const life = this.#known.get(key);
    // A command's mark is forgotten too.
    if (life && !life.finished) this.#wrong(1, `${event.request} is forgotten before its end`);
    this.#known.delete(key);
  }
}
