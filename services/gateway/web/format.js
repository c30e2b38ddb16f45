// @ts-nocheck browser code
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const NONE = '–';

export const count = (value) => whole.format(value);

/** Micro-dollars. Small sums keep the digits that tell them apart. */
export function money(micro, digits) {
  if (micro === null) return NONE;
  const dollars = micro / 1_000_000;
  const shown = digits ?? (Math.abs(dollars) >= 0.1 || dollars === 0 ? 2 : Math.abs(dollars) >= 0.01 ? 3 : 4);
  return new Intl.NumberFormat('en', { style: 'currency', currency: 'USD', minimumFractionDigits: shown, maximumFractionDigits: shown }).format(dollars);
}

/** Marks on an axis: as many digits as their distance needs. */
export function mark(dollars) {
  return new Intl.NumberFormat('en', { style: 'currency', currency: 'USD', minimumFractionDigits: 2, maximumFractionDigits: 4 }).format(dollars);
}

/** A limit: without cents where there are none. */
export function limit(micro) {
  const dollars = micro / 1_000_000;
  const compact = dollars >= 10_000;
  return new Intl.NumberFormat('en', {
    style: 'currency',
    currency: 'USD',
    notation: compact ? 'compact' : 'standard',
    maximumFractionDigits: Number.isInteger(dollars) || compact ? 0 : 2,
  }).format(dollars);
}

export const exact = (micro) => `${whole.format(micro)} micro-dollars`;

export function percent(share, digits = 1) {
  return share === null ? NONE : `${(share * 100).toFixed(share === 1 || share === 0 ? 0 : digits)} %`;
}

export function duration(ms) {
  if (ms === null) return NONE;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
}

export function ago(ms) {
  if (ms < 1_500) return 'now';
  if (ms < 60_000) return `${Math.round(ms / 1_000)} s ago`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min ago`;
  return ms < 86_400_000 ? `${Math.round(ms / 3_600_000)} h ago` : `${Math.round(ms / 86_400_000)} d ago`;
}

export const words = (name) => name.replaceAll('_', ' ');
