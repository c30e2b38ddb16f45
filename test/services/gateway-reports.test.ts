/** A gateway's own refusals reach the history, counted by limit; what could not be sent is not lost. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { tenantId } from '#schemas/ids.ts';
import { RefusalReports } from '#services/gateway/refusal-reports.ts';
import type { Output } from '#streams/engine/machine.ts';
import { LIMITS } from '#streams/support/limits.ts';

const codec = createCodec(localSchemas());
const [acme, globex] = [tenantId('acme'), tenantId('globex')];
let sent: Output[];
let fails: boolean;
let reports: RefusalReports;
let now: number;
const warnings: string[] = [];

beforeEach(() => {
  [sent, fails, now] = [[], false, 1_000];
  const send = async (records: readonly Output[]) => {
    if (fails) throw new Error('no broker');
    sent.push(...records);
  };
  const parts = {
    codec,
    partitions: 8,
    instance: 'gateway-1',
    send,
    random: () => `id${sent.length}`,
    now: () => now,
    warn: (message: string) => warnings.push(message),
  };
  reports = new RefusalReports(parts, 1_000_000);
});
afterEach(() => reports.close());

const told = () =>
  sent.map(({ value }) => {
    const { name, value: said } = codec.decode(value as Uint8Array);
    return name === 'report_refusals' ? `${said.tenantId} ${said.limitName} ${said.count} since ${said.since} by ${said.by}` : name;
  });

test('one record a tenant and limit, and none where nothing was refused', async () => {
  await reports.flush();
  for (let at = 0; at < 3; at++) reports.count(acme, 'requests_per_second');
  reports.count(acme, 'queue_length');
  reports.count(globex, 'queue_length');
  now = 2_000;
  await reports.flush();
  expect(told()).toEqual([
    'acme requests_per_second 3 since 1000 by gateway-1',
    'acme queue_length 1 since 1000 by gateway-1',
    'globex queue_length 1 since 1000 by gateway-1',
  ]);
  for (const { limitName } of sent.map(({ value }) => codec.decode(value as Uint8Array).value as { limitName: string }))
    expect(LIMITS.some(({ name }) => name === limitName)).toBe(true);
});

test('what could not be sent is told with the next', async () => {
  reports.count(acme, 'queue_length');
  fails = true;
  now = 2_000;
  await reports.flush();
  expect(warnings.at(-1)).toContain('no broker');
  fails = false;
  reports.count(acme, 'queue_length');
  await reports.flush();
  expect(told()).toEqual(['acme queue_length 2 since 1000 by gateway-1']);
});
