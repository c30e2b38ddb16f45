/** A hand-made history for tests of the checker: what a healthy platform leaves on its topics, written record by record. */
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { Event } from '#schemas/events.ts';
import { DEFAULT_POLICY, type Policy } from '#schemas/policy.ts';
import type { ShapeName, ValueOf } from '#schemas/records.ts';
import { link } from './check-audit.ts';
import type { Acknowledged, Evidence, Stored } from './evidence.ts';

const codec = createCodec(localSchemas());
const START = Date.UTC(2026, 10, 24, 12);
const WINDOWS = { day: '2026-11-24', month: '2026-11' };
const TENANT = 'acme';
type Fields = Record<string, unknown>;
type Where = { readonly partition?: number; readonly key?: string; readonly headers?: Stored['headers'] };

/** One tenant on partition 0 of two. Every method writes what the task would have written, in one transaction. */
export class History {
  readonly topics: Record<string, Stored[]> = {};
  readonly acknowledged: Acknowledged[] = [];
  readonly committed: Record<string, { before: number; after: number }> = {};
  cap = 10;
  producer = { id: '1000', epoch: 1 };
  now = START;
  #batch = 0;

  append<N extends ShapeName>(topic: string, name: N, value: Fields, { partition = 0, key = TENANT, headers = {} }: Where = {}): Stored {
    const records = this.topics[topic] ?? [];
    this.topics[topic] = records;
    const offset = records.filter((each) => each.partition === partition).length;
    const bytes = codec.encode(name, value as ValueOf<N>);
    const stored = { topic, partition, offset, timestamp: this.now, key, bytes, headers, producer: this.producer, decoded: codec.decode(bytes) };
    records.push(stored);
    return stored;
  }

  commit(events: readonly Fields[], inputs: Readonly<Record<string, number>> = {}, announced = events.length): void {
    this.now += 10;
    const consumed = Object.entries(inputs).map(([topic, next]) => ({ topic, next }));
    for (const [topic, next] of Object.entries(inputs)) this.committed[`${topic}/0`] = { before: next, after: next };
    this.append('tenant.events', 'batch', { number: ++this.#batch, events: announced, inputs: consumed, time: this.now, version: 1, partitions: 2 });
    for (const { type, ...event } of events) this.append('tenant.events', type as Event['type'], { tenant: TENANT, ...event });
  }

  /** A new owner: its epoch, and the empty batch that marks its opening. */
  takeover(): void {
    this.now += 100;
    this.producer = { ...this.producer, epoch: this.producer.epoch + 1 };
    this.commit([]);
  }
  /** Two batches of one number: as if the fence had not held. */
  repeatNumber(): void {
    this.#batch--;
  }

  command(id: string, event: Fields): void {
    const head = { tenantId: TENANT, commandId: id, by: 'ops', role: 'operator' };
    const { offset } = this.append('tenant.commands', 'create_tenant', { ...head, changes: '{}' });
    this.commit([{ command: id, by: 'ops', ...event }], { 'tenant.commands': offset + 1 });
  }
  /** What a gateway has refused by itself; `told` is what the history says of it. */
  report(count: number, told = [count]): void {
    const said = { by: 'gateway', limitName: 'requests_per_second', since: START };
    const head = { tenantId: TENANT, commandId: `report-${this.now}`, role: 'operator' };
    const { offset } = this.append('tenant.commands', 'report_refusals', { ...head, ...said, count });
    this.commit(
      told.map((each) => ({ type: 'refusals_reported', ...said, count: each })),
      { 'tenant.commands': offset + 1 },
    );
  }
  create(policy: Partial<Policy> = {}): void {
    this.command('create', { type: 'tenant_created', policy: { ...DEFAULT_POLICY, ...policy } });
  }

  request(id: string, where: Where = {}): Stored {
    const fields = { tenantId: TENANT, requestId: id, person: 'ann', role: 'end_user', conversationId: null, deadlineMs: null };
    return this.append('support.requests', 'support_request', { ...fields, message: 'hi', metadata: null, sealed: null }, where);
  }
  queue(id: string, conversation = `c_${id}`): void {
    const { offset } = this.request(id);
    this.commit([this.queued(id, conversation)], { 'support.requests': offset + 1 });
    this.words(id, 'message', 1);
    this.acknowledged.push({ tenant: TENANT, request: `r_${id}`, said: 'queued' });
  }
  queued(id: string, conversation = `c_${id}`): Fields {
    const body = { person: 'p_ann', bodyDigest: '', source: 'http', arrival: 0, deadline: this.now + 60_000, estimate: 100 };
    return { type: 'request_queued', ...this.#of(id, conversation), ...body };
  }
  words(id: string, step: string, attempt: number): void {
    this.append('support.steps', 'support_step', { tenant: TENANT, ...this.#of(id), step, attempt, sealed: Buffer.alloc(1) });
  }

  hold(id: string, amount = 100, tokens = 1_000, conversation = `c_${id}`): void {
    this.commit([{ type: 'hold_placed', ...this.#of(id, conversation), ...WINDOWS, amount, tokens, degraded: null }]);
  }
  start(id: string, attempt = 1, worstCase = 60): void {
    const calls = { calls: 'model', worstTokens: 600, priceVersion: 1 };
    this.commit([{ type: 'step_started', ...this.#of(id), step: 'model-1', attempt, kind: 'read', worstCase, ...calls }]);
  }
  cost(id: string, amount = 40, inputTokens = 300): Fields {
    const spent = { step: 'model-1', attempt: 1, amount, inputTokens, outputTokens: 100, model: 'm', presumed: false, priceVersion: 1 };
    return { type: 'cost_recorded', ...this.#of(id), ...WINDOWS, ...spent };
  }
  result(id: string, amount = 40): void {
    this.commit([this.cost(id, amount), { type: 'step_finished', ...this.#of(id), step: 'model-1', attempt: 1, digest: '' }]);
    this.words(id, 'model-1', 1);
  }
  settled(id: string, settled = 40, held = 100): Fields {
    return { type: 'hold_settled', ...this.#of(id), ...WINDOWS, held, settled, heldTokens: 1_000, settledTokens: 400 };
  }
  finished(id: string, cost = 40): Fields {
    const times = { queuedMs: 1, ranMs: 1, ran: true, citations: 1, retryAfterMs: null };
    return { type: 'request_finished', ...this.#of(id), outcome: 'answered', reason: 'answered', degraded: null, cost, ...times };
  }
  told(id: string, outcome = 'answered', cost = 40): void {
    const said = { person: 'p_ann', outcome, reason: 'answered', degraded: null, cost, sealed: null };
    this.append('support.results', 'support_result', { tenant: TENANT, ...this.#of(id), ...said });
  }
  end(id: string): void {
    this.commit([this.settled(id), this.finished(id)]);
    this.told(id);
  }
  run(id: string): void {
    this.hold(id);
    this.start(id);
    this.result(id);
    this.end(id);
  }

  letter(offset: number, code = 'signature_missing'): void {
    const where = { tenant: TENANT, topic: 'support.requests', partition: 0, offset, code, why: '', digest: Buffer.alloc(0), size: 0, head: Buffer.alloc(0) };
    this.append('support.dead-letters', 'dead_letter', where);
  }

  /** What the auditor would have copied by now. */
  audit(): void {
    let hash: Uint8Array = new Uint8Array(32);
    let [sequence, time] = [0, 0];
    for (const { partition, offset, bytes, decoded } of this.topics['tenant.events'] ?? []) {
      if (decoded?.name === 'batch') time = decoded.value.time;
      else {
        const entry = { tenant: TENANT, sequence: ++sequence, partition, offset, time, event: Buffer.from(bytes as Uint8Array) };
        hash = link(hash, entry);
        this.append('audit.acme', 'audit_entry', { ...entry, hash: Buffer.from(hash) }, { key: String(sequence) });
      }
    }
  }

  evidence(): Evidence {
    const { topics, acknowledged, committed, cap } = this;
    return { partitions: 2, cap, topics, committed, acknowledged, idOf: (_tenant, _person, sent) => `r_${sent}`, partitionOf: () => 0 };
  }

  #of(id: string, conversation = `c_${id}`): Fields {
    return { request: `r_${id}`, conversation };
  }
}
