/** A support desk for the agent's tests: documents on a log in memory, and a journal that remembers its steps. */
import { documentsOf } from '#infra/demo/documents.ts';
import { DEMO_TENANTS } from '#infra/demo/tenants.ts';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import type { ConversationId, MicroUsd, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import type { RecordOf } from '#schemas/records.ts';
import { type AgentParts, createAgent } from '#services/runtime/agent/agent.ts';
import { AnswerCache } from '#services/runtime/agent/answer-cache.ts';
import type { Drafted } from '#services/runtime/agent/citations.ts';
import { type Models, modelsOf } from '#services/runtime/agent/models.ts';
import { Providers } from '#services/runtime/agent/providers.ts';
import { Knowledge } from '#services/runtime/agent/retrieval.ts';
import { RetryBudget } from '#services/runtime/agent/retry-budget.ts';
import type { StepAsk, StepCall, StepJournal } from '#services/runtime/journal.ts';
import type { AgentAsk } from '#services/runtime/turns.ts';
import { loadSecrets } from '#services/secrets.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';
import { PRICE_TABLES } from '#streams/support/pricing.ts';
import { newAccount } from '#streams/support/state.ts';

const codec = createCodec(localSchemas());
type Document = Partial<Omit<RecordOf<'knowledge_document'>, 'tenant'>> & { readonly tenant: string; readonly documentId: string; readonly content: string };

export function desk() {
  const broker = new MemoryBroker(() => 0);
  const log = memoryLog({ broker, topics: { history: 'tenant.events', words: 'support.steps' }, owned: () => true });
  const warnings: string[] = [];
  const knowledge = new Knowledge({
    log,
    codec,
    fail(error) {
      throw error;
    },
    warn: (message) => warnings.push(message),
  });
  const raw = (key: string, value: Uint8Array | null) => broker.append({ topic: 'support.knowledge', key, value }, 0);
  const put = (document: Document) => {
    const value = { title: document.documentId, version: '1', audience: 'everyone' as const, owner: null, ...document, tenant: document.tenant as TenantId };
    raw(`${document.tenant}/${document.documentId}`, codec.encode('knowledge_document', value));
  };
  const search = (tenant: string, question: string, { person = 'p_ada', agent = false } = {}) =>
    knowledge.search(tenant as TenantId, { person: person as PersonId, agent }, question, 8);
  return { broker, put, raw, search, warnings, agent: createAgent(agentParts(knowledge)), knowledge };
}

const OFFLINE = { modelUrl: undefined, model: undefined, cheaperModel: undefined, modelKeyName: undefined, modelDelayMs: 0 };
const GUARDS = { concurrency: 8, timeoutMs: 600, breakerMs: 200 };

/** An agent's parts; the offline models unless it is said otherwise. */
export function agentParts(knowledge: AgentParts['knowledge'], models: Models = modelsOf(OFFLINE, loadSecrets(undefined)), prices = PRICE_TABLES) {
  const watched = { calls: [] as string[], retries: 0, lookups: [] as boolean[] };
  const watch = { called: (model: string, outcome: string) => void watched.calls.push(`${model} ${outcome}`), retried: () => void watched.retries++ };
  const calls = { prices, providers: new Providers(GUARDS), retries: new RetryBudget(), watch };
  const lookedUp = (hit: boolean) => void watched.lookups.push(hit);
  return { knowledge, models, calls, answers: new AnswerCache<Drafted>(1_000_000), lookedUp, watched };
}

/** Remembers each step's result as the log would, in JSON. */
export function journal(held: StepJournal['left'] = { money: 20_000 as MicroUsd, tokens: 64_000 }) {
  const steps = new Map<string, string>();
  const asked: StepAsk[] = [];
  const costs: number[] = [];
  return {
    steps,
    asked,
    costs,
    left: held,
    state: (name: string) => (steps.has(name) ? ('done' as const) : undefined),
    async step<T>(name: string, ask: StepAsk, call: StepCall<T>): Promise<T> {
      const known = steps.get(name);
      if (known !== undefined) return JSON.parse(known) as T;
      asked.push(ask);
      const { value, cost } = await call({ cap: ask.worstCase }, new AbortController().signal);
      costs.push(cost);
      steps.set(name, JSON.stringify(value));
      return value;
    },
  };
}

export function askOf(tenant: string, message: string, more: Partial<AgentAsk> = {}): AgentAsk {
  const ids = { request: 'r_1' as RequestId, conversation: 'c_1' as ConversationId, person: 'p_ada' as PersonId };
  return {
    tenant: tenant as TenantId,
    ...ids,
    role: 'end_user',
    message,
    degraded: null,
    account: { ...newAccount(tenant as TenantId), policyVersion: 1 },
    startedAt: 0,
    deadline: 60_000,
    now: () => 0,
    ...more,
  };
}

/** The documentation of the demo's tenants, as the demo loads it. */
export function putDemo(put: (document: Document) => void): void {
  for (const demo of DEMO_TENANTS)
    for (const { id, title, content } of documentsOf(demo).documents) put({ tenant: demo.tenant, documentId: id, title, content });
}
