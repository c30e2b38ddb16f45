/** `npm run tenant`: a tenant's life, policy and money, from the command line. */

import { EvenkeelError } from '#schemas/errors.ts';
import { COST_KINDS, WINDOWS } from '#schemas/events.ts';
import { isTenantId, type TenantId } from '#schemas/ids.ts';
import { applyPolicy, DEFAULT_POLICY } from '#schemas/policy.ts';
import { EXIT } from '../exit.ts';
import { type Command, choiceOption, dollarsOption, integerOption, parseOptions, type Terminal, UsageError } from './command.ts';
import { Operator, say } from './operator.ts';
import { correctPrices } from './price-correction.ts';
import { createTenant } from './tenant-create.ts';
import { listTenants, showTenant } from './tenant-show.ts';

const TEXT = { type: 'string' } as const;
const SHARED = { json: { type: 'boolean' }, key: TEXT } as const;
const LIMITS = {
  'budget-day': TEXT,
  'budget-month': TEXT,
  'budget-total': TEXT,
  qps: TEXT,
  burst: TEXT,
  concurrency: TEXT,
  queue: TEXT,
  set: { type: 'string', multiple: true },
} as const;
const MOST = Number.MAX_SAFE_INTEGER;

type Values = { readonly [name: string]: string | boolean | string[] | undefined };
const text = (values: Values, name: string): string | undefined => (typeof values[name] === 'string' ? values[name] : undefined);

/** Fields of the policy. A rate without a burst may burst for two seconds. Checked here, so that nothing is provisioned for what is refused. */
export function policyChanges(values: Values): Readonly<Record<string, unknown>> {
  const rate = integerOption('qps', text(values, 'qps'), 1, MOST);
  const named = {
    budgetDay: dollarsOption('budget-day', text(values, 'budget-day')),
    budgetMonth: dollarsOption('budget-month', text(values, 'budget-month')),
    budgetTotal: dollarsOption('budget-total', text(values, 'budget-total')),
    requestsPerSecond: rate,
    burst: integerOption('burst', text(values, 'burst'), 1, MOST) ?? (rate === undefined ? undefined : rate * 2),
    maxInFlight: integerOption('concurrency', text(values, 'concurrency'), 1, MOST),
    maxQueued: integerOption('queue', text(values, 'queue'), 1, MOST),
  };
  const set = (Array.isArray(values.set) ? values.set : []).map((each) => {
    const [, name, value] = /^(\w+)=(.+)$/s.exec(each) ?? [];
    if (name === undefined || value === undefined) throw new UsageError(`--set ${each}: field=value, as maxInFlight=4`);
    return [name, parsed(name, value)] as const;
  });
  const changes = { ...Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined)), ...Object.fromEntries(set) };
  try {
    applyPolicy(DEFAULT_POLICY, changes, 'operator');
  } catch (error) {
    if (error instanceof EvenkeelError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
  return changes;
}

function parsed(name: string, value: string): unknown {
  try {
    return JSON.parse(value);
  } catch (cause) {
    throw new UsageError(`--set ${name}=${value}: a number, or JSON`, { cause });
  }
}

function tenantOf(positionals: readonly string[]): TenantId {
  const [tenant, extra] = positionals;
  if (tenant === undefined) throw new UsageError('which tenant is meant?');
  if (!isTenantId(tenant)) throw new UsageError(`${tenant} is no tenant id: lower-case letters, digits and dashes, 2 to 63 of them`);
  if (extra !== undefined) throw new UsageError(`unexpected argument: ${extra}`);
  return tenant;
}

type Action = (args: readonly string[], terminal: Terminal) => Promise<number>;

const create: Action = (args, terminal) => {
  const { values, positionals } = parseOptions(args, { ...SHARED, ...LIMITS });
  const tenant = tenantOf(positionals);
  return createTenant({ tenant, changes: policyChanges(values), key: values.key, json: values.json ?? false }, terminal);
};

const policy: Action = async (args, terminal) => {
  const { values, positionals } = parseOptions(args, { ...SHARED, ...LIMITS, 'expected-version': TEXT });
  const tenant = tenantOf(positionals);
  const changes = policyChanges(values);
  if (Object.keys(changes).length === 0) throw new UsageError('no field is set: --set maxInFlight=4, --qps 20, --budget-day 5.00');
  const expected = integerOption('expected-version', values['expected-version'], 1, MOST);
  const body = { changes, ...(expected === undefined ? {} : { expected_version: expected }) };
  say(await (await Operator.connect()).command('PUT', `/v1/tenants/${tenant}/policy`, body, values.key), values.json ?? false, terminal);
  return EXIT.ok;
};

const verb =
  (name: 'suspend' | 'resume'): Action =>
  async (args, terminal) => {
    const { values, positionals } = parseOptions(args, SHARED);
    const tenant = tenantOf(positionals);
    say(await (await Operator.connect()).command('POST', `/v1/tenants/${tenant}/${name}`, {}, values.key), values.json ?? false, terminal);
    return EXIT.ok;
  };

/** The parser takes `--amount -0.20` for two options. */
const joined = (args: readonly string[]): readonly string[] =>
  args.flatMap((each, at) => {
    if (/^--(amount|tokens)$/.test(args[at - 1] ?? '') && /^-\$?\d/.test(each)) return [];
    const next = args[at + 1] ?? '';
    return /^--(amount|tokens)$/.test(each) && /^-\$?\d/.test(next) ? [`${each}=${next}`] : [each];
  });

const AMOUNTS = { amount: TEXT, tokens: TEXT } as const;

function amounts(values: Values): { readonly amount_micro_usd: number; readonly tokens: number } {
  const amount = dollarsOption('amount', text(values, 'amount'));
  const count = text(values, 'tokens');
  if (count !== undefined && !/^-?\d{1,15}$/.test(count)) throw new UsageError(`--tokens ${count}: a whole number`);
  if (amount === undefined && count === undefined) throw new UsageError('how much? --amount 2.50, --tokens 100000, or both');
  return { amount_micro_usd: amount ?? 0, tokens: Number(count ?? 0) };
}

const grant: Action = async (args, terminal) => {
  const { values, positionals } = parseOptions(joined(args), { ...SHARED, ...AMOUNTS, window: TEXT });
  const tenant = tenantOf(positionals);
  const body = { window: choiceOption('window', values.window, WINDOWS), ...amounts(values) };
  say(await (await Operator.connect()).command('POST', `/v1/tenants/${tenant}/grants`, body, values.key), values.json ?? false, terminal);
  return EXIT.ok;
};

const cost: Action = async (args, terminal) => {
  const { values, positionals } = parseOptions(joined(args), { ...SHARED, ...AMOUNTS, kind: TEXT, reference: TEXT, 'incurred-at': TEXT });
  const tenant = tenantOf(positionals);
  const body = {
    ...amounts(values),
    kind: choiceOption('kind', values.kind, COST_KINDS, 'outside'),
    ...(values.reference === undefined ? {} : { reference: values.reference }),
    ...(values['incurred-at'] === undefined ? {} : { incurred_at: values['incurred-at'] }),
  };
  say(await (await Operator.connect()).command('POST', `/v1/tenants/${tenant}/costs`, body, values.key), values.json ?? false, terminal);
  return EXIT.ok;
};

const show: Action = (args, terminal) => {
  const { values, positionals } = parseOptions(args, { json: SHARED.json });
  return showTenant(tenantOf(positionals), values.json ?? false, terminal);
};

const list: Action = (args, terminal) => {
  const { values, positionals } = parseOptions(args, { json: SHARED.json });
  if (positionals[0] !== undefined) throw new UsageError(`unexpected argument: ${positionals[0]}`);
  return listTenants(values.json ?? false, terminal);
};

const correct: Action = (args, terminal) => {
  const { values, positionals } = parseOptions(args, {
    ...{ version: TEXT, model: TEXT, input: TEXT, output: TEXT },
    'dry-run': { type: 'boolean' },
    json: SHARED.json,
  });
  const of = tenantOf(positionals);
  const need = (name: 'version' | 'input' | 'output', least: number) => {
    const value = integerOption(name, values[name], least, MOST);
    if (value === undefined) throw new UsageError(`--${name} is missing: a whole number`);
    return value;
  };
  const { model } = values;
  if (model === undefined || !/^[\w.:/+@-]{1,80}$/.test(model)) throw new UsageError('--model is missing: as the cost events name it');
  const price = { input: need('input', 0), output: need('output', 0) };
  const options = { dry: values['dry-run'] ?? false, json: values.json ?? false };
  return correctPrices({ tenant: of, version: need('version', 1), model, price }, options, terminal);
};

const ACTIONS: Readonly<Record<string, Action>> = {
  create,
  show,
  list,
  policy,
  suspend: verb('suspend'),
  resume: verb('resume'),
  grant,
  cost,
  'correct-prices': correct,
};

export const tenant: Command = {
  name: 'tenant',
  summary: 'Makes tenants, sets their policy, and keeps their money: each command tells its event and offset in the history.',
  usage: `npm run tenant -- ${Object.keys(ACTIONS).join(' | ')} <tenant> [options]`,
  options: [
    'create <tenant>            its audit topic, principals and rights on Kafka, then the tenant itself',
    'show <tenant>              balances, holds, burn, limits and policy',
    'list                       all tenants, side by side',
    'policy <tenant>            sets fields of the policy',
    '  --budget-day <dollars>   also --budget-month, --budget-total',
    '  --qps <n>                requests a second; --burst <n>, twice as many where it is not said',
    '  --concurrency <n>        requests in flight; --queue <n>, how many may wait',
    '  --set <field>=<value>    any field of the policy; may be repeated',
    '  --expected-version <n>   refused when the policy has changed since that version',
    'suspend, resume <tenant>   suspended, it is refused at the door, and what waits goes on waiting',
    'grant <tenant>             more budget in the present window; a negative amount takes it back',
    '  --window day|month|total --amount <dollars> --tokens <n>',
    'cost <tenant>              a cost from outside, or a correction: a fact, it may overrun a budget',
    `  --amount <dollars> --tokens <n> --kind ${COST_KINDS.join('|')}`,
    '  --incurred-at <time>     whose day and month it belongs to, as 2026-11-23T18:00:00Z; at most 35 days ago',
    '  --reference <text>       your own: an invoice, a price version',
    'correct-prices <tenant>    what its calls would have cost at other prices, and the difference recorded, one fact a day',
    '  --version <n> --model <name>   which of the price tables, and which model of it',
    '  --input <n> --output <n>       micro-dollars for a thousand tokens, as they should have been; --dry-run only shows',
    '--key <key>                idempotency key: the same command with the same key counts once',
    '--json                     exactly one object on stdout; of a failure, with error and next',
  ],
  examples: [
    'npm run tenant -- create acme --budget-day 5.00 --qps 20 --concurrency 8',
    'npm run tenant -- policy acme --set maxInFlight=4 --expected-version 1',
    'npm run tenant -- grant acme --window day --amount 2.50 --key refill-1',
    'npm run tenant -- cost acme --amount 1.20 --incurred-at 2026-11-23T18:00:00Z --key invoice-7',
    'npm run tenant -- correct-prices acme --version 1 --model offline-extractive --input 100 --output 400 --dry-run',
    'npm run --silent tenant -- show acme --json | jq .budgets',
  ],
  async run([name, ...args], terminal) {
    const action = name === undefined || !Object.hasOwn(ACTIONS, name) ? undefined : ACTIONS[name];
    if (action) return action(args, terminal);
    const known = Object.keys(ACTIONS).join(', ');
    throw new UsageError(name === undefined ? `what is to be done: ${known}?` : `tenant cannot ${name}: it knows ${known}`);
  },
};
