/**
 * Publishing a support request: what the gateway itself can refuse, the sealed and signed record, and the answer: the task's verdict, `submitted`
 * when it takes longer than a second, or `submitted` at once for who prefers that (RFC 7240, respond-async). The task alone decides.
 */
import { crc32 } from 'node:zlib';
import { bufferOf } from '#schemas/buffer.ts';
import { conversationId, keyedDigest, personId, requestId, tenantSecret } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Event } from '#schemas/events.ts';
import type { HmacKey } from '#schemas/hmac.ts';
import type { PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import { KID_HEADER, PLATFORM_KID, SIGNATURE_HEADER, signPlatform } from '#schemas/signature.ts';
import type { Topic } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Mark } from '#streams/support/state.ts';
import type { Caller } from './auth.ts';
import type { Happened } from './lifecycle.ts';
import { type GatewayParts, mustBe, partition } from './parts.ts';
import { Problem } from './problems.ts';
import type { Allowance } from './rate.ts';
import { checkLimits, checkRate, refusedByTask } from './refusals.ts';

const REQUESTS: Topic = 'support.requests';
/** Characters are UTF-16 units, as the runtime counts them. */
export const MOST = { message: 16_384, conversation: 200, metadata: 4_096 };
export type Body = { readonly message: string; readonly conversation_id?: string; readonly deadline_ms?: number; readonly metadata?: Record<string, unknown> };
export type Published = {
  readonly request_id: RequestId;
  readonly stage: string;
  readonly links: { readonly self: string; readonly events: string };
  readonly offset?: number;
};
/** What was asked for, and by whom. `key`: of the request, as its caller sent it. */
export type Asking = { readonly caller: Caller; readonly body: Body; readonly key: string | undefined; readonly async: boolean };
type Made = { readonly tenant: TenantId; readonly person: PersonId; readonly id: RequestId; readonly says: Says; readonly record: Output };
/** What a request says, for comparison with another of the same key. `words`: as they are sealed. */
type Says = { readonly secret: HmacKey; readonly body: Body; readonly metadata: string | null; readonly words: Buffer };

/** As the history has it. */
function digestOf({ secret, body: { message, conversation_id: named }, metadata }: Says): string {
  return keyedDigest(secret, 'body', message, metadata ?? '', named ?? '');
}
/** For this process's memory: a checksum, as the only one to be fooled is who sent both. */
function fingerprintOf({ body: { conversation_id: named }, words }: Says): number {
  return crc32(words, named === undefined ? 0 : crc32(named));
}

export async function publish(parts: GatewayParts, asking: Asking): Promise<{ readonly published: Published; readonly allowance: Allowance }> {
  const { caller, body } = asking;
  mustBe(caller, 'end_user', 'tenant_admin', 'operator');
  const { tenant } = caller;
  if (!tenant) throw new EvenkeelError('forbidden', 'a request is published with a tenant’s credential; this one names none');
  const metadata = metadataOf(body);
  const allowance = checkRate(parts, tenant);
  const sent = asking.key ?? parts.random();
  const { secret, person } = whoIs(parts, caller, tenant);
  const id = requestId(secret, caller.person, sent);
  const { message, conversation_id: named } = body;
  const says: Says = { secret, body, metadata, words: Buffer.from(JSON.stringify({ message, metadata })) };
  const sealing = parts.vault.seal(tenant, person, `${id}/message`, says.words);
  const sealed = sealing instanceof Promise ? await sealing : sealing;
  // From here to the listening there is no await: the verdict of a request that is on its way cannot slip between.
  // What nobody names begins a conversation of its own, in which nothing waits.
  const item = named === undefined ? undefined : conversationId(secret, caller.person, named);
  const { account, item: conversation, mark: known } = parts.peek({ tenant, mark: id, ...(item && { item }) });
  if (known) return { published: answerKnown(known, says, id), allowance };
  checkLimits(parts, { tenant, account, waiting: conversation?.waiting.length ?? 0 }, body.deadline_ms);
  parts.submissions.checkRoom(tenant);
  const made = { tenant, person, id, says, record: recordOf(parts, caller, tenant, body, sent, sealed) };
  return { published: await (asking.async ? submit(parts, made) : decided(parts, made)), allowance };
}

type Who = { readonly secret: HmacKey; readonly person: PersonId };
/** By the caller's verified claims, and gone with them. */
const people = new WeakMap<Caller, Who>();

function whoIs({ masterKey }: GatewayParts, caller: Caller, tenant: TenantId): Who {
  let who = people.get(caller);
  if (!who) {
    const secret = tenantSecret(masterKey, tenant);
    who = { secret, person: personId(secret, caller.person) };
    people.set(caller, who);
  }
  return who;
}

/** When the record is acknowledged. One that is on its way already is not sent again. */
async function submit(parts: GatewayParts, { tenant, person, id, says, record }: Made): Promise<Published> {
  const { submissions } = parts;
  const other = submissions.find(tenant, id);
  const fingerprint = fingerprintOf(says);
  if (other && other.fingerprint !== fingerprint) throw new EvenkeelError('conflict', CONFLICT);
  const submission = other ?? submissions.add(tenant, id, person, fingerprint);
  if (!other) submission.acknowledged = parts.send([record]);
  try {
    await submission.acknowledged;
  } catch (error) {
    if (!other) submissions.drop(tenant, id);
    throw error;
  }
  submission.acknowledged = undefined;
  if (!submission.decided) return submitted(id);
  // The verdict was faster.
  const mark = parts.peek({ tenant, mark: id }).mark;
  if (mark) return answerKnown(mark, says, id);
  const refusal = submissions.refusal(tenant, id);
  if (refusal) throw refusedByTask(refusal.event, refusal.offset);
  return submitted(id);
}

/** When the task's verdict is here, or after a second. */
async function decided(parts: GatewayParts, { tenant, person, id, says, record }: Made): Promise<Published> {
  const verdict = await parts.lifecycle.first(tenant, id, isVerdict(says), parts.verdictMs, () => parts.send([record]));
  if (verdict) return answerVerdict(verdict, id, says);
  // Between the end of the listening and this there is no await.
  if (!parts.submissions.find(tenant, id)) parts.submissions.add(tenant, id, person, fingerprintOf(says));
  return submitted(id);
}

/** The schema counts characters; records are bounded in UTF-16 units. */
function metadataOf({ message, conversation_id: conversation = '', metadata }: Body): string | null {
  if (message.length > MOST.message) throw new EvenkeelError('body_invalid', `message: at most ${MOST.message} UTF-16 units, this has ${message.length}`);
  if (conversation.length > MOST.conversation) throw new EvenkeelError('body_invalid', `conversation_id: at most ${MOST.conversation} UTF-16 units`);
  const json = metadata === undefined ? null : JSON.stringify(metadata);
  if (json !== null && json.length > MOST.metadata)
    throw new EvenkeelError('body_invalid', `metadata: at most ${MOST.metadata} characters of JSON, this has ${json.length}`);
  return json;
}

function recordOf(parts: GatewayParts, caller: Caller, tenant: TenantId, body: Body, sent: string, sealed: Uint8Array): Output {
  const value = parts.codec.encode('support_request', {
    tenantId: tenant,
    requestId: sent,
    person: caller.person,
    role: caller.role,
    conversationId: body.conversation_id ?? null,
    deadlineMs: body.deadline_ms ?? null,
    message: null,
    metadata: null,
    sealed: bufferOf(sealed),
  });
  const signature = signPlatform(parts.platformKey, REQUESTS, tenant, value);
  return { topic: REQUESTS, partition: partition(parts, tenant), key: tenant, value, headers: { [KID_HEADER]: PLATFORM_KID, [SIGNATURE_HEADER]: signature } };
}

/** Two clients may send one key at once with different bodies: the event says whose was taken. */
const isVerdict =
  (says: Says) =>
  (event: Event): boolean =>
    event.type === 'request_queued' || event.type === 'request_refused' || (event.type === 'request_conflicted' && event.bodyDigest === digestOf(says));

export const links = (id: RequestId) => ({ self: `/v1/requests/${id}`, events: `/v1/requests/${id}/events` });
const submitted = (id: RequestId): Published => ({ request_id: id, stage: 'submitted', links: links(id) });
const CONFLICT = 'this Idempotency-Key was used for another body: send the same body again, or take a new key';

function answerKnown(mark: Mark, says: Says, id: RequestId): Published {
  if (mark.bodyDigest !== digestOf(says)) throw new EvenkeelError('conflict', CONFLICT);
  return { request_id: id, stage: mark.stage, links: links(id) };
}

function answerVerdict({ event, offset }: Happened, id: RequestId, says: Says): Published {
  if (event.type === 'request_conflicted' || (event.type === 'request_queued' && event.bodyDigest !== digestOf(says)))
    throw new Problem('conflict', CONFLICT, { offset });
  if (event.type !== 'request_refused') return { request_id: id, stage: 'queued', links: links(id), offset };
  throw refusedByTask(event, offset);
}
