// A real Kafka in one process, without Docker: KRaft, SASL/SCRAM-SHA-512 for clients, ACLs by default-deny. Everything on loopback.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KAFKA_JARS } from './download.mjs';
import { Failure } from './failure.mjs';

/**
 * @typedef {{ java: string, dir: string, id?: number, port: number, controllerPort: number, adminPassword: string, heap?: string,
 *   voters?: { id: number, controllerPort: number }[], clusterId?: string }} Broker
 */
const CLUSTER_ID = 'ZXZlbmtlZWwtbG9jYWwtMQ';

/** @param {Broker} broker */
export function properties({ dir, id = 1, port, controllerPort, voters = [{ id, controllerPort }] }) {
  const copies = Math.min(voters.length, 3);
  return {
    'process.roles': 'broker,controller',
    'node.id': id,
    'controller.quorum.voters': voters.map((voter) => `${voter.id}@127.0.0.1:${voter.controllerPort}`).join(','),
    listeners: `CLIENT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `CLIENT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'CLIENT',
    'listener.security.protocol.map': 'CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT',
    'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
    'sasl.mechanism.inter.broker.protocol': 'SCRAM-SHA-512',
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'allow.everyone.if.no.acl.found': false,
    // The controller's listener has no SASL and is on loopback: the broker talks to itself there.
    'super.users': 'User:admin;User:ANONYMOUS',
    'auto.create.topics.enable': false,
    'log.dirs': join(dir, 'data'),
    'offsets.topic.replication.factor': copies,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.num.partitions': 4,
    'transaction.state.log.min.isr': Math.min(copies, 2),
    'default.replication.factor': copies,
    'min.insync.replicas': Math.min(copies, 2),
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1_000,
    // A broker that was killed is taken back only when its old session has run out: 9 s unless told otherwise.
    'broker.session.timeout.ms': 4_000,
    'broker.heartbeat.interval.ms': 1_000,
    'message.max.bytes': 5_242_880,
    'log.cleaner.backoff.ms': 5_000,
  };
}

/** Where the broker's own client finds its password. @param {string} password */
const jaas = (password) => `org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="${password}";`;

/** @param {Broker} broker @param {string} main @param {string[]} args */
function javaArgs({ heap = '512m', dir }, main, args) {
  return [
    `-Xmx${heap}`,
    '-XX:+UseG1GC',
    '-XX:+ExitOnOutOfMemoryError',
    `-Dkafka.logs.dir=${dir}`,
    `-Dlog4j2.configurationFile=${join(dir, 'log4j2.xml')}`,
    '-cp',
    `${KAFKA_JARS}/*`,
    main,
    ...args,
  ];
}

const LOGGING = `<?xml version="1.0" encoding="UTF-8"?>
<Configuration><Appenders><Console name="out"><PatternLayout pattern="%d %p %m (%c)%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root><Logger name="kafka.server.KafkaRaftServer" level="INFO"/></Loggers></Configuration>`;

/** Writes the settings, and formats the storage the first time. @param {Broker} broker */
export function prepareKafka(broker) {
  const { dir, adminPassword, java, clusterId = CLUSTER_ID } = broker;
  mkdirSync(dir, { recursive: true });
  const settings = { ...properties(broker), 'listener.name.client.scram-sha-512.sasl.jaas.config': jaas(adminPassword) };
  const file = join(dir, 'server.properties');
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
    { mode: 0o600 },
  );
  writeFileSync(join(dir, 'log4j2.xml'), LOGGING);
  if (existsSync(join(dir, 'data', 'meta.properties'))) return;
  const format = ['format', '--cluster-id', clusterId, '--config', file, '--add-scram', `SCRAM-SHA-512=[name=admin,password=${adminPassword}]`];
  const done = spawnSync(java, javaArgs(broker, 'kafka.tools.StorageTool', format), { encoding: 'utf8' });
  if (done.status !== 0) throw new Failure(`Kafka's storage in ${dir} could not be formatted:\n${(done.stderr || done.stdout).trim().slice(-1_000)}`);
}

/** @param {Broker} broker @param {import('node:child_process').StdioOptions} stdio */
export function spawnKafka(broker, stdio) {
  return spawn(broker.java, javaArgs(broker, 'kafka.Kafka', [join(broker.dir, 'server.properties')]), { stdio, detached: true });
}
