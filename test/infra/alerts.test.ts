/** The alert rules, evaluated by Prometheus's own tool on the series of infra/prometheus/rules.test.yml. */
import { beforeAll, describe, expect, test } from 'vitest';
import { run } from '#infra/local/download.mjs';
import { findPromtool } from '../promtool.ts';
import { readYaml } from '../yaml.ts';

type Configuration = { readonly global: { readonly scrape_interval: string; readonly evaluation_interval: string } };
type Rules = { readonly groups: readonly { readonly rules: readonly { readonly alert: string }[] }[] };
type Case = { readonly alertname: string; readonly exp_alerts?: readonly unknown[] };
type Scenario = { readonly interval: string; readonly input_series: readonly { readonly series: string }[]; readonly alert_rule_test: readonly Case[] };
type Tests = { readonly evaluation_interval: string; readonly tests: readonly Scenario[] };

const FOLDER = 'infra/prometheus';
const FETCHED_WITHIN_MS = 180_000;
/** Hours of series: two seconds of a processor that is not shared. */
const EVALUATED_WITHIN_MS = 60_000;
const { tests: scenarios, evaluation_interval } = readYaml<Tests>(`${FOLDER}/rules.test.yml`);

describe('promtool', () => {
  let promtool: string;
  beforeAll(async () => {
    promtool = await findPromtool();
  }, FETCHED_WITHIN_MS);

  test('takes the configuration and its rules', async () => {
    await run(promtool, ['check', 'config', `${FOLDER}/prometheus.yml`]);
  });
  test('finds that every alert fires when it should, with its labels and its text, and not otherwise', { timeout: EVALUATED_WITHIN_MS }, async () => {
    await run(promtool, ['test', 'rules', `${FOLDER}/rules.test.yml`]);
  });
});

test('every alert has a case in which it fires and one in which it does not', () => {
  const alerts = readYaml<Rules>(`${FOLDER}/rules.yml`).groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
  const cases = scenarios.flatMap(({ alert_rule_test }) => alert_rule_test);
  const named = (fires: boolean) => new Set(cases.filter(({ exp_alerts = [] }) => exp_alerts.length > 0 === fires).map(({ alertname }) => alertname));
  expect([...named(true)].sort()).toEqual(alerts.toSorted());
  expect([...named(false)].sort()).toEqual(alerts.toSorted());
});

test('cases are scraped and evaluated as often as the configuration says', () => {
  const { global } = readYaml<Configuration>(`${FOLDER}/prometheus.yml`);
  expect(evaluation_interval).toBe(global.evaluation_interval);
  expect(new Set(scenarios.map(({ interval }) => interval))).toEqual(new Set([global.scrape_interval]));
});

test('series say who was scraped, as in a Prometheus: else no case would see what several processes tell of the same', () => {
  const series = scenarios.flatMap(({ input_series }) => input_series.map((each) => each.series));
  expect(series.filter((each) => !/\{instance="[^"]+",service="(gateway|runtime|auditor)"/.test(each))).toEqual([]);
});
