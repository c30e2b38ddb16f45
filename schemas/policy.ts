/** A tenant's policy: each field with its bounds, its default, and who may set it. Docs, validation and the Avro record follow. */
import { type Infer, list, long, record, type Shape, string, withDefault } from './avro.ts';
import { EvenkeelError } from './errors.ts';

export type Setter = 'operator' | 'tenant_admin';
type NumberField = { readonly by: Setter; readonly min: number; readonly max: number; readonly fallback: number; readonly unit: string };

const DAY_MS = 86_400_000;

/** Numbers. A tenant admin may set its own fields within the bounds; prices, ceilings, weight and retention are the operator's. */
export const POLICY = {
  requestsPerSecond: { by: 'operator', min: 1, max: 10_000, fallback: 20, unit: 'requests/s' },
  burst: { by: 'operator', min: 1, max: 100_000, fallback: 40, unit: 'requests' },
  maxInFlight: { by: 'operator', min: 1, max: 10_000, fallback: 8, unit: 'requests' },
  maxQueued: { by: 'operator', min: 1, max: 5_000_000, fallback: 1_000, unit: 'requests' },
  maxQueuedPerConversation: { by: 'operator', min: 1, max: 1_000, fallback: 50, unit: 'requests' },
  weight: { by: 'operator', min: 1, max: 1_000, fallback: 100, unit: 'hundredths' },
  budgetDay: { by: 'operator', min: 0, max: 1e15, fallback: 5_000_000, unit: 'micro-dollars' },
  budgetMonth: { by: 'operator', min: 0, max: 1e15, fallback: 100_000_000, unit: 'micro-dollars' },
  budgetTotal: { by: 'operator', min: 0, max: 1e15, fallback: 1_000_000_000_000, unit: 'micro-dollars' },
  budgetTokensDay: { by: 'operator', min: 0, max: 1e15, fallback: 1_000_000_000, unit: 'tokens' },
  budgetTokensMonth: { by: 'operator', min: 0, max: 1e15, fallback: 10_000_000_000, unit: 'tokens' },
  budgetTokensTotal: { by: 'operator', min: 0, max: 1e15, fallback: 1_000_000_000_000, unit: 'tokens' },
  /** What is held for a request that starts on the cheaper model; never more than requestCeiling. */
  cheaperCeiling: { by: 'operator', min: 1, max: 1e12, fallback: 5_000, unit: 'micro-dollars a request' },
  softPercent: { by: 'tenant_admin', min: 1, max: 100, fallback: 80, unit: 'percent of a budget' },
  requestCeiling: { by: 'operator', min: 1, max: 1e12, fallback: 20_000, unit: 'micro-dollars a request' },
  requestTokens: { by: 'operator', min: 1, max: 1e9, fallback: 64_000, unit: 'tokens a request' },
  maxSteps: { by: 'operator', min: 1, max: 1_000, fallback: 8, unit: 'steps a request' },
  maxToolCalls: { by: 'operator', min: 0, max: 10_000, fallback: 16, unit: 'tool calls in flight' },
  maxToolFanOut: { by: 'tenant_admin', min: 0, max: 100, fallback: 4, unit: 'tool calls at once a request' },
  /** With less time to its deadline a request starts on the cheaper model, and with less than the second on no model. */
  fullAnswerMs: { by: 'tenant_admin', min: 0, max: DAY_MS, fallback: 500, unit: 'ms' },
  cheaperAnswerMs: { by: 'tenant_admin', min: 0, max: DAY_MS, fallback: 200, unit: 'ms' },
  /** Of the queue: from here on the cheaper model answers, and from half-way to a full queue on no model. */
  overloadPercent: { by: 'tenant_admin', min: 1, max: 100, fallback: 50, unit: 'percent of the queue' },
  errorPercent: { by: 'tenant_admin', min: 1, max: 100, fallback: 20, unit: 'percent of requests' },
  deadlineMs: { by: 'tenant_admin', min: 100, max: DAY_MS, fallback: 60_000, unit: 'ms' },
  maxDeadlineMs: { by: 'operator', min: 100, max: DAY_MS, fallback: DAY_MS, unit: 'ms' },
  rememberMs: { by: 'operator', min: 60_000, max: 30 * DAY_MS, fallback: DAY_MS, unit: 'ms' },
} as const satisfies Record<string, NumberField>;

type NumberName = keyof typeof POLICY;

/** Names a secret of the tenant's own (services/secrets.ts), never the secret itself. */
const SECRET_REFERENCE = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** A public key that signs a tenant's own records; two may overlap during a rotation. */
const PRODUCER_KEY = record('producer_key', { kid: string, publicKey: string });
const MAX_PRODUCER_KEYS = 8;

const numbers = Object.fromEntries(Object.entries(POLICY).map(([name, field]) => [name, withDefault(long, field.fallback)])) as {
  readonly [K in NumberName]: Shape<number>;
};

export const POLICY_RECORD = record('tenant_policy', {
  ...numbers,
  producerKeys: withDefault(list(PRODUCER_KEY), []),
  /** The tenant's own model key, by its name among the tenant's secrets; empty: the platform's. */
  modelKey: withDefault(string, ''),
});
export type Policy = Infer<typeof POLICY_RECORD>;

export const DEFAULT_POLICY: Policy = {
  ...(Object.fromEntries(Object.entries(POLICY).map(([name, field]) => [name, field.fallback])) as Record<NumberName, number>),
  producerKeys: [],
  modelKey: '',
};

function invalid(path: string, why: string): EvenkeelError {
  return new EvenkeelError('policy_invalid', `policy.${path}: ${why}`);
}

function parseNumber(name: NumberName, value: unknown): number {
  const field: NumberField = POLICY[name];
  if (!Number.isSafeInteger(value)) throw invalid(name, `an integer of ${field.unit}`);
  const number = value as number;
  if (number < field.min || number > field.max) throw invalid(name, `${field.min} to ${field.max} ${field.unit}, not ${number}`);
  return number;
}

function parseKeys(value: unknown): Policy['producerKeys'] {
  if (!Array.isArray(value) || value.length > MAX_PRODUCER_KEYS) throw invalid('producerKeys', `a list of at most ${MAX_PRODUCER_KEYS} keys`);
  return value.map((key: unknown, at) => {
    const { kid, publicKey } = (key ?? {}) as { kid?: unknown; publicKey?: unknown };
    if (typeof kid !== 'string' || !/^[\w.-]{1,64}$/.test(kid)) throw invalid(`producerKeys[${at}].kid`, '1 to 64 of letters, digits, ._-');
    if (typeof publicKey !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(publicKey))
      throw invalid(`producerKeys[${at}].publicKey`, 'an Ed25519 public key, 32 bytes in base64url');
    return { kid, publicKey };
  });
}

function parseReference(value: unknown): string {
  if (typeof value !== 'string' || (value !== '' && !SECRET_REFERENCE.test(value)))
    throw invalid('modelKey', 'the name of a secret: up to 64 small letters, digits, ._-; empty for none');
  return value;
}

type OtherField = { readonly by: Setter; readonly bounds: string; readonly fallback: string; readonly unit: string; parse(value: unknown): unknown };
/** Fields that are no numbers. */
export const OTHER_POLICY = {
  producerKeys: { by: 'operator', bounds: `at most ${MAX_PRODUCER_KEYS}`, fallback: 'none', unit: 'kid and Ed25519 public key', parse: parseKeys },
  modelKey: { by: 'operator', bounds: 'at most 64 characters', fallback: 'the platform’s', unit: 'name of a secret', parse: parseReference },
} as const satisfies { readonly [K in Exclude<keyof Policy, NumberName>]: OtherField };

function isField<T extends object>(table: T, name: PropertyKey): name is keyof T {
  return Object.hasOwn(table, name);
}

/**
 * Lays `changes` over `current`.
 * @throws EvenkeelError `policy_invalid` with the field's path when a field is unknown, out of bounds or not this setter's
 */
export function applyPolicy(current: Policy, changes: unknown, by: Setter): Policy {
  if (typeof changes !== 'object' || changes === null || Array.isArray(changes)) throw invalid('', 'an object of fields');
  const next: Record<string, unknown> = { ...current };
  for (const [name, value] of Object.entries(changes)) {
    const number = isField(POLICY, name);
    if (!number && !isField(OTHER_POLICY, name))
      throw invalid(name, `unknown field; there are ${[...Object.keys(POLICY), ...Object.keys(OTHER_POLICY)].join(', ')}`);
    const setter: Setter = number ? POLICY[name].by : OTHER_POLICY[name].by;
    if (by !== 'operator' && setter === 'operator') throw invalid(name, 'only the operator sets it');
    next[name] = number ? parseNumber(name, value) : OTHER_POLICY[name].parse(value);
  }
  return next as Policy;
}
