/** Every setting, in one table: the only reader of the environment. The README's table is generated from it. */
import { EvenkeelError } from '#schemas/errors.ts';

type Setting<T> = {
  readonly env: string;
  /** undefined: it must be set. */
  readonly fallback: string | undefined;
  readonly secret?: true;
  readonly doc: string;
  readonly parse: (text: string) => T;
};

const text = (value: string): string => value;
const optional = (value: string): string | undefined => (value === '' ? undefined : value);
const brokers = (value: string): readonly string[] => {
  const found = value.split(',').map((each) => each.trim());
  if (!found.every((each) => /^[^\s/:]+:\d{1,5}$|^\[[\da-f:]+\]:\d{1,5}$/i.test(each))) throw new Error('host:port, comma-separated');
  return found;
};
const url = (value: string): string => {
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) throw new Error('an http or https address');
  return value;
};
const optionalUrl = (value: string): string | undefined => (value === '' ? undefined : url(value));
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const level = (value: string): (typeof LEVELS)[number] => {
  const found = LEVELS.find((each) => each === value);
  if (!found) throw new Error(`one of ${LEVELS.join(', ')}`);
  return found;
};
const flag = (value: string): boolean => {
  if (value !== 'true' && value !== 'false') throw new Error('true or false');
  return value === 'true';
};
const integer =
  (min: number, max: number) =>
  (value: string): number => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    if (!Number.isSafeInteger(number) || number < min || number > max) throw new Error(`an integer from ${min} to ${max}`);
    return number;
  };
const key = (value: string): Uint8Array => {
  if (!/^[0-9a-f]{64}$/i.test(value)) throw new Error('64 hexadecimal digits (32 bytes)');
  return Buffer.from(value, 'hex');
};

function setting<T>(env: string, fallback: string | undefined, parse: (text: string) => T, doc: string, secret?: true): Setting<T> {
  return { env, fallback, parse, doc, ...(secret ? { secret } : {}) };
}

export const SETTINGS = {
  brokers: setting('KAFKA_BROKERS', '127.0.0.1:8083', brokers, 'Kafka brokers, comma-separated'),
  kafkaUsername: setting('KAFKA_USERNAME', '', optional, "this service's Kafka principal (SASL/SCRAM-SHA-512)"),
  kafkaPassword: setting('KAFKA_PASSWORD', '', optional, 'its password', true),
  kafkaTls: setting('KAFKA_TLS', 'false', flag, 'whether the brokers speak TLS'),
  registryUrl: setting('SCHEMA_REGISTRY_URL', 'http://127.0.0.1:8082/apis/ccompat/v7', url, "the schema registry, Confluent's API"),
  masterKey: setting(
    'EVENKEEL_MASTER_KEY',
    undefined,
    key,
    'the key from which all others are derived, 64 hexadecimal digits; npm start makes one, else: openssl rand -hex 32',
    true,
  ),
  dataDir: setting('EVENKEEL_DATA_DIR', '.evenkeel/data', text, 'where this process keeps its local stores'),
  httpHost: setting('EVENKEEL_HTTP_HOST', '127.0.0.1', text, "the gateway's address"),
  httpPort: setting('EVENKEEL_HTTP_PORT', '8080', integer(1, 65_535), "the gateway's port"),
  opsHost: setting(
    'EVENKEEL_OPS_HOST',
    '127.0.0.1',
    text,
    'address of the ops port; 0.0.0.0 where gateway and runtimes are apart, in a network of their own: the gateway asks a runtime by its host name',
  ),
  opsPort: setting('EVENKEEL_OPS_PORT', '8081', integer(1, 65_535), 'port of /metrics, /healthz and /readyz'),
  instance: setting('EVENKEEL_INSTANCE', 'evenkeel', text, "this process's name in logs and metrics"),
  issuersFile: setting('EVENKEEL_ISSUERS_FILE', '.evenkeel/issuers.json', text, 'JSON: token issuers, their keys and the tenants they may speak for'),
  gatewayUrl: setting('EVENKEEL_GATEWAY_URL', 'http://127.0.0.1:8080', url, 'where the command line finds the gateway'),
  token: setting('EVENKEEL_TOKEN', '', optional, 'a token for the command line, where the issuer is not the local one', true),
  home: setting('EVENKEEL_HOME', '.evenkeel', text, 'where npm start keeps addresses and secrets, which the command line reads'),
  inFlightPerPartition: setting('EVENKEEL_IN_FLIGHT_PER_PARTITION', '64', integer(1, 100_000), 'requests that run at once in one partition'),
  pricesFile: setting('EVENKEEL_PRICES_FILE', '', optional, "JSON: the operator's prices in versions with an effective start; without it, the built-in ones"),
  modelUrl: setting('EVENKEEL_MODEL_URL', '', optionalUrl, 'an OpenAI-compatible endpoint, with its /v1; without it, the offline models answer'),
  model: setting('EVENKEEL_MODEL', '', optional, 'the model of a full answer at that endpoint; EVENKEEL_PRICES_FILE must price it'),
  cheaperModel: setting('EVENKEEL_CHEAPER_MODEL', '', optional, 'the model of the rung below, at the same endpoint'),
  modelKeyName: setting('EVENKEEL_MODEL_KEY_NAME', '', optional, "the name, in EVENKEEL_SECRETS_FILE, of the platform's key for that endpoint"),
  secretsFile: setting('EVENKEEL_SECRETS_FILE', '', optional, 'JSON: names and secrets, a tenant’s own as tenant/name'),
  modelTimeoutMs: setting('EVENKEEL_MODEL_TIMEOUT_MS', '20000', integer(100, 600_000), 'how long a call to that endpoint may take'),
  modelConcurrency: setting(
    'EVENKEEL_MODEL_CONCURRENCY',
    '64',
    integer(1, 100_000),
    'calls at once for each credential and model; of a shared one a tenant may make half',
  ),
  breakerMs: setting('EVENKEEL_BREAKER_MS', '10000', integer(10, 3_600_000), 'how long an open breaker keeps calls away before it tries one'),
  answerCacheBytes: setting(
    'EVENKEEL_ANSWER_CACHE_BYTES',
    '33554432',
    integer(0, 2 ** 34),
    'memory for answers that may be given again, an eighth for each tenant at most',
  ),
  snapshotEvery: setting(
    'EVENKEEL_SNAPSHOT_EVERY',
    '100000',
    integer(100, 1_000_000_000),
    "offsets of a partition's history after which its state is written to tenant.snapshots; a lost disk costs the folding of about as many events",
  ),
  modelDelayMs: setting('EVENKEEL_MODEL_DELAY_MS', '0', integer(0, 600_000), 'how long the offline model takes, to try out slow models'),
  wedgedAfterMs: setting(
    'EVENKEEL_WEDGED_AFTER_MS',
    '30000',
    integer(1_000, 3_600_000),
    'how long the event loop, a transaction, the group or a partition with lag may stand still before the process ends itself with exit code 75',
  ),
  logLevel: setting('EVENKEEL_LOG_LEVEL', 'info', level, LEVELS.join(', ')),
} as const;

type Values = { readonly [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['parse']> };
export type Config = Values & {
  readonly kafka: {
    readonly brokers: readonly string[];
    readonly username: string | undefined;
    readonly password: string | undefined;
    readonly tls: boolean;
  };
};

/** @throws EvenkeelError `setting_invalid`, which names the setting and what it takes; a secret's value is never shown */
export function loadConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const entries = Object.entries(SETTINGS).map(([name, each]) => [name, read(each as Setting<unknown>, env)]);
  const values = Object.fromEntries(entries) as Values;
  const { brokers: hosts, kafkaUsername: username, kafkaPassword: password, kafkaTls: tls } = values;
  if ((username === undefined) !== (password === undefined))
    throw new EvenkeelError(
      'setting_invalid',
      `KAFKA_USERNAME and KAFKA_PASSWORD go together: set ${username === undefined ? 'KAFKA_USERNAME' : 'KAFKA_PASSWORD'} too, or neither`,
    );
  return { ...values, kafka: { brokers: hosts, username, password, tls } };
}

function read({ env, fallback, parse, doc, secret }: Setting<unknown>, from: Readonly<Record<string, string | undefined>>): unknown {
  // Empty is unset: compose files and shells pass on what nobody has set as an empty text.
  const value = from[env] || fallback;
  if (value === undefined) throw new EvenkeelError('setting_invalid', `${env} must be set: ${doc}`);
  try {
    return parse(value);
  } catch (cause) {
    // An address may carry a password.
    const shown = secret ? 'its value' : `"${value.replace(/\/\/[^@]*@/, '//…@')}"`;
    throw new EvenkeelError('setting_invalid', `${env}: ${shown} is not ${(cause as Error).message} (${doc})`, { cause });
  }
}

/** The README's table. */
export function settingsTable(): string {
  const rows = Object.values(SETTINGS).map(({ env, fallback, doc, secret }) => {
    const shown = fallback === undefined ? '*must be set*' : fallback === '' ? '' : `\`${fallback}\``;
    return `| \`${env}\` | ${shown} | ${doc}${secret ? ' (secret)' : ''} |`;
  });
  return ['| Setting | Default | Meaning |', '|---|---|---|', ...rows].join('\n');
}

/** One setting, undefined where the environment does not set it: the command line then asks what runs on this machine. */
export function settingOf<N extends keyof typeof SETTINGS>(name: N, env: Readonly<Record<string, string | undefined>> = process.env): Values[N] | undefined {
  const each = SETTINGS[name] as Setting<unknown>;
  return env[each.env] ? (read(each, env) as Values[N]) : undefined;
}

/** Names of the settings that no log may show. */
export const SECRET_SETTINGS: readonly string[] = Object.entries(SETTINGS).flatMap(([name, each]) => ((each as Setting<unknown>).secret ? [name] : []));
