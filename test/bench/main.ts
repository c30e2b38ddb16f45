/** `npm run bench -- NAME [--json]`. Exits non-zero when the target was missed. */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { backlog } from './backlog.ts';
import { commit } from './commit.ts';
import { fair } from './fair.ts';
import { fold } from './fold.ts';
import { gateway } from './gateway.ts';
import { idle } from './idle.ts';
import { join } from './join.ts';
import { pipeline } from './pipeline.ts';
import type { Report } from './report.ts';
import { restart } from './restart.ts';
import { slow } from './slow.ts';
import { snapshot } from './snapshot.ts';

const BENCHES: Readonly<Record<string, () => Promise<Report>>> = { backlog, commit, fair, fold, gateway, idle, join, pipeline, restart, slow, snapshot };
const HELP = `npm run bench -- NAME [--json]

  backlog a million queued requests of one tenant: memory, and another tenant's p95
  commit  a transaction's duration on a broker of its own
  fair    what nine tenants notice of a tenth that floods, and a thousand at once
  fold    restoring a ledger of 2 M cost events, against Kafka Streams (Maven and a JDK needed)
  gateway submitted, accepted and answered requests over HTTP, beside a bare Fastify + kafkajs and LiteLLM's proxy (Python needed)
  idle    what a started platform costs when nothing happens (npm start first)
  join    from a runtime's start, or its predecessor's end, to all partitions open
  pipeline  the whole life of a request, sustained, beside a bare client loop
  restart  kill -9 with a million queued requests: how soon the next life dispatches, with and without its disk
  slow    ten thousand effects of 2 s in flight, beside effects that take no time
  snapshot  transactions while a snapshot is written, and what a lost disk costs with and without one

  --small  a small size of backlog, fair, fold, gateway, restart, slow and snapshot, for development: its figures say nothing
Example: npm run bench -- commit --json`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, help: { type: 'boolean' }, requests: { type: 'string' }, small: { type: 'boolean' } },
});
// Ends as any process does: what was started is ended with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
const bench = BENCHES[positionals[0] ?? ''];
if (values.help || !bench) {
  console.log(HELP);
  process.exitCode = values.help ? 0 : 2;
} else {
  const report = await bench();
  if (values.json) console.log(JSON.stringify(report));
  else {
    console.log(`${report.name} on ${cpus().length} cores`);
    for (const [name, figure] of Object.entries(report.figures)) console.log(`  ${name.padEnd(30)} ${figure}`);
    console.log(`  target: ${report.target}: ${report.met ? 'met' : 'missed'}, ratio ${report.ratio}\n  not measured: ${report.not_measured.join(', ')}`);
  }
  process.exitCode = report.met ? 0 : 1;
}
