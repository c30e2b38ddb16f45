/** A few rounds of `npm run chaos`: invariants 1 to 7 and 9 to 11 on real processes that are killed, stopped, fought over and starved. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CASES, type Case } from '../chaos/faults.ts';
import { cannotMount } from '../chaos/platform.ts';
import { Arena } from '../chaos/round.ts';
import { random } from '../simulation/time.ts';

const ROUNDS = [
  'kill-runtime/unknown',
  'kill-runtime/committed',
  'kill-auditor/unstored',
  'stop-runtime',
  'kill-broker',
  'two-owners',
  'disk-full',
  'disk-stays-full',
  'truncated-table',
];
const caseOf = (name: string): Case => {
  const found = CASES.find((each) => each.name === name);
  if (!found) throw new Error(`there is no case ${name}`);
  return found;
};
const unmountable = cannotMount();
const playable = ROUNDS.map(caseOf).filter(({ fault }) => unmountable === undefined || !fault.small);
const arena = new Arena(1, random(1));
let failed = false;

beforeAll(() => arena.open(playable), 180_000);
afterAll(() => arena.close(failed), 60_000);

describe('after each fault every invariant holds, and the lag is back at zero', () => {
  for (const [at, name] of ROUNDS.entries())
    test.skipIf(!playable.includes(caseOf(name)))(name, async () => {
      const { problems, acknowledged } = await arena.round(at + 1, caseOf(name), random(at + 1));
      failed ||= problems.length > 0;
      expect(problems, `npm run chaos -- --only ${name}; kept: ${arena.folders.join(' ')}`).toEqual([]);
      expect(acknowledged).toBeGreaterThan(0);
    });
});
