/** `npm run chaos -- --rounds N`: real processes, real faults, and a judgement from the topics alone. Exits non-zero when a round failed. */
import pc from 'picocolors';
import { choiceOption, noPositionals, UsageError } from '#services/cli/command.ts';
import { EXIT } from '#services/exit.ts';
import { optionsOf, wholeOption } from '../options.ts';
import { random } from '../simulation/time.ts';
import { CASES, type Case, FAULTS } from './faults.ts';
import { cannotMount } from './platform.ts';
import { Arena, type Outcome } from './round.ts';

const cases = Object.entries(FAULTS)
  .map(([name, { what, boundaries }]) => `  ${name.padEnd(16)} ${what}${boundaries ? `: ${boundaries.join(', ')}` : ''}`)
  .join('\n');
const HELP = `npm run chaos -- [--rounds N] [--seed S] [--only FAULT[/BOUNDARY]] [--brokers 1|3] [--json]

Starts the platform on brokers of its own and hurts it under load, a fault a round. After each round a program that shares no code with the
engine reads the topics and checks invariants 1, 2, 4, 6, 7, 9 and 10; replay verify checks 3 and 5; and the lag must be back at zero in 60 s.

  --rounds N   how many (default ${CASES.length}: each case once)
  --seed S     of the first round (default 1); the next has the next
  --only F     one fault, or one of its boundaries
  --brokers N  1 or 3 (default 1)
  --json       one object a round, nothing else on stdout
  --help       this

Faults
${cases}

Exit codes: 0 every round kept every invariant, 1 one did not: what it left behind is kept and named, 2 the call was wrong.
Examples
  npm run chaos -- --rounds 3
  npm run chaos -- --only kill-runtime/unknown --rounds 5 --seed 100
  npm run --silent chaos -- --rounds 20 --json`;

/** After so many rounds the topics are begun anew: a judgement reads them all. */
const ROUNDS_A_PLATFORM = 12;

const OPTIONS = {
  rounds: { type: 'string' },
  seed: { type: 'string' },
  only: { type: 'string' },
  brokers: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const { values, chosen, rounds, first, brokers, unmountable } = optionsOf('chaos', OPTIONS, (values, positionals) => {
  noPositionals(positionals);
  const { only } = values;
  const named = CASES.filter(({ name }) => only === undefined || name === only || name.startsWith(`${only}/`));
  if (named.length === 0) throw new UsageError(`There is no fault ${only}: there are ${CASES.map(({ name }) => name).join(', ')}`);
  const unmountable = named.some(({ fault }) => fault.small) ? cannotMount() : undefined;
  const chosen = named.filter(({ fault }) => unmountable === undefined || !fault.small);
  if (chosen.length === 0) throw new UsageError(`${only} fills a small disk of its own, and none can be mounted here: ${unmountable}`);
  const brokers: 1 | 3 = choiceOption('brokers', values.brokers, ['1', '3'], '1') === '3' ? 3 : 1;
  return {
    values,
    chosen,
    unmountable,
    brokers,
    rounds: wholeOption('rounds', values.rounds, 1) ?? chosen.length,
    first: wholeOption('seed', values.seed, 0) ?? 1,
  };
});
// What was started ends with this process: see Platform and startKafka.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));
if (values.help) console.log(HELP);
else process.exitCode = (await play()) ? EXIT.ok : EXIT.failed;

async function play(): Promise<boolean> {
  const plan = Array.from({ length: rounds }, (_, at) => {
    const seed = first + at;
    return { seed, chaos: chosen[(((seed - 1) % chosen.length) + chosen.length) % chosen.length] as Case };
  });
  if (!values.json) console.log(pc.dim(line(['seed', 'fault', 'acknowledged', 'ended', 'lag back', 'verdict'])));
  if (unmountable !== undefined) console.error(pc.yellow(`disk-full is left out: no small disk can be mounted here (${unmountable})`));
  let failed = 0;
  for (let at = 0; at < plan.length; ) {
    const stage = plan.slice(at, at + ROUNDS_A_PLATFORM);
    const arena = new Arena(brokers, random(first + at));
    const bad = await onePlatform(arena, stage);
    at += bad.played;
    failed += bad.failed;
  }
  if (!values.json) console.log(failed === 0 ? pc.green(`${rounds} of ${rounds} rounds kept every invariant`) : pc.red(`${failed} of ${rounds} rounds failed`));
  return failed === 0;
}

/** Until its rounds are over, or one fails: then what it left behind is kept. */
async function onePlatform(arena: Arena, stage: readonly { readonly seed: number; readonly chaos: Case }[]) {
  let [played, failed] = [0, 0];
  try {
    if (!values.json) console.error(pc.dim('starting the platform'));
    await arena.open(stage.map(({ chaos }) => chaos));
    for (const { seed, chaos } of stage) {
      const outcome = await arena.round(seed, chaos, random(seed));
      played++;
      if (!outcome.ok) failed++;
      tell(outcome, arena);
      if (!outcome.ok) break;
    }
  } finally {
    await arena.close(failed > 0);
  }
  return { played, failed };
}

function tell(outcome: Outcome, arena: Arena): void {
  const { seed, fault, acknowledged, ended, lag_back_ms: lag, ok, problems, ends, discarded } = outcome;
  const repeat = `npm run chaos -- --only ${fault} --seed ${seed} --rounds 1${brokers === 3 ? ' --brokers 3' : ''}`;
  if (values.json) return console.log(JSON.stringify(ok ? outcome : { ...outcome, repeat, kept: arena.folders }));
  const verdict = ok ? pc.green('kept') : pc.red('broken');
  console.log(line([String(seed), fault, String(acknowledged), String(ended), lag === undefined ? 'never' : `${lag} ms`, verdict]));
  const notes = [...new Set(ends)].join(', ');
  console.log(pc.dim(`        ${notes || 'no process ended'}${discarded > 0 ? `; ${discarded} local stores thrown away` : ''}`));
  if (ok) return;
  for (const problem of problems.slice(0, 20)) console.log(`        ${pc.red(problem)}`);
  if (problems.length > 20) console.log(`        and ${problems.length - 20} more`);
  console.log(`        repeat: ${repeat}\n        kept: ${arena.folders.join(' ')}`);
}

function line(fields: readonly string[]): string {
  const widths = [6, 28, 14, 8, 12, 8];
  return fields.map((field, at) => field.padEnd(widths[at] ?? 0)).join('');
}
