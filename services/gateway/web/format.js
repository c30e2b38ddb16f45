// Numbers for people. Money arrives as integer micro-dollars.
export const dollars = (micro) => {
  if (micro === null) return '–';
  const amount = micro / 1e6;
  return `$${amount.toFixed(amount !== 0 && Math.abs(amount) < 0.1 ? 4 : 2)}`;
};
export const percent = (share) => (share === null ? '–' : `${(share * 100).toFixed(share === 1 ? 0 : 1)} %`);
export const duration = (ms) => {
  if (ms === null) return '–';
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
};
