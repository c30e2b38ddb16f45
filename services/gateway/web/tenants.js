// @ts-nocheck browser code
/** All tenants side by side. Rows keep their place while their numbers move. */
import { sparkline } from './chart.js';
import { byId, el, setShare, setText } from './dom.js';
import { count, duration, exact, limit, money, percent } from './format.js';

const COLUMNS = [
  { name: 'Tenant', key: (n) => n.tenant, text: true },
  { name: 'Success', key: (n) => n.success_rate ?? -1 },
  { name: 'p95', key: (n) => n.p95_ms ?? -1 },
  { name: 'Cost per success', key: (n) => n.cost_per_success_micro_usd ?? -1 },
  { name: 'Burn today', key: (n) => n.burn_today_micro_usd / Math.max(1, n.budget_day_micro_usd), text: true },
  { name: 'Last hour' },
  { name: 'In flight', key: (n) => n.in_flight },
  { name: 'Queued', key: (n) => n.queued },
  { name: 'Refused', key: (n) => n.refused },
];

/** What a budget's state is called, and how it looks. */
export function stateOf({ suspended, burn_today_micro_usd: burn, budget_day_micro_usd: budget, soft_percent: soft, alerts = [] }) {
  if (suspended) return { name: 'suspended', says: 'Suspended' };
  if (burn >= budget) return { name: 'hard', says: 'Budget spent' };
  if (alerts.includes('error_rate')) return { name: 'hard', says: 'Many errors' };
  if (alerts.includes('budget_forecast')) return { name: 'soft', says: 'Budget will not last' };
  return burn >= (budget * soft) / 100 ? { name: 'soft', says: 'Near its budget' } : { name: 'even', says: 'On an even keel' };
}

/** Spent, held, and where soft and hard limits stand. */
export function budgetBar() {
  const bar = el('div', { class: 'budget', role: 'img' }, el('i', { class: 'spent' }), el('i', { class: 'held' }), el('i', { class: 'soft' }));
  return {
    bar,
    set(spent, held, budget, soft, state) {
      const whole = Math.max(1, budget);
      setShare(bar, '--spent', spent / whole);
      setShare(bar, '--held', Math.min(held / whole, 1 - Math.min(1, spent / whole)));
      setShare(bar, '--soft', soft / 100);
      bar.dataset.state = state;
      bar.setAttribute('aria-label', `${money(spent)} spent and ${money(held)} held of ${limit(budget)}; soft limit at ${soft} percent`);
      bar.title = `${exact(spent)} spent, ${exact(held)} held`;
    },
  };
}

class Row {
  constructor(numbers, open) {
    this.name = el('button', { type: 'button', class: 'name', 'aria-haspopup': 'dialog' });
    this.says = el('small', { class: 'says' });
    this.dot = el('i', { class: 'dot' });
    this.cells = Object.fromEntries(
      ['success', 'of', 'p95', 'each', 'burn', 'budget', 'flight', 'most', 'queued', 'refused'].map((name) => [name, el('span')]),
    );
    this.budget = budgetBar();
    this.chart = el('div', { class: 'spark', 'aria-hidden': 'true' });
    this.flightBar = el('i', { class: 'meter' });
    const { success, of, p95, each, burn, budget, flight, most, queued, refused } = this.cells;
    const under = (node) => el('small', { class: 'under' }, node);
    const number = (label, ...content) => el('td', { class: 'number', 'data-label': label }, ...content);
    this.node = el(
      'tr',
      { onclick: () => open(this.numbers.tenant) },
      el('th', { scope: 'row' }, el('div', { class: 'who' }, this.dot, el('div', {}, this.name, this.says))),
      number('Success', success, under(of)),
      number('p95', p95),
      number('Cost per success', each),
      el('td', { class: 'burn', 'data-label': 'Burn today' }, el('div', { class: 'sums' }, burn, el('small', {}, budget)), this.budget.bar),
      el('td', { class: 'hour', 'data-label': 'Last hour' }, this.chart),
      number('In flight', el('span', { class: 'flight' }, flight, el('small', { class: 'most' }, most)), this.flightBar),
      number('Queued', queued),
      number('Refused', refused),
    );
    this.set(numbers, Date.now());
  }

  set(numbers, at) {
    this.numbers = numbers;
    const n = numbers;
    const state = stateOf(n);
    const { success, of, p95, each, burn, budget, flight, most, queued, refused } = this.cells;
    setText(this.name, n.tenant);
    // What is as it should be need not be said eight times over.
    setText(this.says, state.name === 'even' ? '' : state.says);
    this.node.dataset.state = state.name;
    this.node.dataset.tenant = n.tenant;
    setText(success, percent(n.success_rate));
    setText(of, n.finished === 0 ? 'none yet' : `${count(n.answered)} of ${count(n.finished)}`);
    setText(p95, duration(n.p95_ms));
    setText(each, money(n.cost_per_success_micro_usd, 4));
    setText(burn, money(n.burn_today_micro_usd));
    burn.title = exact(n.burn_today_micro_usd);
    burn.dataset.microUsd = n.burn_today_micro_usd;
    setText(budget, `of ${limit(n.budget_day_micro_usd)}`);
    this.budget.set(n.burn_today_micro_usd, n.held_micro_usd, n.budget_day_micro_usd, n.soft_percent, state.name);
    setText(flight, count(n.in_flight));
    setText(most, ` / ${count(n.most_in_flight)}`);
    setShare(this.flightBar, '--share', n.in_flight / Math.max(1, n.most_in_flight));
    setText(queued, count(n.queued));
    setText(refused, count(n.refused));
    for (const [cell, zero] of [
      [flight, n.in_flight === 0],
      [queued, n.queued === 0],
      [refused, n.refused === 0],
    ])
      cell.classList.toggle('none', zero);
    if (this.spark) this.spark.set(n.burn, at);
    else this.spark = this.chart.isConnected ? sparkline(this.chart, n.burn, at) : undefined;
  }

  remove() {
    this.spark?.destroy();
    this.node.remove();
  }
}

export class Tenants {
  constructor(open) {
    this.open = open;
    this.rows = new Map();
    this.sort = { column: COLUMNS[0], down: false };
    this.heads = COLUMNS.map((column) => this.head(column));
    byId('heads').replaceChildren(...this.heads);
    byId('rows').addEventListener('keydown', (event) => this.move(event));
  }

  snapshot(all, at) {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.update(all, at);
  }

  update(changed, at) {
    let fresh = false;
    for (const numbers of changed) {
      const row = this.rows.get(numbers.tenant);
      if (row) {
        row.set(numbers, at);
        continue;
      }
      this.rows.set(numbers.tenant, new Row(numbers, this.open));
      fresh = true;
    }
    if (fresh) this.order();
    for (const { tenant, burn } of changed) {
      const row = this.rows.get(tenant);
      row.spark ??= sparkline(row.chart, burn, at);
    }
    byId('empty').hidden = this.rows.size > 0;
  }

  get all() {
    return [...this.rows.values()].map(({ numbers }) => numbers);
  }

  select(tenant) {
    for (const [name, { node }] of this.rows) node.toggleAttribute('data-open', name === tenant);
  }
  focus(tenant) {
    this.rows.get(tenant)?.name.focus();
  }

  order() {
    const { column, down } = this.sort;
    const sign = down ? -1 : 1;
    const compare = (a, b) => {
      const [x, y] = [column.key(a.numbers), column.key(b.numbers)];
      return (x < y ? -sign : x > y ? sign : 0) || (a.numbers.tenant < b.numbers.tenant ? -1 : 1);
    };
    byId('rows').append(...[...this.rows.values()].sort(compare).map(({ node }) => node));
    for (const [at, head] of this.heads.entries()) {
      const sorted = COLUMNS[at] === column;
      if (sorted) head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
  }

  head(column) {
    const kind = column.text || !column.key ? '' : 'number';
    if (!column.key) return el('th', { scope: 'col', class: kind }, column.name);
    const sort = () => {
      // Numbers are asked for from the largest down.
      this.sort = { column, down: this.sort.column === column ? !this.sort.down : column !== COLUMNS[0] };
      this.order();
    };
    return el('th', { scope: 'col', class: kind }, el('button', { type: 'button', onclick: sort }, column.name));
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const names = [...byId('rows').querySelectorAll('.name')];
    const next = names[names.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}
