/**
 * Topics, principals, ACLs, quotas and schemas, from the tables: `node infra/provision.ts`, or one tenant's own with `--tenant <id>`.
 * Only the provisioner creates them.
 * Environment: KAFKA_BROKERS, KAFKA_USERNAME, KAFKA_PASSWORD (an administrator), SCHEMA_REGISTRY_URL and EVENKEEL_PRINCIPALS_FILE, a JSON
 * object of passwords by principal, in which `auditor-<tenant>` and `producer-<tenant>` also provision that tenant's audit topic and rights.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { EvenkeelError } from '#schemas/errors.ts';
import { isTenantId, tenantId } from '#schemas/ids.ts';
import { auditPrincipal, producerPrincipal } from '#schemas/topics.ts';
import { provision, provisionTenant } from '#streams/kafka/admin.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { registerSchemas } from '#streams/kafka/registry.ts';

const { KAFKA_BROKERS = '127.0.0.1:8083', KAFKA_USERNAME, KAFKA_PASSWORD, KAFKA_TLS, SCHEMA_REGISTRY_URL, EVENKEEL_PRINCIPALS_FILE } = process.env;
if (!SCHEMA_REGISTRY_URL || !EVENKEEL_PRINCIPALS_FILE) {
  console.error('SCHEMA_REGISTRY_URL and EVENKEEL_PRINCIPALS_FILE must be set.');
  process.exit(2);
}
const { values: only } = parseArgs({ options: { tenant: { type: 'string' } } });
const passwords = JSON.parse(readFileSync(EVENKEEL_PRINCIPALS_FILE, 'utf8')) as Record<string, string>;
const tenants = [...new Set(Object.keys(passwords).flatMap((principal) => /^(?:auditor|producer)-(.+)$/.exec(principal)?.[1] ?? []))].filter(isTenantId);
const settings = {
  brokers: KAFKA_BROKERS.split(','),
  username: KAFKA_USERNAME,
  password: KAFKA_PASSWORD,
  tls: KAFKA_TLS === 'true',
  clientId: 'evenkeel-provision',
};
const target = { kafka: createKafka(settings), settings };

function one(text: string) {
  const tenant = tenantId(text);
  if (tenants.includes(tenant)) return provisionTenant({ ...target, tenant, passwords });
  const names = `${auditPrincipal(tenant)} or ${producerPrincipal(tenant)}`;
  throw new EvenkeelError('setting_invalid', `${EVENKEEL_PRINCIPALS_FILE} has no password for ${names}`);
}

try {
  const [done, schemas] = await Promise.all(
    only.tenant === undefined ? [provision({ ...target, passwords, tenants }), registerSchemas(SCHEMA_REGISTRY_URL)] : [one(only.tenant), []],
  );
  console.log(`topics      ${done.topics} created`);
  console.log(`ACLs        ${done.acls} in force`);
  console.log(`principals  ${done.principals} with passwords`);
  console.log(`quotas      ${done.quotas} in force`);
  console.log(`schemas     ${schemas.length} registered`);
} catch (error) {
  if (!(error instanceof EvenkeelError)) throw error;
  console.error(`${error.title}: ${error.message}`);
  process.exitCode = 1;
}
