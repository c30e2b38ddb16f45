/** `npm run sim`: worlds by seed, one again, or with a bug planted. Exits 1 when an invariant broke, or when a mutant was not caught. */
import { styleText } from 'node:util';
import { noPositionals, UsageError } from '#services/cli/command.ts';
import { optionsOf, wholeOption } from '../options.ts';
import { FAULTS, type Fault } from './faults.ts';
import { MUTANTS, type Mutant } from './mutants.ts';
import { type Report, simulate } from './run.ts';
import { simulationOf } from './source-edit.ts';

const HELP = `npm run sim -- [--seeds N] [--from N] [--seed N] [--mutant NAME|all] [--json]

  --seeds N      how many worlds (default 100); a million runs for a night
  --from N       the first seed (default 1)
  --seed N       one world alone: the same seed is the same world
  --mutant NAME  plant a bug and show which seed catches it, and how; all: each in turn
  --json         one JSON object on standard output, for machines

Exit codes: 0 every world kept every invariant, or the mutant was caught; 1 not; 2 the call was wrong.

Examples:
  npm run sim -- --seeds 1000
  npm run sim -- --seed 42
  npm run sim -- --mutant no-fence

Mutants:
${MUTANTS.map(({ name, what }) => `  ${name.padEnd(32)}${what}`).join('\n')}`;

const PROGRESS_MS = 5_000;
/** Of one world, so many problems are told: the first is the cause. */
const TOLD = 5;

const OPTIONS = {
  seeds: { type: 'string' },
  from: { type: 'string' },
  seed: { type: 'string' },
  mutant: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const { values, first, count } = optionsOf('sim', OPTIONS, (values, positionals) => {
  noPositionals(positionals);
  if (values.seed !== undefined && (values.seeds ?? values.from) !== undefined) throw new UsageError('--seed is one world, --seeds and --from are many');
  const one = wholeOption('seed', values.seed, 0);
  const [from, many] = [wholeOption('from', values.from, 0) ?? 1, wholeOption('seeds', values.seeds, 1) ?? 100];
  if (values.mutant !== undefined && values.mutant !== 'all' && !MUTANTS.some(({ name }) => name === values.mutant))
    throw new UsageError(`there is no mutant ${values.mutant}. There are: all, ${MUTANTS.map(({ name }) => name).join(', ')}`);
  return { values, first: one ?? from, count: one === undefined ? many : 1 };
});
const say = (text: string): void => {
  if (!values.json) console.log(text);
};

/** Tells on standard error how far a long run is. */
function progressOf(what: string, of: number): (done: number, broken: number) => void {
  const began = performance.now();
  let told = began;
  return (done, broken) => {
    const now = performance.now();
    if (now - told < PROGRESS_MS || done === of) return;
    told = now;
    const left = Math.round(((now - began) / done) * (of - done)) / 1_000;
    console.error(`${what}: ${done} of ${of}, ${broken} broken, ${Math.ceil(left)} s left`);
  };
}

async function worlds(): Promise<number> {
  const tally = new Map<Fault, number>();
  const broken: Report[] = [];
  const progress = progressOf('worlds', count);
  let [requests, transactions] = [0, 0];
  for (let seed = first; seed < first + count; seed++) {
    const report = await simulate(seed, undefined, tally);
    requests += report.requests;
    transactions += report.transactions;
    if (report.problems.length > 0) {
      broken.push(report);
      say(`${styleText('red', `seed ${seed}`)}\n  ${report.problems.slice(0, TOLD).join('\n  ')}\n  again: npm run sim -- --seed ${seed}`);
    }
    progress(seed - first + 1, broken.length);
  }
  const kept = `${count - broken.length} of ${count} worlds kept every invariant`;
  say(`${styleText(broken.length === 0 ? 'green' : 'red', kept)}: ${requests} requests, ${transactions} transactions`);
  if (values.seed === undefined) for (const fault of FAULTS) say(`  ${String(tally.get(fault) ?? 0).padStart(8)}  ${fault}`);
  if (values.json) console.log(JSON.stringify({ first, count, requests, transactions, faults: Object.fromEntries(tally), broken: broken.map(told) }));
  return broken.length === 0 ? 0 : 1;
}
const told = ({ seed, problems }: Report) => ({ seed, problems: problems.slice(0, TOLD) });

type Caught = { readonly name: string; readonly seed?: number; readonly by?: string | undefined; readonly ms?: number; readonly why?: string };

async function hunt(mutant: Mutant): Promise<Caught> {
  const began = performance.now();
  const mutated = await simulationOf(mutant).catch((error: Error) => error);
  if (mutated instanceof Error) {
    say(`${styleText('red', mutant.name)}: cannot be planted: ${mutated.message}`);
    return { name: mutant.name, why: mutated.message };
  }
  let other: string | undefined;
  for (let seed = first; seed < first + count; seed++) {
    const { problems } = await mutated(seed, mutant);
    const by = problems.find((problem) => mutant.caught.test(problem));
    other ??= problems[0] && `seed ${seed}: ${problems.slice(0, TOLD).join('\n  ')}`;
    if (!by) continue;
    say(`${styleText('green', mutant.name)}: ${mutant.what}\n  seed ${seed}: ${by}`);
    return { name: mutant.name, seed, by, ms: Math.round(performance.now() - began) };
  }
  const why = `not caught by ${count} seeds as ${mutant.caught}${other ? `, but otherwise:\n  ${other}` : ''}`;
  say(`${styleText('red', mutant.name)}: ${mutant.what}\n  ${why}`);
  return { name: mutant.name, why };
}

async function mutants(name: string): Promise<number> {
  const wanted = MUTANTS.filter((mutant) => name === 'all' || mutant.name === name);
  const caught: Caught[] = [];
  for (const mutant of wanted) caught.push(await hunt(mutant));
  if (values.json) console.log(JSON.stringify({ mutants: caught }));
  return caught.every(({ by }) => by !== undefined) ? 0 : 1;
}

if (values.help) console.log(HELP);
else process.exitCode = values.mutant === undefined ? await worlds() : await mutants(values.mutant);
