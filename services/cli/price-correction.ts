/**
 * `npm run tenant -- correct-prices`: what a tenant's calls would have cost at other prices, from the history, and the difference recorded
 * as facts, one a day. What was corrected before counts: run again, it records only what is new, and a lost answer is no second correction.
 */
import pc from 'picocolors';
import type { Event } from '#schemas/events.ts';
import type { TenantId } from '#schemas/ids.ts';
import { type Price, priceOf } from '#streams/support/pricing.ts';
import { EXIT } from '../exit.ts';
import { dollars, type Terminal } from './command.ts';
import { withLog } from './log.ts';
import { Operator } from './operator.ts';
import { eventsOf } from './timeline.ts';

export type Correction = { readonly tenant: TenantId; readonly version: number; readonly model: string; readonly price: Price };
/** Micro-dollars. `newest`: offset of the newest event that was counted. */
export type CorrectedDay = {
  readonly day: string;
  readonly calls: number;
  readonly was: number;
  readonly should: number;
  readonly difference: number;
  readonly newest: number;
};

export const referenceOf = ({ version, model }: Pick<Correction, 'version' | 'model'>): string => `prices/${version}/${model}`;
/** The same facts have the same key. */
export const keyOf = (of: Correction, { day, newest }: CorrectedDay): string => `${referenceOf(of)}/${day}/${newest}/${of.price.input}-${of.price.output}`;

type Day = { calls: number; was: number; should: number; newest: number };

/** Calls that were lost and presumed at their worst case name no model, and stay as they are. */
export async function correctedDays(
  of: Correction,
  events: AsyncIterable<{ readonly offset: number; readonly event: Event }>,
): Promise<readonly CorrectedDay[]> {
  const days = new Map<string, Day>();
  const at = (day: string): Day => {
    const found = days.get(day) ?? { calls: 0, was: 0, should: 0, newest: 0 };
    days.set(day, found);
    return found;
  };
  for await (const { offset, event } of events) {
    if (event.type === 'cost_recorded' && event.priceVersion === of.version && event.model === of.model) {
      const day = at(event.day);
      day.calls++;
      day.was += event.amount;
      day.should += priceOf(of.price, event.inputTokens, event.outputTokens);
      day.newest = offset;
    }
    if (event.type === 'outside_cost_recorded' && event.kind === 'price_correction' && event.reference === referenceOf(of)) {
      const day = at(event.day);
      day.was += event.amount;
      day.newest = offset;
    }
  }
  return [...days].map(([day, found]) => ({ day, ...found, difference: found.should - found.was })).sort((a, b) => (a.day < b.day ? -1 : 1));
}

export async function correctPrices(of: Correction, options: { readonly dry: boolean; readonly json: boolean }, terminal: Terminal): Promise<number> {
  const days = await withLog('operator', (log) => correctedDays(of, eventsOf(log, of.tenant)));
  const recorded: (CorrectedDay & { readonly offset: number | null })[] = [];
  const operator = options.dry ? undefined : await Operator.connect();
  for (const day of days) {
    const done = day.difference === 0 ? undefined : await operator?.command('POST', `/v1/tenants/${of.tenant}/costs`, factOf(of, day), keyOf(of, day));
    recorded.push({ ...day, offset: done?.offset ?? null });
    if (!options.json) terminal.out(lineOf(day, done?.offset));
  }
  if (options.json) terminal.out(JSON.stringify({ tenant: of.tenant, version: of.version, model: of.model, days: recorded }));
  else if (days.length === 0) terminal.note(`No call of ${of.tenant} to ${of.model} was priced by version ${of.version}.`);
  else if (options.dry) terminal.note('Nothing was recorded: without --dry-run it is.');
  return EXIT.ok;
}

function factOf(of: Correction, { day, difference }: CorrectedDay): object {
  return { amount_micro_usd: difference, kind: 'price_correction', reference: referenceOf(of), incurred_at: `${day}T00:00:00Z` };
}

function lineOf({ day, calls, was, should, difference }: CorrectedDay, offset: number | undefined): string {
  const line = `${day}  ${String(calls).padStart(7)} calls  ${dollars(was)} → ${dollars(should)}`;
  if (difference === 0) return pc.dim(`${line}  nothing to correct`);
  return `${line}  ${dollars(difference)}${offset === undefined ? '' : `, event outside_cost_recorded at offset ${offset}`}`;
}
