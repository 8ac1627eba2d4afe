import { type ChildProcessWithoutNullStreams, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { authority, serverCertificate, serverKey } from '../certificates.ts';
import { closedPort } from '../misbehaving-http.ts';

const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
/** Where `.ci/run` has Maven put Apache Kafka. */
const jars = join(cache, 'eventide', 'kafka-4.1.1');
/** The class path of Apache Kafka, as `java -cp` takes it. */
export const kafkaClasses = join(jars, '*');

/** Whether Java is there, and Apache Kafka where `.ci/run` puts it: without them these tests are skipped. */
export const kafkaInstalled =
  existsSync(join(jars, 'kafka_2.13-4.1.1.jar')) && spawnSync('java', ['-version']).status === 0;

const quiet = ['-XX:TieredStopAtLevel=1', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error'];

const host = '127.0.0.1';
const listeners = ['plaintext', 'controller', 'sasl', 'ssl', 'mtls', 'saslssl', 'oauth'] as const;
const protocols: Record<(typeof listeners)[number], string> = {
  plaintext: 'PLAINTEXT',
  controller: 'PLAINTEXT',
  sasl: 'SASL_PLAINTEXT',
  ssl: 'SSL',
  mtls: 'SSL',
  saslssl: 'SASL_SSL',
  oauth: 'SASL_PLAINTEXT',
};

/** Somebody who may log in, with PLAIN and with SCRAM. */
export const user = { username: 'alice', password: 'alice-and-her=secret' };

/** A broker that is running. */
export interface Kafka extends AsyncDisposable {
  /** `host:port` of each listener: `sasl` and `saslssl` take PLAIN and SCRAM, `oauth` takes unsigned tokens. */
  address: Record<(typeof listeners)[number], string>;
  /** Runs a command of Tool.java, and resolves with what it says. */
  tool(...words: (string | number)[]): Promise<string>;
  stop(): Promise<void>;
  restart(): Promise<void>;
}

/** A broker that another one is the controller of. */
export interface SecondKafka extends AsyncDisposable {
  stop(): Promise<void>;
  start(): Promise<void>;
}

const clusterId = 'MkU3OEVBNTcwNTJENDM2Qg';

/** Starts a broker that is its own controller; a temporary folder holds what it stores. */
export async function startKafka(): Promise<Kafka> {
  const folder = await mkdtemp(join(tmpdir(), 'eventide-kafka-'));
  const ports = await Promise.all(listeners.map(() => closedPort()));
  const address = Object.fromEntries(
    listeners.map((name, index) => [name, `${host}:${ports[index]}`]),
  ) as Kafka['address'];
  const file = join(folder, 'server.properties');
  await writeFile(file, settings(folder, address));
  const scram = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap(mechanism => [
    '--add-scram',
    `${mechanism}=[name="${user.username}",password="${user.password}"]`,
  ]);
  await format(file, scram);

  let server = await startServer(file);
  let tool: Tool | undefined;
  return {
    address,
    async tool(...words) {
      tool ??= await startTool(address.plaintext);
      return await tool.run(words);
    },
    // A broker that was killed is not let in again before its session is over, which takes 9 seconds.
    stop: () => server.stop('SIGTERM'),
    async restart() {
      await server.stop('SIGTERM');
      // Its clients would be busy with what they missed.
      await tool?.stop();
      tool = undefined;
      server = await startServer(file);
    },
    async [Symbol.asyncDispose]() {
      await tool?.stop();
      await server.stop('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Starts broker 2 of the cluster, with nothing but a plaintext listener. */
export async function startSecond(first: Kafka): Promise<SecondKafka> {
  const folder = await mkdtemp(join(tmpdir(), 'eventide-kafka-'));
  const file = join(folder, 'server.properties');
  const more = {
    'process.roles': 'broker',
    'node.id': '2',
    'controller.quorum.voters': `1@${first.address.controller}`,
    listeners: `PLAINTEXT://${host}:${await closedPort()}`,
    'log.dirs': join(folder, 'data'),
  };
  await writeFile(file, text({ ...shared, ...more }));
  await format(file, []);
  let server = await startServer(file);
  return {
    stop: () => server.stop('SIGTERM'),
    async start() {
      server = await startServer(file);
    },
    async [Symbol.asyncDispose]() {
      await server.stop('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function format(file: string, more: readonly string[]): Promise<void> {
  const tool = ['kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', file, ...more];
  await promisify(execFile)('java', [...quiet, '-cp', kafkaClasses, ...tool]);
}

const text = (settings: Readonly<Record<string, string>>) =>
  Object.entries(settings)
    .map(([name, value]) => `${name}=${value.replaceAll('\n', '\\n')}\n`)
    .join('');

const each = (write: (name: (typeof listeners)[number]) => string) => listeners.map(write).join(',');

const shared: Readonly<Record<string, string>> = {
  'controller.listener.names': 'CONTROLLER',
  'inter.broker.listener.name': 'PLAINTEXT',
  'listener.security.protocol.map': each(name => `${name.toUpperCase()}:${protocols[name]}`),
  'auto.create.topics.enable': 'false',
  'offsets.topic.num.partitions': '4',
  'offsets.topic.replication.factor': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'group.initial.rebalance.delay.ms': '0',
  'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
  'allow.everyone.if.no.acl.found': 'true',
  'super.users': 'User:ANONYMOUS',
};

function settings(folder: string, address: Kafka['address']): string {
  const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_${user.username}="${user.password}";`;
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  const bearer =
    'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";';
  const all: Record<string, string> = {
    ...shared,
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@${address.controller}`,
    listeners: each(name => `${name.toUpperCase()}://${address[name]}`),
    'log.dirs': join(folder, 'data'),
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.certificate.chain': serverCertificate,
    'ssl.keystore.key': serverKey,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.certificates': authority,
    'listener.name.mtls.ssl.client.auth': 'required',
    'listener.name.oauth.sasl.enabled.mechanisms': 'OAUTHBEARER',
    'listener.name.oauth.oauthbearer.sasl.jaas.config': bearer,
    'listener.name.oauth.oauthbearer.connections.max.reauth.ms': '3600000',
  };
  for (const name of ['sasl', 'saslssl']) {
    all[`listener.name.${name}.sasl.enabled.mechanisms`] = 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512';
    all[`listener.name.${name}.plain.sasl.jaas.config`] = plain;
    all[`listener.name.${name}.scram-sha-256.sasl.jaas.config`] = scram;
    all[`listener.name.${name}.scram-sha-512.sasl.jaas.config`] = scram;
  }
  return text(all);
}

async function startServer(file: string): Promise<{ stop(signal: NodeJS.Signals): Promise<void> }> {
  const memory = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
  const child = spawn('java', [...memory, '-cp', kafkaClasses, 'kafka.Kafka', file]);
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    const hear = (line: string) => {
      said.push(line);
      if (said.length > 200) said.shift();
      if (line.includes('Kafka Server started')) resolve();
    };
    createInterface({ input: child.stdout }).on('line', hear);
    createInterface({ input: child.stderr }).on('line', hear);
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`Kafka ended with ${code}\n${said.join('\n')}`)));
  });
  return { stop: signal => end(child, signal) };
}

interface Tool {
  run(words: (string | number)[]): Promise<string>;
  stop(): Promise<void>;
}

async function startTool(address: string): Promise<Tool> {
  const source = fileURLToPath(new URL('Tool.java', import.meta.url));
  const child = spawn('java', [...quiet, '-cp', kafkaClasses, source, address]);
  child.stderr.pipe(process.stderr);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  let turn: Promise<unknown> = Promise.resolve();
  const ask = async (words: (string | number)[]) => {
    child.stdin.write(`${words.join('\t')}\n`);
    const { value = 'error\tit has ended' } = await lines.next();
    const [outcome, ...rest] = String(value).split('\t');
    if (outcome !== 'ok') throw new Error(`${words.join(' ')}: ${rest.join(' ')}`);
    return rest.join('\t');
  };
  return {
    run(words) {
      const answer = turn.then(() => ask(words));
      turn = answer.catch(() => undefined);
      return answer;
    },
    stop: () => end(child, 'SIGKILL'),
  };
}

async function end(child: ChildProcessWithoutNullStreams, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
}
