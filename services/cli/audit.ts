/** `npm run audit -- verify`: a tenant's chain, from its own topic alone, as that tenant's auditor. */
import pc from 'picocolors';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import { auditPrincipal, auditTopic } from '#schemas/topics.ts';
import { type ChainReport, ChainVerifier } from '#streams/support/audit.ts';
import { EXIT } from '../exit.ts';
import { type Command, noPositionals, parseOptions, type Terminal, tenantOption, UsageError } from './command.ts';
import { type LogAccess, withLog } from './log.ts';

const OPTIONS = { tenant: { type: 'string' }, json: { type: 'boolean' } } as const;

export const audit: Command = {
  name: 'audit',
  summary: "Verifies a tenant's audit: numbered without a gap, chained without a fork.",
  usage: 'npm run audit -- verify --tenant <tenant> [--json]',
  options: [
    "--tenant <tenant>          whose audit; it is read as that tenant's auditor, who may read nothing else",
    '--json                     exactly one object on stdout; of a failure, with error and next',
    'exit codes                 0 verified, 1 a problem was found or the topic could not be read',
  ],
  examples: ['npm run audit -- verify --tenant fastify', 'npm run --silent audit -- verify --tenant fastify --json'],
  async run([action, ...args], terminal) {
    if (action !== 'verify') throw new UsageError(action === undefined ? 'what is to be done: verify?' : `audit cannot ${action}: it knows verify`);
    const { values, positionals } = parseOptions(args, OPTIONS);
    noPositionals(positionals);
    const tenant = tenantOption(values.tenant);
    const report = await withLog(auditPrincipal(tenant), (log) => verifyTopic(log, tenant));
    if (values.json) terminal.out(JSON.stringify(asJson(tenant, report)));
    else print(tenant, report, terminal);
    return report.problems.length === 0 ? EXIT.ok : EXIT.failed;
  },
};

async function verifyTopic(log: LogAccess, tenant: TenantId): Promise<ChainReport> {
  const verifier = new ChainVerifier(tenant);
  for await (const { records } of log.read(auditTopic(tenant), 0)) {
    for (const { value, key, offset } of records) {
      if (value === null) continue;
      const { name, value: entry } = log.codec.decode(value);
      if (name !== 'audit_entry') throw new EvenkeelError('record_unreadable', `${name} at offset ${offset} of ${auditTopic(tenant)}`);
      if (key !== String(entry.sequence)) throw new EvenkeelError('record_unreadable', `entry ${entry.sequence} has key ${key}, at offset ${offset}`);
      verifier.add(entry);
    }
  }
  return verifier.report();
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function asJson(tenant: TenantId, { count, first, head, repeated, problems }: ChainReport): object {
  return { tenant, ok: problems.length === 0, count, first, last: head.sequence, head: hex(head.hash), repeated, problems };
}

function print(tenant: TenantId, { count, first, head, repeated, problems }: ChainReport, terminal: Terminal): void {
  if (count === 0) return terminal.out(`${auditTopic(tenant)} is empty: there is nothing to verify yet.`);
  for (const { kind, sequence, why } of problems) terminal.out(`${pc.red(kind)} at entry ${sequence}: ${why}`);
  const range = `${count} entries, ${first} to ${head.sequence}`;
  terminal.out(
    problems.length === 0 ? `${pc.green('ok')} ${auditTopic(tenant)}: ${range}, no gap, no fork` : `${pc.red('not verified')} ${auditTopic(tenant)}: ${range}`,
  );
  terminal.out(`head ${hex(head.hash)}`);
  if (first > 1) terminal.note(`Entries before ${first} have passed their retention: entry ${first} is taken at its word.`);
  if (repeated > 0) terminal.note(pc.dim(`${repeated} entries stand there more than once, identical, until compaction has passed.`));
}
