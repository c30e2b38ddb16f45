/** What a benchmark says. `ratio` is taken within one run, against the target or a peer beside it. */
export type Report = {
  readonly name: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly ratio: number;
  readonly target: string;
  readonly met: boolean;
  readonly not_measured: readonly string[];
};
