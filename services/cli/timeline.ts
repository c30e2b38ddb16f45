/** A tenant's history, a line an event. */
import pc from 'picocolors';
import type { Degradation, Event, Unit } from '#schemas/events.ts';
import { parseRequestId, type RequestId, type TenantId } from '#schemas/ids.ts';
import { partitionOf } from '#schemas/topics.ts';
import { HistoryReader } from '#streams/engine/history.ts';
import { support } from '#streams/support/support.ts';
import { EXIT } from '../exit.ts';
import { CommandError, dollars, integerOption, noPositionals, parseOptions, type Terminal, tenantOption, UsageError } from './command.ts';
import { type LogAccess, withLog } from './log.ts';

const HISTORY = 'tenant.events';
const OPTIONS = {
  tenant: { type: 'string' },
  request: { type: 'string' },
  from: { type: 'string' },
  limit: { type: 'string' },
  json: { type: 'boolean' },
} as const;

export type TimelineQuery = {
  readonly tenant: TenantId;
  readonly request: RequestId | undefined;
  readonly from: number;
  readonly limit: number;
  readonly json: boolean;
};
export type Line = { readonly partition: number; readonly offset: number; readonly time: number; readonly event: Event };

export function parseTimeline(args: readonly string[]): TimelineQuery {
  const { values, positionals } = parseOptions(args, OPTIONS);
  noPositionals(positionals);
  const request = values.request === undefined ? undefined : parseRequestId(values.request);
  if (values.request !== undefined && request === undefined) throw new UsageError(`--request ${values.request}: r_ and 22 letters, as the answer names it`);
  return {
    tenant: tenantOption(values.tenant),
    request,
    from: integerOption('from', values.from, 0, Number.MAX_SAFE_INTEGER) ?? 0,
    limit: integerOption('limit', values.limit, 1, Number.MAX_SAFE_INTEGER) ?? Number.POSITIVE_INFINITY,
    json: values.json ?? false,
  };
}

export async function timeline(args: readonly string[], terminal: Terminal): Promise<number> {
  const query = parseTimeline(args);
  const shown = await withLog('operator', async (log) => {
    let count = 0;
    for await (const line of lines(log, query)) {
      terminal.out(query.json ? JSON.stringify(asJson(line)) : asText(line));
      count++;
    }
    return count;
  });
  if (!query.json)
    terminal.note(shown === 0 ? `No events of ${query.tenant}${query.request ? ` for ${query.request}` : ''} there.` : pc.dim(`${shown} events`));
  return EXIT.ok;
}

/** All of a tenant's events, oldest first. */
export function eventsOf(log: LogAccess, tenant: TenantId): AsyncGenerator<Line> {
  return lines(log, { tenant, request: undefined, from: 0, limit: Number.POSITIVE_INFINITY, json: false });
}

/** It reads from the start whatever `from` says: only there is it sure to meet a transaction at its beginning. */
async function* lines(log: LogAccess, { tenant, request, from, limit }: TimelineQuery): AsyncGenerator<Line> {
  const partitions = await log.partitions(HISTORY);
  if (partitions === 0) throw new CommandError(`There is no topic ${HISTORY}.`, 'Start everything with npm start.');
  const partition = partitionOf(tenant, partitions);
  const reader = new HistoryReader(support(log.codec));
  let left = limit;
  for await (const { records } of log.read(HISTORY, partition)) {
    for (const record of records) {
      const transaction = reader.push(record);
      if (!transaction || transaction.next <= from) continue;
      for (const { event, offset } of transaction.events) {
        if (event.tenant !== tenant || offset < from) continue;
        if (request !== undefined && !('request' in event && event.request === request)) continue;
        yield { partition, offset, time: transaction.batch.time, event };
        if (--left === 0) return;
      }
    }
  }
}

/** Bytes are shown as such, everything else as it stands in the history. */
export function asJson({ partition, offset, time, event }: Line): object {
  const { type, ...facts } = event;
  return { partition, offset, time: new Date(time).toISOString(), type, ...facts };
}

export function asText({ offset, time, event }: Line): string {
  const who = 'request' in event ? event.request : 'command' in event ? event.command : '';
  const at = new Date(time).toISOString().replace('T', ' ');
  return `${pc.dim(at)}  ${String(offset).padStart(8)}  ${event.type.padEnd(21)}  ${pc.dim(who.padEnd(24))}  ${facts(event)}`.trimEnd();
}

const amounts = (money: number, tokens: number): string => dollars(money) + (tokens === 0 ? '' : ` and ${tokens} tokens`);

const rung = ({ mode, reason, detail }: Degradation): string => `${mode} (${detail ?? reason})`;

const spentOf = ({ unit, spent, limit }: { readonly unit: Unit; readonly spent: number; readonly limit: number }): string =>
  unit === 'tokens' ? `${spent} of ${limit} tokens` : `${dollars(spent)} of ${dollars(limit)}`;

/** What of an event says most, in a few words: sums first. */
function facts(event: Event): string {
  switch (event.type) {
    case 'tenant_created':
      return `by ${event.by}`;
    case 'policy_set':
      return `version ${event.version}, by ${event.by}`;
    case 'budget_granted':
      return `${amounts(event.amount, event.tokens)} for ${event.key}, by ${event.by}`;
    case 'outside_cost_recorded':
      return `${event.kind.replace('_', ' ')} ${amounts(event.amount, event.tokens)} for ${event.day}${event.reference && `, ${event.reference}`}, by ${event.by}`;
    case 'command_refused':
      return [event.code, event.field].filter(Boolean).join(': ');
    case 'request_queued':
      return `from ${event.source}, estimate ${dollars(event.estimate)}`;
    case 'request_refused':
      return `${event.limitName || event.code}: limit ${event.limit}, observed ${event.observed}`;
    case 'refusals_reported':
      return `${event.count} refused by ${event.limitName} before the log since ${new Date(event.since).toISOString()}, counted by ${event.by}`;
    case 'hold_placed':
      return `held ${dollars(event.amount)}${event.degraded ? `, degraded: ${rung(event.degraded)}` : ''}`;
    case 'step_started':
      return `${event.step} #${event.attempt}, at most ${dollars(event.worstCase)}`;
    case 'cost_recorded':
      return `${dollars(event.amount)} for ${event.step} #${event.attempt}, ${event.model}, ${event.inputTokens}+${event.outputTokens} tokens${event.presumed ? ', presumed' : ''}`;
    case 'step_finished':
      return `${event.step} #${event.attempt}`;
    case 'step_failed':
      return `${event.step} #${event.attempt}: ${event.code}`;
    case 'step_refused':
      return `${event.step}: ${event.limitName ? `${event.limitName}, ${event.observed} of ${event.limit}` : event.code}`;
    case 'hold_settled':
      return `settled ${dollars(event.settled)} of ${dollars(event.held)}`;
    case 'request_finished':
      return `${event.outcome}${event.reason === event.outcome ? '' : ` (${event.reason})`}, ${dollars(event.cost)}, ${event.queuedMs}+${event.ranMs} ms, ${event.citations} citations${event.degraded ? `, degraded: ${rung(event.degraded)}` : ''}`;
    case 'forecast_raised':
      return `${event.window} budget of ${event.key} spent at ${new Date(event.exhaustedAt).toISOString()}: ${spentOf(event)}`;
    case 'error_rate_raised':
      return `${event.failed} of ${event.finished} requests failed, raised at ${event.percent} %`;
    case 'alert_cleared':
      return [event.alert, event.key].filter(Boolean).join(' of ');
    case 'alert_raised':
      return `${event.alert} of ${event.key}: ${spentOf(event)}`;
    default:
      return '';
  }
}
