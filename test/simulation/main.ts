/** `npm run sim -- --seeds 1000`, or `--seed 42` to repeat one. Exits non-zero when an invariant broke. */
import { parseArgs } from 'node:util';
import { simulate } from './run.ts';

const HELP = `npm run sim -- [--seeds N] [--from N] | [--seed N]

  --seeds N  how many worlds (default 100)
  --from N   the first seed (default 1)
  --seed N   one world alone
Examples: npm run sim -- --seeds 1000      npm run sim -- --seed 42`;

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '100' }, from: { type: 'string', default: '1' }, seed: { type: 'string' }, help: { type: 'boolean' } },
});
if (values.help) console.log(HELP);
else {
  const first = Number(values.seed ?? values.from);
  const count = values.seed === undefined ? Number(values.seeds) : 1;
  let broken = 0;
  for (let seed = first; seed < first + count; seed++) {
    const problems = await simulate(seed);
    if (problems.length === 0) continue;
    broken++;
    console.error(`seed ${seed}: ${problems.join('\n  ')}\n  repeat: npm run sim -- --seed ${seed}`);
  }
  console.log(`${count - broken} of ${count} worlds kept every invariant`);
  process.exitCode = broken === 0 ? 0 : 1;
}
