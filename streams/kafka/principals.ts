/** Passwords and byte quotas of principals, which kafkajs cannot administer: another client's requests, over a connection of its own. */
import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from '@platformatic/kafka';
import { EvenkeelError } from '#schemas/errors.ts';
import type { KafkaSettings } from './client.ts';

/** A rate that is not given is taken away: the tables are the only word. */
export type QuotaOf = readonly [principal: string, rates: { readonly [K in (typeof RATES)[number]]?: number }];
const RATES = ['producer_byte_rate', 'consumer_byte_rate'] as const;
const SCRAM_ITERATIONS = 8_192;
const SHA_512 = 2;
/** A broker learns of a password a moment after the controller has taken it. */
const KNOWN_WITHIN_MS = 10_000;
const ASK_EVERY_MS = 50;

/** Five hundred files, for the provisioner alone: a service that starts does not wait for them. */
const client = () => import('@platformatic/kafka');

/**
 * Resolves when every broker that answers takes the new passwords: who is started next logs in at once, and is not asked twice.
 * @throws EvenkeelError `unavailable` when none of the brokers takes a connection, or one does not learn of the passwords
 */
export async function setPrincipals(settings: KafkaSettings, passwords: Readonly<Record<string, string>>, quotas: readonly QuotaOf[]): Promise<void> {
  const { alterClientQuotasV1, alterUserScramCredentialsV0 } = await client();
  const connection = await anyBroker(settings);
  try {
    const upserts = Object.entries(passwords).map(([name, password]) => {
      const salt = randomBytes(32);
      const saltedPassword = pbkdf2Sync(password, salt, SCRAM_ITERATIONS, 64, 'sha512');
      return { name, mechanism: SHA_512, iterations: SCRAM_ITERATIONS, salt, saltedPassword };
    });
    await alterUserScramCredentialsV0.api.async(connection, [], upserts);
    const entries = quotas.map(([entityName, rates]) => ({
      entities: [{ entityType: 'user' as const, entityName }],
      ops: RATES.map((key) => operation(key, rates[key])),
    }));
    await alterClientQuotasV1.api.async(connection, entries, false);
  } finally {
    await connection.close();
  }
  // They were set by one request: who knows the last knows them all.
  const last = Object.entries(passwords).at(-1);
  if (last) await Promise.all(settings.brokers.map((broker) => known(broker, { ...settings, username: last[0], password: last[1] })));
}

async function known(broker: string, settings: KafkaSettings): Promise<void> {
  const { AuthenticationError } = await client();
  for (const end = performance.now() + KNOWN_WITHIN_MS; ; await delay(ASK_EVERY_MS)) {
    try {
      return await (await connect(broker, settings)).close();
    } catch (error) {
      const refused = [error, (error as Error).cause].some((each) => each instanceof AuthenticationError);
      // One that is away reads all of it when it comes back.
      if (!refused) return;
      if (performance.now() > end) throw new EvenkeelError('unavailable', `${broker} does not know the password of ${settings.username}`, { cause: error });
    }
  }
}

function operation(key: (typeof RATES)[number], value: number | undefined) {
  return value === undefined ? ({ key, remove: true } as const) : ({ key, value, remove: false } as const);
}

async function anyBroker(settings: KafkaSettings): Promise<Connection> {
  let last: unknown;
  for (const broker of settings.brokers) {
    try {
      return await connect(broker, settings);
    } catch (error) {
      last = error;
    }
  }
  throw new EvenkeelError('unavailable', `no broker of ${settings.brokers.join(', ')} takes a connection`, { cause: last });
}

async function connect(broker: string, { username, password, tls }: KafkaSettings): Promise<Connection> {
  const { Connection } = await client();
  const { hostname, port } = new URL(`kafka://${broker}`);
  const sasl = username === undefined ? {} : { sasl: { mechanism: 'SCRAM-SHA-512' as const, username, password: password ?? '' } };
  const connection = new Connection('evenkeel-provision', { ...sasl, ...(tls ? { tls: {} } : {}) });
  await connection.connect(hostname.replace(/^\[|\]$/g, ''), Number(port || 9092));
  return connection;
}
