/**
 * What the ledger should come to, by the definition alone: a list of facts and a list of holds, summed anew at every question, on the
 * platform's own calendar. It shares no code with streams/support.
 */
export type Amount = { readonly money: number; readonly tokens: number };
export type Windows = { readonly day: string; readonly month: string };
export type Policy = {
  readonly day: Amount;
  readonly month: Amount;
  readonly total: Amount;
  readonly request: Amount;
  readonly cheaper: Amount;
  readonly inFlight: number;
  readonly steps: number;
  readonly toolCalls: number;
  readonly fanOut: number;
};
type Step = { readonly attempt: number; readonly worst: Amount; readonly tool: boolean; readonly unsafe: boolean; state: 'open' | 'lost' | 'done' };
type Hold = { readonly windows: Windows; left: Amount; readonly steps: Map<string, Step> };
type Fact = Amount & { readonly windows: Windows };

const NAMES = ['day', 'month', 'total'] as const;
const UNITS = ['money', 'tokens'] as const;
const plus = (a: Amount, b: Amount): Amount => ({ money: a.money + b.money, tokens: a.tokens + b.tokens });
const minus = (a: Amount, b: Amount): Amount => ({ money: a.money - b.money, tokens: a.tokens - b.tokens });
const least = (a: Amount, b: Amount): Amount => ({ money: Math.min(a.money, b.money), tokens: Math.min(a.tokens, b.tokens) });
export const NOTHING: Amount = { money: 0, tokens: 0 };

export const windowsAt = (at: number): Windows => ({ day: new Date(at).toISOString().slice(0, 10), month: new Date(at).toISOString().slice(0, 7) });
const inWindow = (windows: Windows, name: (typeof NAMES)[number], key: string): boolean => name === 'total' || windows[name] === key;

export class Model {
  policy: Policy;
  readonly facts: Fact[] = [];
  readonly grants: (Amount & { readonly name: (typeof NAMES)[number]; readonly key: string })[] = [];
  readonly holds = new Map<string, Hold>();
  readonly keys = new Set<string>();
  /** Conversation to its requests, the first of which may run. */
  readonly waiting = new Map<string, string[]>();
  readonly running = new Map<string, string>();
  readonly known = new Set<string>();
  readonly deadlines = new Map<string, number>();

  constructor(policy: Policy) {
    this.policy = policy;
  }

  clone(): Model {
    const copy = new Model(this.policy);
    copy.facts.push(...this.facts);
    copy.grants.push(...this.grants);
    for (const key of this.keys) copy.keys.add(key);
    for (const id of this.known) copy.known.add(id);
    for (const [id, at] of this.deadlines) copy.deadlines.set(id, at);
    for (const [conversation, ids] of this.waiting) copy.waiting.set(conversation, [...ids]);
    for (const [conversation, id] of this.running) copy.running.set(conversation, id);
    for (const [id, hold] of this.holds) copy.holds.set(id, { ...hold, steps: new Map([...hold.steps].map(([name, step]) => [name, { ...step }])) });
    return copy;
  }

  settled(name: (typeof NAMES)[number], key: string): Amount {
    return this.facts.filter(({ windows }) => inWindow(windows, name, key)).reduce<Amount>(plus, NOTHING);
  }
  held(name: (typeof NAMES)[number], key: string): Amount {
    return [...this.holds.values()].filter(({ windows }) => inWindow(windows, name, key)).reduce<Amount>((sum, { left }) => plus(sum, left), NOTHING);
  }
  granted(name: (typeof NAMES)[number], key: string): Amount {
    return this.grants.filter((each) => each.name === name && each.key === key).reduce<Amount>(plus, NOTHING);
  }

  fact(key: string, amount: Amount, at: number): void {
    if (this.keys.has(key)) return;
    this.keys.add(key);
    this.facts.push({ ...amount, windows: windowsAt(at) });
  }
  grant(key: string, amount: Amount, name: (typeof NAMES)[number], now: number): void {
    if (this.keys.has(key)) return;
    this.keys.add(key);
    this.grants.push({ ...amount, name, key: name === 'total' ? 'total' : windowsAt(now)[name] });
  }

  /** What is held for a request that starts now: nothing where only what costs nothing can answer. undefined: it waits for others' holds. */
  dispatch(id: string, now: number): Amount | undefined {
    if (this.running.size >= this.policy.inFlight) return undefined;
    if ((this.deadlines.get(id) ?? 0) < now) return NOTHING;
    const { request, cheaper } = this.policy;
    const ask = [request, cheaper].find((each) => this.#fits(each, now, false));
    if (!ask) return NOTHING;
    return this.#fits(ask, now, true) ? ask : undefined;
  }
  #fits(ask: Amount, now: number, withHolds: boolean): boolean {
    const windows = windowsAt(now);
    return NAMES.every((name) => {
      const key = name === 'total' ? 'total' : windows[name];
      const taken = withHolds ? plus(this.settled(name, key), this.held(name, key)) : this.settled(name, key);
      const limit = plus(this.policy[name], this.granted(name, key));
      return UNITS.every((unit) => taken[unit] + ask[unit] <= limit[unit]);
    });
  }
  hold(conversation: string, id: string, amount: Amount, now: number): void {
    this.waiting.set(conversation, (this.waiting.get(conversation) ?? []).slice(1));
    this.running.set(conversation, id);
    this.holds.set(id, { windows: windowsAt(now), left: amount, steps: new Map() });
  }

  /** started, refused, or nothing: it is known already. `lost`: the attempt before it counts as spent at its worst. */
  step(id: string, name: string, ask: Omit<Step, 'state'>): { readonly lost: boolean; readonly verdict: 'started' | 'refused' } | undefined {
    const hold = this.holds.get(id);
    const known = hold?.steps.get(name);
    if (!hold || (known && (known.state === 'done' || known.attempt >= ask.attempt))) return undefined;
    const lost = known?.state === 'open';
    if (known && lost) {
      this.#spend(hold, known.worst);
      known.state = 'lost';
    }
    const open = [...hold.steps.values()].filter((each) => each.state === 'open');
    const promised = open.reduce<Amount>((sum, { worst }) => plus(sum, worst), NOTHING);
    // Of the lost attempt the hold may have had less than its worst case left: what is over is a fact all the same.
    const left = minus(hold.left, least(hold.left, promised));
    const tools = open.filter(({ tool }) => tool).length;
    const allTools = [...this.holds.values()].flatMap(({ steps }) => [...steps.values()]).filter((each) => each.state === 'open' && each.tool).length;
    const no =
      known?.unsafe ||
      (!known && hold.steps.size >= this.policy.steps) ||
      ask.worst.money > left.money ||
      ask.worst.tokens > left.tokens ||
      (ask.tool && (tools >= this.policy.fanOut || allTools >= this.policy.toolCalls));
    if (no) return { lost, verdict: 'refused' };
    hold.steps.set(name, { ...ask, state: 'open' });
    return { lost, verdict: 'started' };
  }
  result(id: string, name: string, attempt: number, spent: Amount): boolean {
    const hold = this.holds.get(id);
    const step = hold?.steps.get(name);
    if (!hold || step?.state !== 'open' || step.attempt !== attempt) return false;
    step.state = 'done';
    this.#spend(hold, spent);
    return true;
  }
  finish(conversation: string, id: string): boolean {
    const hold = this.holds.get(id);
    if (!hold) return false;
    for (const step of hold.steps.values()) if (step.state === 'open') this.#spend(hold, step.worst);
    this.holds.delete(id);
    this.running.delete(conversation);
    return true;
  }

  #spend(hold: Hold, spent: Amount): void {
    this.facts.push({ ...spent, windows: hold.windows });
    hold.left = minus(hold.left, least(hold.left, spent));
  }
}
