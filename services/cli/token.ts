/** `npm run token`: a local credential, alone on standard output. */
import { EXIT } from '../exit.ts';
import { type Command, choiceOption, noPositionals, parseOptions, tenantOption } from './command.ts';
import { mint, ROLES } from './local.ts';

const OPTIONS = { tenant: { type: 'string' }, role: { type: 'string' }, person: { type: 'string' } } as const;

export const token: Command = {
  name: 'token',
  summary: 'Prints a credential of the local issuer, for HTTP calls to the local gateway.',
  usage: 'npm run token -- --tenant <tenant> [--role end_user|tenant_admin|auditor|operator]',
  options: [
    '--tenant <tenant>          whom it speaks for; an operator needs none',
    '--role <role>              end_user (default), tenant_admin, auditor or operator',
    '--person <name>            who it is (local-user)',
  ],
  examples: [
    'npm run token -- --tenant fastify --role tenant_admin',
    'curl -H "authorization: Bearer $(npm run --silent token -- --tenant fastify)" …/v1/requests/r_…',
  ],
  async run(args, terminal) {
    const { values, positionals } = parseOptions(args, OPTIONS);
    noPositionals(positionals);
    const role = choiceOption('role', values.role, ROLES, 'end_user');
    const tenant = role === 'operator' && values.tenant === undefined ? undefined : tenantOption(values.tenant);
    terminal.out(await mint({ tenant, role, subject: values.person ?? 'local-user' }));
    terminal.note(`A ${role.replace('_', ' ')}'s credential${tenant ? ` for ${tenant}` : ''}, from the local issuer. It expires; treat it as a password.`);
    return EXIT.ok;
  },
};
