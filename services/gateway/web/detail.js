// @ts-nocheck browser code
/** One tenant: burn, budgets, limits, and the life of its last requests. */
import { burnChart } from './chart.js';
import { byId, el, setShare } from './dom.js';
import { ago, count, duration, exact, limit, money, percent, words } from './format.js';
import { budgetBar, stateOf } from './tenants.js';

const SHOWN_REQUESTS = 14;
const LIMITS = [
  ['Requests per second', (p) => `${count(p.requestsPerSecond)}, burst ${count(p.burst)}`],
  ['In flight', (p) => count(p.maxInFlight)],
  ['Queue', (p) => count(p.maxQueued)],
  ['Queue of a conversation', (p) => count(p.maxQueuedPerConversation)],
  ['Held for a request', (p) => money(p.requestCeiling)],
  ['Steps of a request', (p) => count(p.maxSteps)],
  ['Deadline', (p) => duration(p.deadlineMs)],
  ['Share of the queue', (p) => `× ${p.weight / 100}`],
];

export class Detail {
  constructor(close) {
    this.node = byId('detail');
    this.close = close;
    this.node.addEventListener('keydown', (event) => event.key === 'Escape' && close());
    new ResizeObserver(() => this.chart?.resize(this.host.clientWidth)).observe(this.node);
  }

  show(tenant) {
    this.hide();
    this.name = el('h2', { id: 'detail-name' }, tenant);
    this.says = el('span', { class: 'pill' });
    this.host = el('div', { class: 'chart', 'aria-label': 'Money spent by the minute, last hour' });
    [this.budgets, this.limits, this.requests, this.version] = [
      el('div', { class: 'budgets' }),
      el('dl', { class: 'limits' }),
      el('ol', { class: 'requests' }),
      el('small', { class: 'aside' }),
    ];
    const part = (title, aside, ...content) => el('section', {}, el('h3', {}, title, aside), ...content);
    this.node.replaceChildren(
      el('header', {}, this.name, this.says, el('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: this.close }, '×')),
      part('Burn by the minute', el('small', { class: 'aside' }, 'last hour'), this.host),
      part('Budgets', null, this.budgets),
      part('Last requests', el('small', { class: 'aside' }, el('i', { class: 'key waited' }), 'waited', el('i', { class: 'key ran' }), 'ran'), this.requests),
      part('Limits', this.version, this.limits),
    );
    this.node.hidden = false;
    this.node.focus({ preventScroll: true });
  }

  hide() {
    this.chart?.destroy();
    this.chart = undefined;
    this.node.hidden = true;
  }

  set(tenant, at) {
    const state = stateOf(tenant);
    this.says.textContent = state.says;
    this.says.dataset.state = state.name;
    if (this.chart) this.chart.set(tenant.burn, at);
    else this.chart = burnChart(this.host, tenant.burn, at);
    this.budgets.replaceChildren(...tenant.budgets.map((each) => budget(each, tenant.soft_percent)));
    this.version.textContent = `policy version ${tenant.policy_version}`;
    this.limits.replaceChildren(...LIMITS.map(([name, of]) => el('div', {}, el('dt', {}, name), el('dd', {}, of(tenant.policy)))));
    const lives = shown(tenant.recent.map((each) => lifeOf(each, at)));
    const longest = Math.max(1, ...lives.map(({ total }) => total));
    this.requests.replaceChildren(...(lives.length === 0 ? [el('li', { class: 'none' }, 'No request yet.')] : lives.map((life) => request(life, longest, at))));
  }
}

/** What runs, a few that wait, and those that ended: a long queue must not hide what became of the others. */
function shown(lives) {
  const running = lives.filter(({ outcome, ran }) => !outcome && ran > 0).slice(0, 3);
  const waiting = lives.filter(({ outcome, ran }) => !outcome && ran === 0).slice(0, 2);
  const ended = lives.filter(({ outcome }) => outcome);
  return [...waiting, ...running, ...ended].slice(0, SHOWN_REQUESTS);
}

function budget({ window, key, settled_micro_usd: settled, held_micro_usd: held, limit_micro_usd: hard }, soft) {
  const { bar, set } = budgetBar();
  const state = settled >= hard ? 'hard' : settled >= (hard * soft) / 100 ? 'soft' : 'even';
  set(settled, held, hard, soft, state);
  const name = { day: 'Today', month: 'This month', total: 'In all' }[window];
  const share = percent(hard > 0 ? settled / hard : 1, 0);
  return el(
    'div',
    {},
    el('span', { title: key }, name),
    bar,
    el('span', { class: 'sum', title: exact(settled) }, money(settled), el('small', {}, ` of ${limit(hard)} · ${share}`)),
  );
}

/** Where a request's time went. Steps are drawn inside of what ran. */
function lifeOf({ request_id: id, stages, outcome, reason, degraded, cost_micro_usd: cost }, now) {
  const at = (name) => stages.find(({ stage }) => stage === name)?.at;
  const first = stages[0]?.at ?? now;
  const end = at('finished') ?? (outcome ? first : Math.max(now, first));
  const started = at('running');
  const waited = (started ?? end) - first;
  const steps = stages
    .filter(({ stage }) => stage === 'step')
    .map((start) => {
      const done = stages.find(({ stage, step, at: when }) => (stage === 'step_done' || stage === 'step_failed') && step === start.step && when >= start.at);
      return { name: start.step, from: start.at - first, ms: (done?.at ?? end) - start.at };
    });
  return {
    id,
    first,
    total: end - first,
    waited,
    ran: started === undefined ? 0 : end - started,
    steps,
    outcome,
    reason,
    degraded,
    cost,
    stage: stages.at(-1)?.stage,
  };
}

function request(life, longest, now) {
  const { id, total, waited, ran, steps, outcome, reason, degraded, cost } = life;
  const bar = el(
    'div',
    { class: 'life', role: 'img', 'aria-label': `waited ${duration(waited)}, ran ${duration(ran)}` },
    el('i', { class: 'waited' }),
    el('i', { class: 'ran' }),
  );
  setShare(bar, '--waited', waited / longest);
  setShare(bar, '--ran', ran / longest);
  for (const { name, from, ms } of steps) {
    const mark = el('i', { class: 'step', title: `${words(name)}: ${duration(ms)}` });
    setShare(mark, '--from', from / longest);
    setShare(mark, '--wide', ms / longest);
    bar.append(mark);
  }
  bar.title = `waited ${duration(waited)}, ran ${duration(ran)}`;
  const why = reason && reason !== outcome ? words(reason) : '';
  const says = outcome ? words(outcome) : ran > 0 ? 'running' : 'waiting';
  return el(
    'li',
    { 'data-outcome': outcome ?? 'open' },
    el(
      'div',
      { class: 'what' },
      el('span', { class: 'outcome' }, says),
      el('small', { class: 'why' }, [why, degraded ? `by ${words(degraded)}` : ''].filter(Boolean).join(', ')),
      el('code', { title: id }, id.slice(0, 10)),
      el('time', {}, ago(now - life.first)),
    ),
    el('div', { class: 'how' }, bar, el('span', { class: 'took' }, duration(total)), el('span', { class: 'cost' }, cost > 0 ? money(cost, 4) : '–')),
  );
}
