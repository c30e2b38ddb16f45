/**
 * From a record to an input: bounds before decoding, signature, tenant, person, deadline. What cannot be read becomes a dead letter with
 * its reason and bounded bytes, and the partition moves on (invariant 2). A record on the wrong partition is passed on to its own, once.
 */
import type { Codec } from '#schemas/codec.ts';
import { conversationId, keyedDigest, personId, requestId, sha256, tenantSecret } from '#schemas/digest.ts';
import { type ErrorCode, EvenkeelError } from '#schemas/errors.ts';
import type { HmacKey } from '#schemas/hmac.ts';
import { isTenantId, type RequestId, type TenantId } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import type { RecordOf } from '#schemas/records.ts';
import { KID_HEADER, PLATFORM_KID, SIGNATURE_HEADER, verifyPlatform, verifyProducer } from '#schemas/signature.ts';
import { partitionOf, TOPICS } from '#schemas/topics.ts';
import type { Consumed } from '#streams/engine/inbox.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Rec } from '#streams/engine/ports.ts';
import { commandMark } from '#streams/support/evolve.ts';
import type { CommandInput, Input, RequestInput } from '#streams/support/input.ts';
import type { Vault } from '../vault.ts';

export type IngressParts = {
  readonly codec: Codec;
  readonly masterKey: Uint8Array;
  readonly platformKey: HmacKey;
  readonly partitions: number;
  readonly vault: Pick<Vault, 'seal' | 'open'>;
  /** The tenant's policy as committed; undefined when there is no such tenant. */
  readonly policyOf: (tenant: TenantId, partition: number) => Policy | undefined;
};
export type Arrival =
  | { readonly input: RequestInput | CommandInput }
  /** Dead letters and re-publications. */
  | { readonly pass: readonly Output[] };

type SupportRequest = RecordOf<'support_request'>;
export type Message = { readonly message: string; readonly metadata: string | null };

const MAX_RECORD_BYTES = 262_144;
const MAX_MESSAGE = 16_384;
const MAX_METADATA = 4_096;
const MAX_ID = 256;
const MAX_DEADLINE_MS = 86_400_000;
const ROLES = ['end_user', 'tenant_admin', 'operator'];
/** Marks a record that was passed on to its own partition: it is passed on once only. */
const REROUTED_HEADER = 'ek-rerouted';
/** Of what could not be read, at most this much is kept. */
const DEAD_LETTER_HEAD = 4_096;

export class Ingress {
  readonly #parts: IngressParts;
  constructor(parts: IngressParts) {
    this.#parts = parts;
  }

  /** @throws EvenkeelError what is not the record's own fault: it is to be asked again, and never a dead letter */
  async request(partition: number, record: Rec): Promise<Arrival> {
    try {
      return await this.#request(partition, record);
    } catch (error) {
      if (!(error instanceof EvenkeelError) || error.class !== 'terminal') throw error;
      return { pass: [deadLetter(this.#parts.codec, 'support.requests', partition, record, error)] };
    }
  }

  command(partition: number, record: Rec): Arrival {
    const { codec } = this.#parts;
    try {
      const { name, value } = codec.decodeHostile(bytesOf(record), MAX_RECORD_BYTES);
      if (!(TOPICS['tenant.commands'].records as readonly string[]).includes(name)) throw unreadable(`${name} is no command`);
      const command = { type: name, ...value } as CommandInput['command'];
      const tenant = this.#tenant(partition, record, command.tenantId);
      return { input: { kind: 'command', tenant, mark: commandMark(command.commandId), command } };
    } catch (error) {
      if (!(error instanceof EvenkeelError) || error.class !== 'terminal') throw error;
      return { pass: [deadLetter(codec, 'tenant.commands', partition, record, error)] };
    }
  }

  async #request(partition: number, record: Rec): Promise<Arrival> {
    const bytes = bytesOf(record);
    const { codec, masterKey, partitions } = this.#parts;
    const { name, value } = codec.decodeHostile(bytes, MAX_RECORD_BYTES);
    if (name !== 'support_request') throw unreadable(`${name} is no request`);
    if (isTenantId(value.tenantId) && partitionOf(value.tenantId, partitions) !== partition && record.headers[REROUTED_HEADER] === undefined) {
      this.#keyNames(record, value.tenantId);
      return { pass: [reroute(record, bytes, partitionOf(value.tenantId, partitions))] };
    }
    const tenant = this.#tenant(partition, record, value.tenantId);
    const policy = this.#parts.policyOf(tenant, partition);
    if (!policy) throw new EvenkeelError('tenant_unknown', `there is no tenant ${tenant}`);
    const verified = this.#verify(record, bytes, tenant, policy);
    // Only what was signed over Kafka is waited for.
    const source = typeof verified === 'string' ? verified : await verified;
    checkFields(value);
    // A key that only its producer knows would hold up the whole partition while it is waited for.
    if (value.sealed && source !== 'http') throw new EvenkeelError('body_invalid', 'sealed: only the gateway seals; send `message` in the clear');
    const secret = tenantSecret(masterKey, tenant);
    const person = personId(secret, value.person);
    const mark = requestId(secret, value.person, value.requestId);
    const item = conversationId(secret, value.person, value.conversationId ?? `request:${value.requestId}`);
    const { sealed, message } = await this.#message(tenant, person, mark, value);
    const bodyDigest = keyedDigest(secret, 'body', message.message, message.metadata ?? '', value.conversationId ?? '');
    const { deadlineMs } = value;
    return { input: { kind: 'request', tenant, item, mark, person, bodyDigest, source, appended: record.timestamp, deadlineMs, sealed } };
  }

  #tenant(partition: number, record: Rec, named: string): TenantId {
    if (!isTenantId(named)) throw new EvenkeelError('tenant_id_invalid', 'tenantId is no tenant id');
    this.#keyNames(record, named);
    const own = partitionOf(named, this.#parts.partitions);
    if (own !== partition) throw unreadable(`the record of ${named} belongs on partition ${own}, not ${partition}`);
    return named;
  }

  #keyNames(record: Rec, tenant: TenantId): void {
    if (record.key !== tenant) throw new EvenkeelError('tenant_mismatch', `the key is not ${tenant}, which the record names`);
  }

  #verify(record: Rec, bytes: Uint8Array, tenant: TenantId, policy: Policy): RequestInput['source'] | Promise<RequestInput['source']> {
    const kid = record.headers[KID_HEADER];
    const signature = record.headers[SIGNATURE_HEADER];
    if (!kid || !signature) throw new EvenkeelError('signature_missing', `headers ${KID_HEADER} and ${SIGNATURE_HEADER} are needed`);
    const name = Buffer.from(kid).toString();
    if (name === PLATFORM_KID) {
      if (verifyPlatform(this.#parts.platformKey, 'support.requests', tenant, bytes, signature)) return 'http';
    } else {
      const key = policy.producerKeys.find((each) => each.kid === name);
      if (!key) throw new EvenkeelError('signature_invalid', `${tenant} has no producer key ${name.slice(0, 64)}`);
      return verifyProducer(key.publicKey, 'support.requests', tenant, bytes, signature).then((matches) => {
        if (!matches) throw mismatch();
        return 'kafka';
      });
    }
    throw mismatch();
  }

  /** A foreign producer's clear message is sealed here; a sealed one is opened, to know that it can be, and for its digest. */
  async #message(
    tenant: TenantId,
    person: RequestInput['person'],
    mark: RequestId,
    value: SupportRequest,
  ): Promise<{ readonly sealed: Uint8Array; readonly message: Message }> {
    const place = `${mark}/message`;
    if (value.sealed) {
      const opened = await this.#parts.vault.open(tenant, person, place, value.sealed);
      return { sealed: value.sealed, message: parseMessage(JSON.parse(Buffer.from(opened).toString()) as Message) };
    }
    const message = parseMessage({ message: value.message ?? '', metadata: value.metadata });
    const sealed = await this.#parts.vault.seal(tenant, person, place, Buffer.from(JSON.stringify(message)));
    return { sealed, message };
  }
}

function bytesOf(record: Rec): Uint8Array {
  if (record.value === null) throw new EvenkeelError('record_tombstone', 'a record without a value says nothing here');
  return record.value;
}

function unreadable(why: string): EvenkeelError {
  return new EvenkeelError('record_unreadable', why);
}

const mismatch = () => new EvenkeelError('signature_invalid', 'the signature does not match topic, key and value');

function parseMessage({ message, metadata }: Message): Message {
  if (typeof message !== 'string' || message.length === 0 || message.length > MAX_MESSAGE)
    throw new EvenkeelError('body_invalid', `message: 1 to ${MAX_MESSAGE} characters`);
  if (metadata !== null && (typeof metadata !== 'string' || metadata.length > MAX_METADATA))
    throw new EvenkeelError('body_invalid', `metadata: JSON of at most ${MAX_METADATA} characters`);
  return { message, metadata };
}

function checkFields({ requestId: id, person, role, conversationId: conversation, deadlineMs }: SupportRequest): void {
  const bounded = (name: string, text: string) => {
    if (text.length === 0 || text.length > MAX_ID) throw new EvenkeelError('body_invalid', `${name}: 1 to ${MAX_ID} characters`);
  };
  bounded('requestId', id);
  bounded('person', person);
  if (conversation !== null) bounded('conversationId', conversation);
  if (!ROLES.includes(role)) throw new EvenkeelError('body_invalid', `role: one of ${ROLES.join(', ')}`);
  if (deadlineMs !== null && (deadlineMs < 0 || deadlineMs > MAX_DEADLINE_MS)) throw new EvenkeelError('body_invalid', `deadlineMs: 0 to ${MAX_DEADLINE_MS}`);
}

/** Key, bytes and signature stay as they are. */
function reroute(record: Rec, value: Uint8Array, partition: number): Output {
  const kept = [KID_HEADER, SIGNATURE_HEADER].flatMap((name) => {
    const header = record.headers[name];
    return header ? [[name, header] as const] : [];
  });
  return {
    topic: 'support.requests',
    partition,
    key: record.key ?? '',
    value,
    headers: { ...Object.fromEntries(kept), [REROUTED_HEADER]: '1' },
  };
}

/** An input that could not be decided. Its words were sealed or are gone: the letter names where its record stands. */
export function deadLetterOf(codec: Codec, partition: number, input: Input, error: Error, consumed: Consumed | undefined): Output {
  const record = { key: input.tenant, value: null, offset: consumed?.from ?? -1 };
  return deadLetter(codec, consumed?.topic ?? input.kind, partition, record, error);
}

function deadLetter(codec: Codec, topic: string, partition: number, record: Pick<Rec, 'key' | 'value' | 'offset'>, error: Error): Output {
  const bytes = record.value ?? new Uint8Array(0);
  const code: ErrorCode = error instanceof EvenkeelError ? error.code : 'decision_failed';
  const value = codec.encode('dead_letter', {
    tenant: isTenantId(record.key) ? record.key : null,
    topic,
    partition,
    offset: record.offset,
    code,
    why: error.message.slice(0, 1_000),
    digest: Buffer.from(sha256(bytes)),
    size: bytes.byteLength,
    head: Buffer.from(bytes.subarray(0, DEAD_LETTER_HEAD)),
  });
  return { topic: 'support.dead-letters', partition: 0, key: record.key?.slice(0, MAX_ID) ?? '', value };
}
