// @ts-nocheck browser code
/** Money spent by the minute, on canvas by uPlot. Colours are the page's own, in light and in dark. */
import uPlot from '/uplot/uPlot.esm.js';
import { mark } from './format.js';

const MINUTE = 60;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = new Set();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const chart of charts) chart.redraw();
});

function data(burn, at) {
  const last = Math.floor(at / 60_000) * MINUTE;
  return [burn.map((_, index) => last - (burn.length - 1 - index) * MINUTE), burn];
}

const series = (width) => ({
  paths: uPlot.paths.bars({ size: [0.72, width], radius: 0.3 }),
  fill: () => colour('--bars'),
  stroke: 'transparent',
  width: 0,
  points: { show: false },
});

function make(options, host, values) {
  const chart = new uPlot(options, values, host);
  charts.add(chart);
  return {
    set: (burn, at) => chart.setData(data(burn, at)),
    resize: (width) => chart.setSize({ width, height: options.height }),
    destroy() {
      charts.delete(chart);
      chart.destroy();
    },
  };
}

const scales = { x: { time: true, range: (_, min, max) => [min - MINUTE / 2, max + MINUTE / 2] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] } };

export function sparkline(host, burn, at) {
  const options = {
    width: 116,
    height: 30,
    legend: { show: false },
    cursor: { show: false },
    padding: [2, 0, 0, 0],
    axes: [{ show: false }, { show: false }],
    scales,
    series: [{}, series(4)],
  };
  return make(options, host, data(burn, at));
}

export function burnChart(host, burn, at) {
  const axis = { stroke: () => colour('--muted'), font: '11px Inter, system-ui, sans-serif', ticks: { show: false } };
  const grid = { stroke: () => colour('--line'), width: 1 };
  const time = (_, splits) => splits.map((each) => new Date(each * 1_000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' }));
  const dollars = (_, splits) => splits.map((each) => (each === 0 ? '' : mark(each / 1_000_000)));
  const options = {
    width: host.clientWidth || 380,
    height: 132,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 4, 0, 0],
    axes: [
      { ...axis, grid: { show: false }, values: time, space: 70, size: 24 },
      { ...axis, grid, values: dollars, space: 34, size: 54, gap: 6 },
    ],
    scales,
    series: [{}, series(10)],
  };
  return make(options, host, data(burn, at));
}
