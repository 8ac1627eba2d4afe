import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import { authority, serverCertificate, serverKey } from './certificates.ts';
import { closedPort } from './misbehaving-http.ts';

const command = '/usr/lib/rabbitmq/bin/rabbitmq-server';

/** Whether Debian's rabbitmq-server is installed: without it these tests are skipped. */
export const rabbitInstalled = existsSync(command);

const host = '127.0.0.1';
const plugins = ['rabbitmq_management', 'rabbitmq_auth_mechanism_ssl'];

export interface RabbitConnection {
  name: string;
  channels: number;
}

/** A running broker with the management API, and a way to look into it. */
export interface RabbitServer extends AsyncDisposable {
  host: string;
  /** Of AMQP, AMQP over TLS, and the management API plainly and over TLS. */
  ports: { amqp: number; amqps: number; http: number; https: number };
  /** `amqp://guest:guest@host:port` */
  amqp: string;
  /** `http://guest:guest@host:port` */
  http: string;
  /** A channel of a client that is not ours, in the virtual host `/`. */
  channel: Channel;
  /** The command `rabbitmqctl`, with the environment it needs. */
  control: string;
  env: Record<string, string>;
  /** Asks the management API, as an administrator. */
  manage(method: string, path: string, body?: unknown): Promise<unknown>;
  /** Connections that are open, except the one of `channel`, once the statistics have them. */
  connections(): Promise<RabbitConnection[]>;
  /** Ends the process; durable queues and persistent messages stay. */
  stop(): Promise<void>;
  /** Starts the process again, on the same ports. */
  restart(): Promise<void>;
}

/**
 * Starts a broker on 127.0.0.1, with nothing in it.
 *
 * @param config more lines of rabbitmq.conf
 * @param advanced what only Erlang's own configuration can say
 */
export async function startRabbit(config: readonly string[] = [], advanced = '[].'): Promise<RabbitServer> {
  const folder = await mkdtemp(join(tmpdir(), 'rabbitmq-'));
  const [amqp = 0, amqps = 0, http = 0, https = 0, dist = 0, mapper = 0] = await Promise.all(
    Array.from({ length: 6 }, closedPort),
  );
  const files = { 'ca.pem': authority, 'cert.pem': serverCertificate, 'key.pem': serverKey };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const tls = (prefix: string) => [
    `${prefix}.cacertfile = ${folder}/ca.pem`,
    `${prefix}.certfile = ${folder}/cert.pem`,
    `${prefix}.keyfile = ${folder}/key.pem`,
    `${prefix}.verify = verify_peer`,
    `${prefix}.fail_if_no_peer_cert = false`,
  ];
  const lines = [
    `listeners.tcp.1 = ${host}:${amqp}`,
    `listeners.ssl.1 = ${host}:${amqps}`,
    ...tls('ssl_options'),
    'ssl_cert_login_from = common_name',
    'auth_mechanisms.1 = PLAIN',
    'auth_mechanisms.2 = EXTERNAL',
    `management.tcp.ip = ${host}`,
    `management.tcp.port = ${http}`,
    `management.ssl.ip = ${host}`,
    `management.ssl.port = ${https}`,
    ...tls('management.ssl').slice(0, 3),
    'collect_statistics_interval = 200',
    ...['global', 'basic', 'detailed'].map(each => `management.sample_retention_policies.${each}.minute = 1`),
    'disk_free_limit.absolute = 1MB',
    'log.console = true',
    'log.file = false',
    ...config,
  ];
  await writeFile(join(folder, 'rabbitmq.conf'), `${lines.join('\n')}\n`);
  await writeFile(join(folder, 'advanced.config'), advanced);
  await writeFile(join(folder, 'enabled_plugins'), `[${plugins.join(',')}].\n`);
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    LANG: 'C.UTF-8',
    ERL_EPMD_PORT: String(mapper),
    ERL_EPMD_ADDRESS: host,
    RABBITMQ_NODENAME: `test${amqp}@localhost`,
    RABBITMQ_DIST_PORT: String(dist),
    RABBITMQ_BASE: folder,
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: folder,
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
    // One scheduler and no busy waiting: other tests run beside it.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none',
  };
  let broker = await startBroker(env);
  let looking: ChannelModel | undefined;

  async function kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await looking?.close().catch(() => undefined);
    await ended(broker, signal);
  }
  async function look(server: RabbitServer): Promise<void> {
    looking = await connect(server.amqp, { clientProperties: { connection_name: 'test' } });
    looking.on('error', () => {});
    server.channel = await looking.createChannel();
    server.channel.on('error', () => {});
  }
  async function manage(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`http://${host}:${http}/api/${path}`, {
      method,
      headers: {
        authorization: `Basic ${Buffer.from('guest:guest').toString('base64')}`,
        'content-type': 'application/json',
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }
  const server: RabbitServer = {
    host,
    ports: { amqp, amqps, http, https },
    amqp: `amqp://guest:guest@${host}:${amqp}`,
    http: `http://guest:guest@${host}:${http}`,
    channel: undefined as unknown as Channel,
    control: '/usr/lib/rabbitmq/bin/rabbitmqctl',
    env,
    manage,
    async connections() {
      const all = (await manage('GET', 'connections')) as {
        channels?: number;
        client_properties?: { connection_name?: string };
      }[];
      return all
        .map(each => ({ name: each.client_properties?.connection_name ?? '', channels: each.channels ?? 0 }))
        .filter(({ name }) => name !== 'test');
    },
    stop: () => kill('SIGTERM'),
    async restart() {
      await server.stop();
      broker = await startBroker(env);
      await look(server);
    },
    async [Symbol.asyncDispose]() {
      // Nothing is to be kept, and an orderly end takes seconds.
      await kill('SIGKILL');
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  await look(server);
  return server;
}

/**
 * A broker with the port mapper that Erlang wants, in a group of processes that ends with this one, however it ends:
 * then its standard input does, too. The mapper outlasts an orderly end of the broker, which would start another.
 */
const script = `exec 3<&0
(trap '' TERM; exec /usr/bin/epmd) &
(trap '' TERM; read -r _ <&3; kill -9 0) &
trap : TERM
"$0" &
broker=$!
while kill -0 $broker 2>/dev/null; do wait $broker; done
kill -9 0`;

async function startBroker(env: Record<string, string>): Promise<ChildProcess> {
  const child = spawn('sh', ['-c', script, command], {
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
    cwd: env['HOME'],
  });
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        said.push(line);
        if (line.includes('Server startup complete')) resolve();
      });
    }
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${command} ended\n${said.join('\n')}`)));
  });
  return child;
}

async function ended(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exit = once(child, 'exit');
  process.kill(-child.pid, signal);
  await exit;
}
