/** Alerts: each is raised once, cleared when it no longer holds, and a forecast comes from the burn over the window's elapsed time. */
import { describe, expect, test } from 'vitest';
import type { Event } from '#schemas/events.ts';
import { Desk, NOON } from './rows.ts';

const BIG = { budgetMonth: 1e12 };
const said = (events: readonly Event[]) =>
  events.flatMap((event) => {
    if (event.type === 'alert_raised') return [`${event.alert} ${event.window}`];
    if (event.type === 'alert_cleared') return [`cleared ${event.alert}`];
    return event.type === 'forecast_raised' || event.type === 'error_rate_raised' ? [event.type] : [];
  });

describe('budget', () => {
  test('soft and hard are said once in a window, and again in the next', () => {
    const desk = new Desk({ ...BIG, budgetDay: 1_000_000 });
    desk.now = NOON + 11 * 3_600_000; // late, so that no forecast is made of it
    expect(said(desk.spend(790_000))).toEqual([]);
    expect(said(desk.spend(20_000))).toEqual(['budget_soft day']);
    expect(said(desk.spend(20_000))).toEqual([]);
    expect(said(desk.spend(170_000))).toEqual(['budget_hard day']);
    expect(said(desk.spend(1))).toEqual([]);
    desk.now += 13 * 3_600_000;
    expect(said(desk.spend(900_000))).toContain('budget_soft day');
  });

  test('a grant clears what no longer holds, and it may be raised again', () => {
    const desk = new Desk({ ...BIG, budgetDay: 1_000_000 });
    desk.now = NOON + 11 * 3_600_000;
    expect(said(desk.spend(1_000_000))).toEqual(['budget_hard day']);
    expect(said(desk.command({ type: 'grant_budget', window: 'day', amount: 200_000, tokens: 0 }))).toEqual(['cleared budget_hard']);
    expect(said(desk.command({ type: 'grant_budget', window: 'day', amount: 9_000_000, tokens: 0 }))).toEqual(['cleared budget_soft']);
    expect(said(desk.command({ type: 'set_policy', changes: '{"budgetDay":0}', expectedVersion: null }))).toEqual([]);
    expect(said(desk.command({ type: 'grant_budget', window: 'day', amount: -8_200_000, tokens: 0 }))).toEqual(['budget_hard day']);
  });
});

describe('forecast', () => {
  test('at noon more than half is spent: it says when the rest is gone, once', () => {
    const desk = new Desk({ ...BIG, budgetDay: 1_000_000 });
    expect(said(desk.spend(480_000))).toEqual([]);
    const events = desk.spend(120_000);
    expect(said(events)).toEqual(['forecast_raised']);
    // 600 000 in twelve hours: the million is spent at twenty.
    expect(events).toContainEqual(expect.objectContaining({ type: 'forecast_raised', spent: 600_000, limit: 1_000_000, exhaustedAt: NOON + 8 * 3_600_000 }));
    expect(said(desk.spend(10_000))).toEqual([]);
  });

  test('a quiet afternoon clears it, with room between, so that it does not flap', () => {
    const desk = new Desk({ ...BIG, budgetDay: 1_000_000 });
    desk.spend(600_000);
    desk.now = NOON + 3 * 3_600_000;
    expect(said(desk.spend(1_000))).toEqual([]); // 961 600 expected
    desk.now = NOON + 5 * 3_600_000;
    expect(said(desk.spend(1_000))).toEqual(['cleared budget_forecast']); // 849 882
    expect(said(desk.spend(180_000))).toEqual(['forecast_raised']);
  });

  test('none of a window’s first hour, of a tenth of a budget, or of what is already spent', () => {
    const early = new Desk({ ...BIG, budgetDay: 1_000_000 });
    early.now = NOON - 12 * 3_600_000 + 50 * 60_000;
    expect(said(early.spend(500_000))).toEqual([]);
    const little = new Desk({ ...BIG, budgetDay: 1_000_000 });
    little.now = NOON - 10 * 3_600_000;
    expect(said(little.spend(90_000))).toEqual([]);
    expect(said(new Desk({ ...BIG, budgetDay: 1_000_000 }).spend(1_000_000))).toEqual(['budget_hard day']);
  });
});

describe('error rate', () => {
  const failure = { outcome: 'handed_off', reason: 'tool_failure' };
  const run = (desk: Desk, times: number, ending: object = {}) =>
    Array.from({ length: times }, () => {
      desk.start();
      return said(desk.end(ending));
    }).flat();

  test('raised at a fifth of at least twenty, once; a degraded answer for a broken part is a failure too', () => {
    const desk = new Desk();
    expect(run(desk, 16)).toEqual([]);
    expect(run(desk, 3, failure)).toEqual([]);
    const degraded = { mode: 'passages', reason: 'tool_failure', detail: 'breaker_open' };
    expect(run(desk, 1, { degraded })).toEqual(['error_rate_raised']);
    expect(run(desk, 20, failure)).toEqual([]);
  });

  test('a question without an answer is no failure', () => {
    expect(run(new Desk(), 30, { outcome: 'handed_off', reason: 'missing_knowledge' })).toEqual([]);
  });

  test('cleared by a window that goes well, and raised again when it does not', () => {
    const desk = new Desk();
    expect(run(desk, 20, failure)).toEqual(['error_rate_raised']);
    desk.now += 6 * 60_000;
    expect(run(desk, 19)).toEqual([]);
    expect(run(desk, 1)).toEqual(['cleared error_rate']);
    desk.now += 6 * 60_000;
    expect(run(desk, 20, failure)).toEqual(['error_rate_raised']);
  });

  test('a tenant that asks little is cleared by what the last window has shown', () => {
    const desk = new Desk();
    run(desk, 20, failure);
    desk.now += 6 * 60_000;
    expect(run(desk, 5)).toEqual([]);
    desk.now += 6 * 60_000;
    expect(run(desk, 1)).toEqual(['cleared error_rate']);
  });
});
