// A card for each tenant, side by side, and their sum.
import uPlot from '/uplot/uPlot.esm.js';
import { dollars, duration, percent } from './format.js';

const drawn = new Map();

export function summary(place, all) {
  const sum = (field) => all.reduce((total, each) => total + each[field], 0);
  const finished = sum('finished');
  const facts = [
    ['spent today', dollars(sum('burn_today_micro_usd'))],
    ['success', percent(finished === 0 ? null : sum('answered') / finished)],
    ['in flight', sum('in_flight')],
    ['queued', sum('queued')],
    ['answered', sum('answered')],
  ];
  place.replaceChildren(
    ...facts.map(([name, value]) => {
      const fact = document.createElement('div');
      const [label, number] = [document.createElement('span'), document.createElement('b')];
      label.textContent = name;
      number.textContent = value;
      fact.append(label, number);
      return fact;
    }),
  );
}

export function cards(place, all, chosen, choose) {
  for (const [tenant, { element }] of drawn) {
    if (all.some((each) => each.tenant === tenant)) continue;
    element.remove();
    drawn.delete(tenant);
  }
  for (const numbers of all) {
    const card = drawn.get(numbers.tenant) ?? create(place, numbers.tenant, choose);
    fill(card, numbers);
    if (chosen === numbers.tenant) card.element.setAttribute('aria-current', 'true');
    else card.element.removeAttribute('aria-current');
  }
}

function create(place, tenant, choose) {
  const element = document.getElementById('card').content.firstElementChild.cloneNode(true);
  element.dataset.tenant = tenant;
  element.querySelector('h2').textContent = tenant;
  element.addEventListener('click', () => choose(tenant));
  element.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' || event.key === ' ') choose(tenant);
  });
  place.append(element);
  const card = { element, plot: undefined };
  drawn.set(tenant, card);
  return card;
}

function fill(card, numbers) {
  const { element } = card;
  const set = (name, text) => {
    element.querySelector(`.${name}`).textContent = text;
  };
  const { burn_today_micro_usd: spent, held_micro_usd: held, budget_day_micro_usd: budget, soft_percent: soft } = numbers;
  const share = budget === 0 ? 1 : spent / budget;
  const level = share >= 1 ? 'bad' : share * 100 >= soft ? 'warn' : '';
  set('spent', dollars(spent));
  element.querySelector('.spent').dataset.microUsd = String(spent);
  set('budget', dollars(budget));
  set('success', percent(numbers.success_rate));
  set('p95', duration(numbers.p95_ms));
  set('cost', dollars(numbers.cost_per_success_micro_usd));
  set('flying', numbers.in_flight);
  set('queued', numbers.queued);
  set('refused', numbers.refused);
  const flag = element.querySelector('.flag');
  flag.textContent = numbers.suspended
    ? 'suspended'
    : level === 'bad'
      ? 'budget spent'
      : level === 'warn'
        ? 'near its budget'
        : `policy ${numbers.policy_version}`;
  flag.className = `flag ${numbers.suspended ? 'bad' : level}`;
  const bar = element.querySelector('.bar');
  bar.className = `bar ${level}`;
  bar.setAttribute('aria-label', `${percent(share)} of the day's budget is spent`);
  bar.querySelector('.settled').style.width = `${Math.min(100, share * 100)}%`;
  bar.querySelector('.held').style.width = `${Math.min(100, budget === 0 ? 0 : ((spent + held) / budget) * 100)}%`;
  bar.querySelector('.soft').style.left = `${soft}%`;
  spark(card, numbers.burn);
}

function spark(card, burn) {
  const place = card.element.querySelector('.spark');
  const data = [burn.map((_, at) => at), burn];
  const colour = getComputedStyle(document.documentElement).getPropertyValue('--sea');
  const resolved = getComputedStyle(card.element.querySelector('.settled')).backgroundColor || colour;
  if (card.plot) return card.plot.setData(data);
  const hidden = { show: false };
  card.plot = new uPlot(
    {
      width: place.clientWidth || 300,
      height: 44,
      padding: [4, 0, 0, 0],
      cursor: hidden,
      legend: hidden,
      axes: [hidden, hidden],
      scales: { x: { time: false }, y: { range: (_plot, _min, max) => [0, Math.max(max, 1)] } },
      series: [{}, { stroke: resolved, width: 1.5, fill: resolved.replace('rgb(', 'rgba(').replace(')', ', 0.12)'), points: hidden }],
    },
    data,
    place,
  );
}
