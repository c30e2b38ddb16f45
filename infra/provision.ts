/**
 * Topics, principals, ACLs and schemas, from the tables: `node infra/provision.ts`. Only the provisioner creates them.
 * Environment: KAFKA_BROKERS, KAFKA_USERNAME, KAFKA_PASSWORD (an administrator), SCHEMA_REGISTRY_URL and EVENKEEL_PRINCIPALS_FILE, a JSON
 * object of passwords by principal, in which `auditor-<tenant>` also provisions that tenant's audit topic.
 */
import { readFileSync } from 'node:fs';
import { isTenantId } from '#schemas/ids.ts';
import { provision } from '#streams/kafka/admin.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { registerSchemas } from '#streams/kafka/registry.ts';

const { KAFKA_BROKERS = '127.0.0.1:8083', KAFKA_USERNAME, KAFKA_PASSWORD, KAFKA_TLS, SCHEMA_REGISTRY_URL, EVENKEEL_PRINCIPALS_FILE } = process.env;
if (!SCHEMA_REGISTRY_URL || !EVENKEEL_PRINCIPALS_FILE) {
  console.error('SCHEMA_REGISTRY_URL and EVENKEEL_PRINCIPALS_FILE must be set.');
  process.exit(2);
}
const passwords = JSON.parse(readFileSync(EVENKEEL_PRINCIPALS_FILE, 'utf8')) as Record<string, string>;
const tenants = Object.keys(passwords)
  .map((principal) => principal.replace(/^auditor-/, ''))
  .filter((name, at) => name !== Object.keys(passwords)[at])
  .filter(isTenantId);
const settings = {
  brokers: KAFKA_BROKERS.split(','),
  username: KAFKA_USERNAME,
  password: KAFKA_PASSWORD,
  tls: KAFKA_TLS === 'true',
  clientId: 'evenkeel-provision',
};
const [done] = await Promise.all([provision({ kafka: createKafka(settings), settings, passwords, tenants }), registerSchemas(SCHEMA_REGISTRY_URL)]);
console.log(`${done.topics} topics created, ${done.acls} ACLs, ${done.principals} principals, schemas registered`);
