// @ts-nocheck browser code
/** All tenants together, in one line. */
import { byId, el, setText } from './dom.js';
import { count, duration, exact, limit, money, percent } from './format.js';

const sum = (all, of) => all.reduce((total, each) => total + of(each), 0);

const TILES = [
  {
    name: 'Success',
    of: (all) => {
      const finished = sum(all, (n) => n.finished);
      return [percent(finished === 0 ? null : sum(all, (n) => n.answered) / finished, 2), `${count(finished)} finished`];
    },
  },
  {
    name: 'Slowest p95',
    of: (all) => {
      const slowest = all.filter((n) => n.p95_ms !== null).sort((a, b) => b.p95_ms - a.p95_ms)[0];
      return [duration(slowest?.p95_ms ?? null), slowest?.tenant ?? 'nothing finished yet'];
    },
  },
  {
    name: 'Burn today',
    of: (all) => {
      const burn = sum(all, (n) => n.burn_today_micro_usd);
      return [money(burn), `of ${limit(sum(all, (n) => n.budget_day_micro_usd))}`, exact(burn)];
    },
  },
  { name: 'In flight', of: (all) => [count(sum(all, (n) => n.in_flight)), `${count(all.length)} tenant${all.length === 1 ? '' : 's'}`] },
  { name: 'Queued', of: (all) => [count(sum(all, (n) => n.queued)), `${count(sum(all, (n) => n.refused))} refused so far`] },
];

export class Tiles {
  constructor() {
    this.tiles = TILES.map(({ name, of }) => ({ of, value: el('strong'), under: el('small'), name }));
    byId('tiles').replaceChildren(...this.tiles.map(({ name, value, under }) => el('div', { class: 'tile' }, el('span', {}, name), value, under)));
  }

  set(all) {
    for (const { of, value, under } of this.tiles) {
      const [main, small, title] = of(all);
      setText(value, main);
      setText(under, small);
      if (title) value.title = title;
    }
  }
}
