/** A tenant as it stands: balances, holds and burn, its limits and policy. */
import pc from 'picocolors';
import type { BudgetNumbers, TenantNumbers, TenantPage } from '#schemas/tenant-page.ts';
import { EXIT } from '../exit.ts';
import { CommandError, dollars, type Terminal } from './command.ts';
import { Operator } from './operator.ts';

export async function showTenant(tenant: string, json: boolean, terminal: Terminal): Promise<number> {
  const shown = (await (await Operator.connect()).get(`/v1/tenants/${tenant}`)) as TenantPage;
  if (!Array.isArray(shown.budgets))
    throw new CommandError('The gateway’s answer has no budgets.', 'Is EVENKEEL_GATEWAY_URL the address of an Evenkeel gateway?');
  for (const line of json ? [JSON.stringify(shown)] : asLines(shown)) terminal.out(line);
  return EXIT.ok;
}

export async function listTenants(json: boolean, terminal: Terminal): Promise<number> {
  const { tenants } = (await (await Operator.connect()).get('/v1/tenants')) as {
    readonly tenants: readonly TenantNumbers[];
  };
  if (json) terminal.out(JSON.stringify({ tenants }));
  else if (tenants.length === 0) terminal.note('There is no tenant yet: npm run tenant -- create <tenant> makes one.');
  else
    for (const each of tenants)
      terminal.out(
        `${each.tenant.padEnd(24)} ${`${each.in_flight}/${each.most_in_flight} in flight`.padEnd(18)} ${`${each.queued} queued`.padEnd(14)} ${dollars(each.burn_today_micro_usd)} of ${dollars(each.budget_day_micro_usd)} today${each.suspended ? pc.red('  suspended') : ''}`,
      );
  return EXIT.ok;
}

const cell = (text: string | number): string => String(text).padStart(16);

export function asLines(shown: TenantPage): readonly string[] {
  const { tenant, suspended, policy, budgets, burn, alerts } = shown;
  const soft = Number(policy.softPercent ?? 100);
  const money = budgets.map((each) => [each.window, each.key, each.settled_micro_usd, each.held_micro_usd, each.limit_micro_usd] as const);
  const tokens = budgets.map((each) => [each.window, each.key, each.settled_tokens, each.held_tokens, each.limit_tokens] as const);
  const rows = (of: typeof money, show: (amount: number) => string) =>
    of.map(([window, key, settled, held, limit]) => {
      const line = `${window.padEnd(6)} ${key.padEnd(11)}${[settled, held, limit, limit - settled - held].map((amount) => cell(show(amount))).join('')}`;
      return settled >= limit ? pc.red(line) : settled * 100 >= limit * soft ? pc.yellow(line) : line;
    });
  const head = pc.dim(`${' '.repeat(18)}${['settled', 'held', 'limit', 'left'].map(cell).join('')}`);
  const hour = burn.reduce((sum, each) => sum + each, 0);
  return [
    `${pc.bold(tenant)}  ${suspended ? pc.red('suspended') : pc.green('active')}  policy version ${shown.policy_version}, as of offset ${shown.offset}`,
    `${shown.in_flight} of ${shown.most_in_flight} in flight, ${shown.queued} queued; ${shown.answered} answered of ${shown.finished} finished, ${shown.refused} refused`,
    `burn ${dollars(hour)} in the last hour, ${dollars(burn.at(-1) ?? 0)} in this minute${forecast(budgets[0], burn)}`,
    ...(alerts.length === 0 ? [] : [pc.yellow(`alerts: ${alerts.map((alert) => alert.replaceAll('_', ' ')).join(', ')}`)]),
    '',
    head,
    ...rows(money, dollars),
    pc.dim('in tokens'),
    ...rows(tokens, String),
    '',
    ...Object.entries(policy).map(([name, value]) => pc.dim(`${name.padEnd(26)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)),
  ];
}

const FORECAST_MINUTES = 15;

/** At the pace of the last quarter of an hour. */
function forecast(day: BudgetNumbers | undefined, burn: readonly number[]): string {
  const pace = burn.slice(-FORECAST_MINUTES).reduce((sum, each) => sum + each, 0) / FORECAST_MINUTES;
  if (!day || pace === 0) return '';
  const minutes = Math.max(0, day.limit_micro_usd - day.settled_micro_usd) / pace;
  return minutes > 1_440 ? '; at this pace the day’s budget lasts the day' : `; at this pace the day’s budget is spent in ${Math.round(minutes)} min`;
}
