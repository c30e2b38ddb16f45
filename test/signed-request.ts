/** Support requests as a tenant's own producer writes them: in the clear, under a signature whose key stands in the tenant's policy. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { Codec } from '#schemas/codec.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import type { RecordOf } from '#schemas/records.ts';
import { KID_HEADER, SIGNATURE_HEADER, signProducer } from '#schemas/signature.ts';
import { partitionOf } from '#schemas/topics.ts';

const TOPIC = 'support.requests';
const KID = 'k1';
export type Asked = Partial<Pick<RecordOf<'support_request'>, 'requestId' | 'person' | 'conversationId' | 'deadlineMs'>> & { readonly message: string };

export class SigningProducer {
  readonly #keys = generateKeyPairSync('ed25519');

  /** For the tenant's policy. */
  get policy(): Pick<Policy, 'producerKeys'> {
    return { producerKeys: [{ kid: KID, publicKey: this.#keys.publicKey.export({ format: 'jwk' }).x as string }] };
  }

  /** `person` defaults to bob, the request id to a new one. */
  record(codec: Codec, partitions: number, tenantId: TenantId, asked: Asked) {
    const defaults = { requestId: randomUUID(), person: 'bob', conversationId: null, deadlineMs: null };
    const request = { tenantId, role: 'end_user', metadata: null, sealed: null, ...defaults, ...asked };
    const value = Buffer.from(codec.encode('support_request', request));
    const headers = { [KID_HEADER]: KID, [SIGNATURE_HEADER]: Buffer.from(signProducer(this.#keys.privateKey, TOPIC, tenantId, value)) };
    return { topic: TOPIC, partition: partitionOf(tenantId, partitions), key: tenantId, value, headers, requestId: request.requestId, person: request.person };
  }
}
