/** What a benchmark says. `ratio` is taken within one run, against the target or a peer beside it. */
export type Report = {
  readonly name: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly ratio: number;
  readonly target: string;
  readonly met: boolean;
  readonly not_measured: readonly string[];
};

/** Progress, beside what the benchmark says at its end. */
export const say = (line: string): void => console.error(line);

/** To hundredths. */
export const round = (value: number): number => Math.round(value * 100) / 100;

export const quantile = (values: readonly number[], q: number): number =>
  Math.round(([...values].sort((a, b) => a - b)[Math.floor(values.length * q)] ?? 0) * 10) / 10;
