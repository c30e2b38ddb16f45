/** A partition's owner is asked by a signed call, a few at once for a tenant; where it does not answer, the place is not known. */
import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { ConversationId } from '#schemas/ids.ts';
import { tenantId } from '#schemas/ids.ts';
import { placesFrom } from '#services/gateway/places.ts';
import { CALL_HEADER, isSigned, signCall } from '#services/internal.ts';

const masterKey = randomBytes(32);
const [acme, globex] = [tenantId('acme'), tenantId('globex')];
const conversation = 'c_1' as ConversationId;
let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** An owner that answers only what is signed, and when `held` lets it. */
async function owner(held: Promise<void> = Promise.resolve()): Promise<{ readonly address: string; readonly seen: string[] }> {
  const seen: string[] = [];
  server = createServer(async (request, response) => {
    const target = request.url ?? '';
    if (!isSigned(masterKey, target, request.headers[CALL_HEADER]?.toString())) return void response.writeHead(403).end();
    seen.push(target);
    await held;
    response.end(JSON.stringify({ before: 3, ahead: 2, full: false }));
  });
  await new Promise<void>((resolve) => (server as Server).listen(0, '127.0.0.1', resolve));
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function ownersAt(address: string | undefined) {
  const owners = { forgotten: 0, addressOf: async () => address, forget: () => void owners.forgotten++ };
  return owners;
}

test('it says how many are ahead', async () => {
  const { address, seen } = await owner();
  const place = await placesFrom(ownersAt(address), masterKey, () => undefined)(5, acme, conversation);
  expect(place).toEqual({ conversations: 3, tenants: 2, full: false });
  expect(seen).toEqual(['/explain?partition=5&tenant=acme&conversation=c_1']);
});

test('a call that another key signed, or another call’s signature, is not answered: the owner is forgotten, and that said', async () => {
  const { address } = await owner();
  const warnings: string[] = [];
  const owners = ownersAt(address);
  expect(await placesFrom(owners, randomBytes(32), (message) => warnings.push(message))(5, acme, conversation)).toBeUndefined();
  expect([owners.forgotten, warnings.length]).toEqual([1, 1]);
  expect(warnings[0]).toContain('403');
  expect(isSigned(masterKey, '/explain?partition=1', signCall(masterKey, '/explain?partition=2'))).toBe(false);
  expect(isSigned(masterKey, '/explain', undefined)).toBe(false);
});

test('without an owner, or with one that is gone, the place is not known', async () => {
  expect(await placesFrom(ownersAt(undefined), masterKey, () => undefined)(5, acme, conversation)).toBeUndefined();
  const gone = ownersAt('127.0.0.1:1');
  expect(await placesFrom(gone, masterKey, () => undefined)(5, acme, conversation)).toBeUndefined();
  expect(gone.forgotten).toBe(1);
});

test('one tenant’s polling asks the owner twice at once and no more, and keeps no other tenant from asking', async () => {
  let release: () => void = () => undefined;
  const { address, seen } = await owner(
    new Promise((resolve) => {
      release = resolve;
    }),
  );
  const placeOf = placesFrom(ownersAt(address), masterKey, () => undefined);
  const asked = Array.from({ length: 10 }, () => placeOf(5, acme, conversation));
  const other = placeOf(5, globex, conversation);
  while (seen.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  release();
  expect((await Promise.all(asked)).filter((place) => place !== undefined)).toHaveLength(2);
  expect(await other).toBeDefined();
  expect(seen).toHaveLength(3);
  expect(await placeOf(5, acme, conversation)).toBeDefined();
});
