/** What the model keeps of one tenant: balances by window, counters and the limits in force, from the history's events alone. */
import type { Event } from '#schemas/events.ts';
import { DEFAULT_POLICY, type Policy } from '#schemas/policy.ts';

/** Micro-dollars, tokens. */
export type Amount = { readonly money: number; readonly tokens: number };
export const NOTHING: Amount = { money: 0, tokens: 0 };
export const plus = (a: Amount, b: Amount): Amount => ({ money: a.money + b.money, tokens: a.tokens + b.tokens });
export const minus = (a: Amount, b: Amount): Amount => ({ money: a.money - b.money, tokens: a.tokens - b.tokens });
export const exceeds = (a: Amount, b: Amount): boolean => a.money > b.money || a.tokens > b.tokens;
export const same = (a: Amount | undefined, b: Amount): boolean => a !== undefined && a.money === b.money && a.tokens === b.tokens;
export const say = (a: Amount | undefined): string => (a ? `${a.money} micro-dollars and ${a.tokens} tokens` : 'nothing');

/** Says which invariant, or what else, is broken, and how. */
export type Broken = (invariant: number | string, why: string) => void;

export type Balance = { settled: number; held: number; granted: number; settledTokens: number; heldTokens: number; grantedTokens: number };
export type Windows = { readonly day: string; readonly month: string };

const EMPTY: Balance = { settled: 0, held: 0, granted: 0, settledTokens: 0, heldTokens: 0, grantedTokens: 0 };
const today = (at: number): Windows => ({ day: new Date(at).toISOString().slice(0, 10), month: new Date(at).toISOString().slice(0, 7) });

export class Books {
  policy: Policy = DEFAULT_POLICY;
  suspended = false;
  created = false;
  queued = 0;
  running = 0;
  toolCalls = 0;
  answered = 0;
  finished = 0;
  refused = 0;
  /** By `window key`. */
  readonly balances = new Map<string, Balance>();
  /** Theoretical arrival time of the generic cell rate algorithm, microseconds. */
  #tat = 0;

  command(event: Event): void {
    if (event.type === 'tenant_created') this.created = true;
    if (event.type === 'refusals_reported') this.refused += event.count;
    if (event.type === 'tenant_created' || event.type === 'policy_set') this.policy = event.policy;
    if (event.type === 'tenant_suspended' || event.type === 'tenant_resumed') this.suspended = event.type === 'tenant_suspended';
    if (event.type === 'outside_cost_recorded') this.post(event, { settled: { money: event.amount, tokens: event.tokens } });
    if (event.type === 'budget_granted') {
      const balance = this.balance(`${event.window} ${event.key}`);
      this.balances.set(`${event.window} ${event.key}`, {
        ...balance,
        granted: balance.granted + event.amount,
        grantedTokens: balance.grantedTokens + event.tokens,
      });
    }
  }

  post({ day, month }: Windows, { settled = NOTHING, held = NOTHING }: { readonly settled?: Amount; readonly held?: Amount }): void {
    for (const window of [`day ${day}`, `month ${month}`, 'total total']) {
      const balance = this.balance(window);
      this.balances.set(window, {
        ...balance,
        settled: balance.settled + settled.money,
        held: balance.held + held.money,
        settledTokens: balance.settledTokens + settled.tokens,
        heldTokens: balance.heldTokens + held.tokens,
      });
    }
  }

  balance(window: string): Balance {
    return this.balances.get(window) ?? EMPTY;
  }

  start(at: number): void {
    this.queued--;
    this.running++;
    this.#tat = Math.max(this.#tat, at * 1_000) + this.#interval;
  }

  /** A cap or a rate that forbids another start. */
  blocked(at: number): string | undefined {
    const { maxInFlight, burst, requestsPerSecond } = this.policy;
    if (this.suspended) return 'the tenant is suspended';
    if (this.running >= maxInFlight) return `${this.running} of ${maxInFlight} run`;
    return this.#tat - (burst - 1) * this.#interval > at * 1_000 ? `it is beyond ${requestsPerSecond} a second` : undefined;
  }

  /** The window and unit in which a hold does not fit. */
  shortage(ask: Amount, windows: Windows): string | undefined {
    return this.#limits(windows, ask)
      .filter(({ settled, held, hard, amount }) => settled + held + amount > hard)
      .map(({ name, settled, held, hard }) => `${name} has ${settled} settled and ${held} held of ${hard}`)[0];
  }

  /** What must be held for a request that starts now, on the first rung of the ladder that time, queue and settled money allow. */
  holdFor(deadline: number, at: number): Amount {
    const { requestCeiling, cheaperCeiling, requestTokens: tokens, fullAnswerMs, cheaperAnswerMs, overloadPercent, maxQueued } = this.policy;
    const behind = ((this.queued - 1) * 100) / maxQueued;
    const rungs = [
      { ask: { money: requestCeiling, tokens }, needs: fullAnswerMs, most: overloadPercent },
      { ask: { money: Math.min(requestCeiling, cheaperCeiling), tokens }, needs: cheaperAnswerMs, most: (overloadPercent + 100) / 2 },
    ];
    const spent = (ask: Amount) => this.#limits(today(at), ask).some(({ settled, hard, amount }) => settled + amount > hard);
    return rungs.find(({ ask, needs, most }) => deadline - at >= needs && behind < most && !spent(ask))?.ask ?? NOTHING;
  }

  /** It fits by what is settled, and does not because of what is held. */
  waitsForHolds(deadline: number, at: number): boolean {
    const ask = this.holdFor(deadline, at);
    return (ask.money > 0 || ask.tokens > 0) && this.shortage(ask, today(at)) !== undefined;
  }

  get #interval(): number {
    return Math.ceil(1_000_000 / this.policy.requestsPerSecond);
  }

  #limits({ day, month }: Windows, ask: Amount) {
    const { budgetDay, budgetMonth, budgetTotal, budgetTokensDay, budgetTokensMonth, budgetTokensTotal } = this.policy;
    const windows = [
      [`day ${day}`, budgetDay, budgetTokensDay],
      [`month ${month}`, budgetMonth, budgetTokensMonth],
      ['total total', budgetTotal, budgetTokensTotal],
    ] as const;
    return windows.flatMap(([window, money, tokens]) => {
      const balance = this.balance(window);
      return [
        { name: `${window} in money`, settled: balance.settled, held: balance.held, hard: money + balance.granted, amount: ask.money },
        { name: `${window} in tokens`, settled: balance.settledTokens, held: balance.heldTokens, hard: tokens + balance.grantedTokens, amount: ask.tokens },
      ];
    });
  }
}
