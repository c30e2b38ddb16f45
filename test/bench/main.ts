/** `npm run bench -- NAME [--json]`. Exits non-zero when the target was missed. */
import { cpus } from 'node:os';
import { backlog } from './backlog.ts';
import { commit } from './commit.ts';
import { fair } from './fair.ts';
import { fold } from './fold.ts';
import { gateway } from './gateway.ts';
import { idle } from './idle.ts';
import { join } from './join.ts';
import { ASKED, HELP, JSON_ASKED, type Name, SMALL } from './options.ts';
import { pipeline } from './pipeline.ts';
import type { Report } from './report.ts';
import { restart } from './restart.ts';
import { slow } from './slow.ts';
import { snapshot } from './snapshot.ts';

const BENCHES: Readonly<Record<Name, () => Promise<Report>>> = { backlog, commit, fair, fold, gateway, idle, join, pipeline, restart, slow, snapshot };

/** Of a small size no figure says anything. */
function judged(report: Report): Report {
  return SMALL ? { ...report, met: false, not_measured: ['anything: this was a small size, for development', ...report.not_measured] } : report;
}

// Ends as any process does: what was started is ended with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
if (ASKED === undefined) console.log(HELP);
else {
  const report = judged(await BENCHES[ASKED]());
  if (JSON_ASKED) console.log(JSON.stringify(report));
  else {
    console.log(`${report.name} on ${cpus().length} cores`);
    for (const [name, figure] of Object.entries(report.figures)) console.log(`  ${name.padEnd(30)} ${figure}`);
    console.log(`  target: ${report.target}: ${report.met ? 'met' : 'missed'}, ratio ${report.ratio}\n  not measured: ${report.not_measured.join(', ')}`);
  }
  process.exitCode = report.met ? 0 : 1;
}
