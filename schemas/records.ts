/** What is neither event nor command: requests, words, results, snapshots, knowledge, keys, dead letters, audit entries. */
import { as, bytes, type Infer, int, list, long, nullable, oneOf, record, string, withDefault } from './avro.ts';
import { COMMANDS } from './commands.ts';
import { EVENTS, MODES, OUTCOMES, REASONS, type Trouble } from './events.ts';
import type { ConversationId, MicroUsd, Offset, PersonId, RequestId, TenantId } from './ids.ts';

const tenant = as<TenantId>(string);
const request = as<RequestId>(string);
const conversation = as<ConversationId>(string);
const person = as<PersonId>(string);

export const RECORDS = {
  /**
   * A support request as a producer writes it: strangers' text, nothing of it is trusted before ingress has parsed it.
   * Either `message` (clear) or `sealed` (by the gateway, under the person's key) is set. `deadlineMs` counts from the append time.
   */
  support_request: record('support_request', {
    tenantId: string,
    requestId: string,
    person: string,
    role: withDefault(string, 'end_user'),
    conversationId: nullable(string),
    deadlineMs: nullable(long),
    message: nullable(string),
    metadata: nullable(string),
    sealed: nullable(bytes),
  }),
  /** A request's words: step `message` first, then each finished step's result; sealed under the person's key. */
  support_step: record('support_step', { tenant, request, conversation, step: string, attempt: int, sealed: bytes }),
  /** The one terminal result of an accepted request; `sealed` holds the answer and its citations. */
  support_result: record('support_result', {
    tenant,
    request,
    conversation,
    person,
    outcome: oneOf('result_outcome', OUTCOMES),
    reason: oneOf('result_reason', REASONS),
    degraded: nullable(
      record('result_degradation', {
        mode: oneOf('result_mode', MODES),
        reason: oneOf('result_degraded_by', REASONS),
        detail: nullable(as<Trouble>(string)),
      }),
    ),
    cost: as<MicroUsd>(long),
    sealed: nullable(bytes),
  }),
  knowledge_document: record('knowledge_document', {
    tenant,
    documentId: string,
    version: string,
    title: string,
    audience: oneOf('document_audience', ['everyone', 'agents']),
    owner: nullable(person),
    content: string,
  }),
  /** Piece `part` (from 0) of the rows of the state after batch `snapshot`, a stream of bytes cut at any place. */
  snapshot_chunk: record('snapshot_chunk', { snapshot: long, part: int, rows: bytes }),
  /** The state after batch `snapshot` is its chunks 0 to `parts` - 1, whose hash chain ends in `digest`; what follows is the store's meta. */
  snapshot_manifest: record('snapshot_manifest', {
    snapshot: long,
    parts: int,
    rows: long,
    digest: bytes,
    history: as<Offset>(long),
    /** Where the oldest words begin that an item still wanted. */
    words: as<Offset>(long),
    time: long,
    inputs: list(record('snapshot_input', { topic: string, next: as<Offset>(long) })),
    version: int,
    partitions: int,
  }),
  person_key: record('person_key', { tenant, person, keyId: string, wrapped: bytes }),
  dead_letter: record('dead_letter', {
    tenant: nullable(string),
    topic: string,
    partition: int,
    offset: long,
    code: string,
    why: string,
    digest: bytes,
    size: long,
    head: bytes,
  }),
  /** Entry `sequence` of a tenant's audit: the event's own bytes, where they stand in the history, and the chain. */
  audit_entry: record('audit_entry', {
    tenant,
    sequence: long,
    partition: int,
    offset: long,
    time: long,
    event: bytes,
    hash: bytes,
  }),
} as const;

type RecordShapes = typeof RECORDS;
/** Every record that may stand on a topic, by its Avro name, which is its registry subject. */
export const SHAPES = { ...EVENTS, ...COMMANDS, ...RECORDS } as const;
export type ShapeName = keyof typeof SHAPES;
export type ValueOf<N extends ShapeName> = Infer<(typeof SHAPES)[N]>;
export type RecordOf<K extends keyof RecordShapes> = Infer<RecordShapes[K]>;
/** As the engine's machine names them. */
export type SnapshotRecord = { [N in 'snapshot_chunk' | 'snapshot_manifest']: { readonly type: N } & RecordOf<N> }['snapshot_chunk' | 'snapshot_manifest'];
