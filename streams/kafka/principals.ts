/** Passwords and byte quotas of principals, which kafkajs cannot administer: another client's requests, over a connection of its own. */
import { pbkdf2Sync, randomBytes } from 'node:crypto';
import type { Connection } from '@platformatic/kafka';
import { EvenkeelError } from '#schemas/errors.ts';
import type { KafkaSettings } from './client.ts';

/** A rate that is not given is taken away: the tables are the only word. */
export type QuotaOf = readonly [principal: string, rates: { readonly [K in (typeof RATES)[number]]?: number }];
const RATES = ['producer_byte_rate', 'consumer_byte_rate'] as const;
const SCRAM_ITERATIONS = 8_192;
const SHA_512 = 2;

/** Five hundred files, for the provisioner alone: a service that starts does not wait for them. */
const client = () => import('@platformatic/kafka');

/** @throws EvenkeelError `unavailable` when none of the brokers takes a connection */
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
}

function operation(key: (typeof RATES)[number], value: number | undefined) {
  return value === undefined ? ({ key, remove: true } as const) : ({ key, value, remove: false } as const);
}

async function anyBroker({ brokers, username, password, tls }: KafkaSettings): Promise<Connection> {
  const { Connection } = await client();
  let last: unknown;
  for (const broker of brokers) {
    const { hostname, port } = new URL(`kafka://${broker}`);
    const sasl = username === undefined ? {} : { sasl: { mechanism: 'SCRAM-SHA-512' as const, username, password: password ?? '' } };
    const connection = new Connection('evenkeel-provision', { ...sasl, ...(tls ? { tls: {} } : {}) });
    try {
      await connection.connect(hostname.replace(/^\[|\]$/g, ''), Number(port || 9092));
      return connection;
    } catch (error) {
      last = error;
    }
  }
  throw new EvenkeelError('unavailable', `no broker of ${brokers.join(', ')} takes a connection`, { cause: last });
}
