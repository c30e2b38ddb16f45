/** Makes a tenant: its topic, principals and rights on Kafka with an administrator's credentials, then the command. */
import pc from 'picocolors';
import type { TenantId } from '#schemas/ids.ts';
import { auditPrincipal, auditTopic, producerPrincipal } from '#schemas/topics.ts';
import { type Provisioned, provisionTenant } from '#streams/kafka/admin.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { EXIT } from '../exit.ts';
import type { Terminal } from './command.ts';
import { ADMINISTRATOR, kafkaAccess, keptPasswords, PRINCIPALS_FILE } from './local.ts';
import { overKafka } from './log.ts';
import { Operator, say } from './operator.ts';

export type Creation = { readonly tenant: TenantId; readonly changes: object; readonly key: string | undefined; readonly json: boolean };

/** Provisioning may be repeated, the command may not: so a half-made tenant is finished by the same call. */
export async function createTenant({ tenant, changes, key, json }: Creation, terminal: Terminal): Promise<number> {
  const operator = await Operator.connect();
  const provisioned = await provisionOnKafka(tenant);
  const done = await operator.command('POST', '/v1/tenants', { tenant_id: tenant, policy: changes }, key);
  const principals = [auditPrincipal(tenant), producerPrincipal(tenant)];
  say(done, json, terminal, { topic: auditTopic(tenant), principals, provisioned });
  if (json) return EXIT.ok;
  terminal.out(pc.dim(`topic       ${auditTopic(tenant)}${provisioned.topics === 0 ? ', which was there' : ''}`));
  terminal.out(pc.dim(`principals  ${principals.join(', ')}; ${provisioned.acls} ACLs, ${provisioned.quotas} quotas; passwords in ${PRINCIPALS_FILE}`));
  terminal.note(`Next: npm run tenant -- show ${tenant}, or ask it: npm run ask -- --tenant ${tenant} "…"`);
  return EXIT.ok;
}

async function provisionOnKafka(tenant: TenantId): Promise<Provisioned> {
  const { registryUrl: _, ...access } = await kafkaAccess(ADMINISTRATOR);
  const settings = { ...access, clientId: 'evenkeel-cli' };
  return overKafka(settings, async () => {
    const passwords = await keptPasswords([auditPrincipal(tenant), producerPrincipal(tenant)]);
    return provisionTenant({ kafka: createKafka(settings), settings, tenant, passwords });
  });
}
