/** The command line where nothing answers: what a person reads, and the object that a program gets. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test, vi } from 'vitest';
import type { Terminal } from '#services/cli/command.ts';
import { dispatch } from '#services/cli/dispatch.ts';
import { Gateway } from '#services/cli/gateway.ts';
import { checked, Operator } from '#services/cli/operator.ts';

// Read when the command line is loaded: nothing was started there.
vi.hoisted(() => {
  process.env.EVENKEEL_HOME = '/nonexistent/evenkeel';
});

function recorder() {
  const [out, notes]: [string[], string[]] = [[], []];
  const terminal: Terminal = { live: false, out: (line) => out.push(line), note: (line) => notes.push(line), status: () => undefined };
  return { out, notes, terminal };
}

test.each([
  ['tenant', 'show', 'acme'],
  ['tenant', 'create', 'acme', '--qps', '20'],
  ['explain', 'r_3tQv9mYc0Zk1xWb7LhPs2A'],
  ['replay', 'timeline', '--tenant', 'acme'],
  ['replay', 'verify'],
  ['audit', 'verify', '--tenant', 'acme'],
])('%s %s: why and what next, and with --json one object that says it', async (...words) => {
  const { out, notes, terminal } = recorder();
  expect(await dispatch(words, terminal)).toBe(1);
  expect(out).toEqual([]);
  expect(notes[1]).toContain('npm start');
  expect(await dispatch([...words, '--json'], terminal)).toBe(1);
  expect(out.map((line) => JSON.parse(line))).toEqual([{ error: expect.any(String), next: notes[1] }]);
});

test('a gateway that takes a command and does not answer: it may be done, and the same key makes a repeat harmless', async () => {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const operator = new Operator(new Gateway(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'secret'), 50);
  const asked = operator.command('POST', '/v1/tenants/acme/grants', { window: 'day' }, 'refill-1');
  await expect(asked).rejects.toMatchObject({ message: 'The gateway has not answered within 0.05 s.', next: expect.stringContaining('--key refill-1') });
  server.closeAllConnections();
  server.close();
});

test('what the gateway will not take: what is wrong, and where it stands what is right', () => {
  const refused = (code: string) => () => checked({ status: 400, body: { title: 'No', detail: 'amount: too much', code, offset: 7 } });
  for (const code of ['body_invalid', 'amount_invalid'])
    expect(refused(code)).toThrow(expect.objectContaining({ message: 'No: amount: too much (offset 7).', next: expect.stringContaining('--help') }));
});
