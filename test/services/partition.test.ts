/** How records reach a partition's task. */
import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import { DEFAULT_POLICY } from '#schemas/policy.ts';
import { KID_HEADER, platformSignatureKey, SIGNATURE_HEADER, signProducer } from '#schemas/signature.ts';
import { Ingress } from '#services/runtime/ingress.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import { FedPartition } from '#services/runtime/partition.ts';

const codec = createCodec(localSchemas());
const tenant = 'acme' as TenantId;
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const policy = { ...DEFAULT_POLICY, producerKeys: [{ kid: 'k1', publicKey: publicKey.export({ format: 'jwk' }).x as string }] };

function signed(requestId: string, offset: number) {
  const fields = { tenantId: tenant, requestId, person: 'ann', role: 'end_user', conversationId: null, deadlineMs: null, message: 'hi' };
  const value = codec.encode('support_request', { ...fields, metadata: null, sealed: null });
  const headers = { [KID_HEADER]: Buffer.from('k1'), [SIGNATURE_HEADER]: signProducer(privateKey, 'support.requests', tenant, value) };
  return { key: tenant, value, headers, offset, timestamp: 1 };
}

/** A partition whose task may be opening, and what has reached it. */
function fedPartition() {
  const state = { opening: true, asked: 0 };
  const taken: (readonly [number, string])[] = [];
  const task = {
    full: false,
    position: () => 0,
    appendedAt: (at: number) => at,
    offer: async (_input: unknown, { from }: { from: number }) => void taken.push([from, 'offered']),
    pass: async (_records: unknown, { from }: { from: number }) => void taken.push([from, 'dead letter']),
  } as unknown as SupportTask;
  const ingress = new Ingress({
    codec,
    masterKey: Buffer.alloc(32),
    platformKey: platformSignatureKey(Buffer.alloc(32)),
    partitions: 1,
    vault: { seal: async (_tenant, _person, _place, words) => words, open: async (_tenant, _person, _place, words) => words },
    policyOf: () => {
      state.asked++;
      if (state.opening) throw new EvenkeelError('unavailable', 'partition 0 is being opened');
      return policy;
    },
  });
  const failures: Error[] = [];
  const flow = { pause: () => undefined, resume: () => undefined, seek: () => undefined };
  const fed = new FedPartition(0, { task, logStarts: {} }, ingress, flow, (error) => failures.push(error));
  fed.start();
  return { fed, state, taken, failures };
}

test('invariant 10: a signed record that comes while its partition re-opens waits, and those behind it: none is a dead letter', async () => {
  const { fed, state, taken, failures } = fedPartition();
  fed.records('support.requests', [signed('a', 0), signed('b', 1)], 0, 2);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(taken).toEqual([]);
  state.opening = false;
  for (let tries = 0; tries < 100 && taken.length < 2; tries++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(taken).toEqual([
    [0, 'offered'],
    [1, 'offered'],
  ]);
  expect(failures).toEqual([]);
});

test('a partition that is closed while its records wait asks no more, and nothing is left to fail', async () => {
  const { fed, state, taken, failures } = fedPartition();
  fed.records('support.requests', [signed('a', 0)], 0, 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  fed.close();
  const { asked } = state;
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect([state.asked, taken, failures]).toEqual([asked, [], []]);
});
