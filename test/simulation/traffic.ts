/** What producers and operators write: requests of three tenants, some twice, some with another body, and commands in between. */
import type { Command } from '#schemas/commands.ts';
import type { ConversationId, Instant, PersonId, RequestId, TenantId } from '#schemas/ids.ts';
import type { POLICY } from '#schemas/policy.ts';
import { commandMark } from '#streams/support/evolve.ts';
import type { CommandInput, RequestInput } from '#streams/support/input.ts';
import type { Chance } from './time.ts';

export const TENANTS = ['acme', 'globex', 'initech'] as TenantId[];
export type Produced = { readonly input: RequestInput | CommandInput; readonly digest: string; readonly poison?: 'unknown' | 'large' };
export type Pressure = Partial<Record<keyof typeof POLICY, number>>;

/** Tight in one world, loose in the next. */
export function pressure(chance: Chance): Pressure {
  const [requestCeiling, requestTokens] = [2_000, chance.pick([150, 300, 64_000])];
  const maxInFlight = chance.between(1, 4);
  const budgets = (ask: number) => (chance.next() < 0.4 ? chance.between(2, 40) * ask + chance.below(ask) : ask * 1_000);
  const sometimes = (low: number, high: number, otherwise: number) => (chance.next() < 0.3 ? chance.between(low, high) : otherwise);
  return {
    requestCeiling,
    requestTokens,
    budgetDay: budgets(requestCeiling),
    budgetMonth: budgets(requestCeiling),
    budgetTotal: budgets(requestCeiling),
    budgetTokensDay: budgets(requestTokens),
    budgetTokensMonth: budgets(requestTokens),
    budgetTokensTotal: budgets(requestTokens),
    maxInFlight,
    burst: maxInFlight,
    maxToolCalls: sometimes(1, 3, 16),
    maxSteps: sometimes(1, 2, 8),
    maxQueued: sometimes(2, 6, 1_000),
    requestsPerSecond: sometimes(1, 4, 50),
    rememberMs: chance.next() < 0.3 ? 60_000 : 86_400_000,
  };
}

function record(command: Command): Produced {
  const { tenantId: tenant, commandId } = command;
  return { input: { kind: 'command', tenant, mark: commandMark(commandId), command }, digest: JSON.stringify(command) };
}
const operator = (tenantId: TenantId, commandId: string) => ({ tenantId, commandId, by: 'operator', role: 'operator' }) as const;

export function createTenant(tenant: TenantId, limits: Pressure): Produced {
  return record({ type: 'create_tenant', ...operator(tenant, `create-${tenant}`), changes: JSON.stringify(limits) });
}

/** Its key stands for nothing: it is counted whenever it is told. */
export const isReport = ({ input }: Produced): boolean => input.kind === 'command' && input.command.type === 'report_refusals';

/** The same key for another command. */
export function otherCommand({ input }: Produced): Produced {
  const { tenantId, commandId } = (input as CommandInput).command;
  return record({ type: 'grant_budget', ...operator(tenantId, commandId), window: 'total', amount: 123, tokens: 0 });
}

export function resume(tenant: TenantId, id: string): Produced {
  return record({ type: 'resume_tenant', ...operator(tenant, id) });
}

const fact = (chance: Chance) => ({
  ...chance.pick([
    { kind: 'outside', amount: chance.between(1, 8_000), tokens: chance.below(300) },
    { kind: 'correction', amount: -chance.between(1, 1_000), tokens: -chance.below(100) },
  ] as const),
  reference: '',
});
/** Late facts belong to a window of some days before. */
const FIRST_FACT = Date.parse('2026-11-20T00:00:00Z');

/** Of the kinds that change what may start: most of them lower a limit while requests run. */
export function anyCommand(chance: Chance, at: number): Produced {
  const head = operator(chance.pick(TENANTS), `command-${at}`);
  const set = (changes: object): Produced => record({ type: 'set_policy', ...head, changes: JSON.stringify(changes), expectedVersion: null });
  const kinds: readonly (() => Produced)[] = [
    () => record({ type: 'suspend_tenant', ...head }),
    () => record({ type: 'resume_tenant', ...head }),
    () => set({ maxInFlight: chance.between(1, 3) }),
    () => set({ budgetDay: chance.between(0, 20) * 1_000 }),
    () => set({ maxQueued: chance.between(1, 5), maxQueuedPerConversation: chance.between(1, 3) }),
    () => set({ requestsPerSecond: chance.between(1, 5), burst: chance.between(1, 3) }),
    () => set({ budgetTokensDay: chance.between(0, 20) * 100 }),
    () => set({ maxToolCalls: 1, maxToolFanOut: 1, maxSteps: chance.between(1, 3) }),
    () => set({ requestCeiling: chance.between(1, 3) * 1_000 }),
    () => record({ type: 'report_refusals', ...head, limitName: 'requests_per_second', count: chance.between(1, 9), since: FIRST_FACT }),
    () => set({ weight: chance.between(50, 200), overloadPercent: chance.between(1, 100), fullAnswerMs: chance.below(2_000) }),
    () => record({ type: 'record_cost', ...head, ...fact(chance), incurredAt: chance.next() < 0.5 ? null : FIRST_FACT + chance.below(3_000) * 1_000 }),
    () =>
      record({
        type: 'grant_budget',
        ...head,
        window: chance.pick(['day', 'month', 'total']),
        amount: chance.between(-4, 10) * 1_000,
        tokens: chance.between(-2, 5) * 100,
      }),
  ];
  return chance.pick(kinds)();
}

const requestMark = (at: number): RequestId => `r_${String(at).padStart(22, '0')}` as RequestId;
export const numberOf = (request: string): number => Number(request.slice(2));

export type Shape = { readonly tenant: TenantId; readonly conversation: string; readonly deadlineMs: number; readonly text?: string };

export function request(at: number, { tenant, conversation, deadlineMs, text = '' }: Shape, digest = `digest of ${at}`): Produced {
  return {
    input: {
      kind: 'request',
      tenant,
      item: `c_${tenant}-${conversation}` as ConversationId,
      mark: requestMark(at),
      person: `p_${tenant}` as PersonId,
      bodyDigest: digest,
      source: 'http',
      appended: 0,
      deadlineMs,
      sealed: Buffer.from(JSON.stringify({ message: `question ${at} of ${tenant}${text}`, metadata: null })),
    },
    digest,
  };
}

export function anyRequest(chance: Chance, at: number): Produced {
  const conversation = chance.next() < 0.6 ? String(chance.below(6)) : `own-${at}`;
  const deadlineMs = chance.next() < 0.2 ? chance.below(1_500) : LONG_MS;
  return request(at, { tenant: chance.pick(TENANTS), conversation, deadlineMs });
}
/** No request waits so long once all is well. */
const LONG_MS = 600_000;

/** Of a tenant that nobody created, or with more words than one record may have. */
export function poisoned(chance: Chance, at: number, tooMuch: number): Produced {
  const unknown = chance.next() < 0.5;
  const shape = { tenant: unknown ? ('nobody' as TenantId) : chance.pick(TENANTS), conversation: `poison-${at}`, deadlineMs: LONG_MS };
  return { ...request(at, unknown ? shape : { ...shape, text: ' '.repeat(tooMuch) }), poison: unknown ? 'unknown' : 'large' };
}

export function appendedAt({ input }: Produced, timestamp: Instant): Produced['input'] {
  return input.kind === 'request' ? { ...input, appended: timestamp } : input;
}
