import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../src/base/clock.ts';
import type { Fault } from '../src/base/errors.ts';
import {
  connectNats,
  type NatsEntry,
  type NatsLink,
  type NatsRequest,
} from '../src/scaler/families/nats-link.ts';
import type { NatsMessage } from '../src/scaler/families/nats-wire.ts';
import { authority, serverCertificate, serverKey } from './certificates.ts';
import { closedPort } from './misbehaving-http.ts';
import {
  privateFile,
  removeFolder,
  type ServerProcess,
  serverFolder,
  startProgram,
} from './server-process.ts';

/** Whether Debian's nats-server is installed: without it these tests are skipped. */
export const natsInstalled = spawnSync('nats-server', ['--version']).status === 0;

/** A running server with JetStream, and a way to look into it. */
export interface NatsServer extends AsyncDisposable {
  host: string;
  /** Of clients. */
  port: number;
  /** `host:port` of the monitoring endpoint. */
  monitoring: string;
  /** What an API of JetStream answers. @throws its error */
  api(subject: string, body?: unknown): Promise<Record<string, unknown>>;
  /** The same for what only reads, patiently. */
  look(subject: string, body?: unknown): Promise<Record<string, unknown>>;
  /** Puts a message into a stream. @throws where none takes it */
  publish(
    subject: string,
    text: string | Uint8Array,
    headers?: readonly (readonly [string, string])[],
  ): Promise<NatsMessage>;
  /** The next message of a consumer. */
  next(stream: string, consumer: string): Promise<NatsMessage>;
  /** Has a consumer hand out again all that it was not told the end of, without waiting. */
  giveBack(stream: string, consumer: string): Promise<void>;
  /** All messages of a stream; none where there is no such stream. */
  stored(stream: string): Promise<{ headers: string; data: Buffer }[]>;
  /** Names of the clients that are connected, ours here left out. */
  clients(): Promise<string[]>;
  /** Ends the process; what it stored stays. */
  stop(): Promise<void>;
  /** Starts the process again, on the same ports. */
  restart(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

export interface NatsServerOptions {
  /** One of 127.0.0.0/8: the servers of a cluster have one port of monitoring, as in Kubernetes. */
  host?: string;
  httpPort?: number;
  name?: string;
  /** Of clients and of monitoring; `mutual` asks for certificates of clients. */
  tls?: boolean | 'mutual';
  /** Lines of its configuration. */
  config?: readonly string[];
  /** How the test itself comes in. */
  entry?: Partial<NatsEntry>;
}

/** Starts a server with no data. */
export async function startNats(options: NatsServerOptions = {}): Promise<NatsServer> {
  const { host = '127.0.0.1', name = 'solo', tls = false, config = [], entry = {} } = options;
  const folder = await serverFolder('nats');
  const port = await closedPort();
  const httpPort = options.httpPort ?? (await closedPort());
  const file = join(folder, 'nats.conf');
  const files = { 'ca.pem': authority, 'cert.pem': serverCertificate, 'key.pem': serverKey };
  for (const [path, text] of Object.entries(files)) {
    await privateFile(join(folder, path), text);
  }
  const pair = `cert_file: "${folder}/cert.pem", key_file: "${folder}/key.pem"`;
  const lines = [
    `server_name: "${name}"`,
    `listen: "${host}:${port}"`,
    `${tls ? 'https' : 'http'}: "${host}:${httpPort}"`,
    `jetstream { store_dir: "${folder}/store", max_mem: 64MB, max_file: 256MB }`,
    ...(tls
      ? [`tls { ${pair}${tls === 'mutual' ? `, ca_file: "${folder}/ca.pem", verify: true` : ''} }`]
      : []),
    ...config,
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  const way: NatsEntry = { connectionName: 'test', ...(tls ? { tls: { ca: authority } } : {}), ...entry };
  const signal = (ms = 10_000) => AbortSignal.timeout(ms);
  const isReady = async () => {
    const link = await connectNats({ host, port }, way, signal()).catch(() => undefined);
    await link?.[Symbol.asyncDispose]();
    return link !== undefined;
  };
  const start = () => startProgram(['nats-server', '-c', file], { cwd: folder, isReady });

  let process: ServerProcess = await start();
  let link: NatsLink | undefined;
  async function current(): Promise<NatsLink> {
    if (!link?.open) link = await connectNats({ host, port }, way, signal());
    return link;
  }
  async function send(request: NatsRequest, ms?: number): Promise<NatsMessage> {
    const answer = await (await current()).request(request, signal(ms));
    if (answer.status === 503) throw new Error(`nobody answers ${request.subject}`);
    return answer;
  }
  const call = (path: string, body?: unknown, ms?: number) =>
    send({ subject: `$JS.API.${path}`, data: body === undefined ? '' : JSON.stringify(body) }, ms);
  async function next(stream: string, consumer: string): Promise<NatsMessage> {
    const found: NatsMessage[] = [];
    const request = { subject: `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, data: '{"batch":1}' };
    const take = (message: NatsMessage) => found.push(message) > 0;
    await (await current()).collect(request, { take, endMs: 5_000, refusal: '-NAK' }, signal());
    return found[0] as NatsMessage;
  }
  const api = async (subject: string, body?: unknown) => resultOf(await call(subject, body));
  /** Nobody answers for a stream that has no leader: what only reads is asked again. */
  async function look(subject: string, body?: unknown): Promise<Record<string, unknown>> {
    for (let left = 20; ; left -= 1) {
      try {
        return resultOf(await call(subject, body, 500));
      } catch (thrown) {
        if (left === 0 || (thrown as Fault).code !== 'SOURCE_TIMEOUT') throw thrown;
      }
    }
  }
  async function giveBack(stream: string, consumer: string): Promise<void> {
    const info = await look(`CONSUMER.INFO.${stream}.${consumer}`);
    const { consumer_seq: last, stream_seq: newest } = info['delivered'] as Record<string, number>;
    const { stream_seq: oldest } = info['ack_floor'] as Record<string, number>;
    for (let sequence = (oldest ?? 0) + 1; sequence <= (newest ?? 0); sequence += 1) {
      const subject = `$JS.ACK.${stream}.${consumer}.1.${sequence}.${last}.0.0`;
      await send({ subject, data: '-NAK' });
    }
  }
  async function stored(stream: string): Promise<{ headers: string; data: Buffer }[]> {
    const info = await look(`STREAM.INFO.${stream}`).catch(() => ({ state: {} }));
    const { first_seq: first = 1, last_seq: last = 0 } = info['state'] as Record<string, number>;
    const messages = [];
    for (let seq = first; seq <= last; seq += 1) {
      const { message } = await look(`STREAM.MSG.GET.${stream}`, { seq });
      const { data = '', hdrs = '' } = message as { data?: string; hdrs?: string };
      messages.push({ headers: Buffer.from(hdrs, 'base64').toString(), data: Buffer.from(data, 'base64') });
    }
    return messages;
  }
  async function stop(how?: NodeJS.Signals): Promise<void> {
    await link?.[Symbol.asyncDispose]();
    await process.stop(how);
  }
  return {
    host,
    port,
    monitoring: `${host}:${httpPort}`,
    api,
    giveBack,
    stored,
    look,
    publish: (subject, data, headers = []) => send({ subject, data, headers }),
    next,
    async clients() {
      const response = await fetch(`http://${host}:${httpPort}/connz`);
      const { connections } = (await response.json()) as { connections: { name?: string }[] };
      return connections.map(({ name: client = '' }) => client).filter(client => client !== 'test');
    },
    stop: () => stop(),
    async restart() {
      await stop();
      process = await start();
    },
    freeze: () => process.freeze(),
    thaw: () => process.thaw(),
    async [Symbol.asyncDispose]() {
      await stop('SIGKILL');
      await removeFolder(folder);
    },
  };
}

function resultOf({ data }: NatsMessage): Record<string, unknown> {
  const json = JSON.parse(data.toString()) as Record<string, unknown>;
  if (json['error'] !== undefined) throw new Error(JSON.stringify(json['error']));
  return json;
}

/** A cluster of three servers, each at an address of its own with the same port of monitoring. */
export interface NatsCluster extends AsyncDisposable {
  servers: NatsServer[];
  /** The server with this name. */
  named(name: string): NatsServer;
}

/** @param over lines for each server's `cluster` block */
export async function startNatsCluster(over: readonly string[] = []): Promise<NatsCluster> {
  const hosts = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];
  const httpPort = await closedPort();
  const routePort = await closedPort();
  const routes = hosts.map(host => `"nats-route://${host}:${routePort}"`).join(', ');
  const servers = await Promise.all(
    hosts.map((host, index) =>
      startNats({
        host,
        httpPort,
        name: `n${index}`,
        config: [
          'cluster {',
          '  name: "c"',
          `  listen: "${host}:${routePort}"`,
          `  routes: [${routes}]`,
          ...over,
          '}',
        ],
      }),
    ),
  );
  const [first] = servers;
  if (first === undefined) throw new Error('a cluster needs servers');
  const until = systemClock.now() + 20_000;
  while (!(await hasPeers(first))) {
    if (systemClock.now() > until) throw new Error('the cluster has no leader');
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  return {
    servers,
    named(name) {
      const server = servers[Number(name.slice(1))];
      if (server === undefined) throw new Error(`there is no server ${name}`);
      return server;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map(server => server[Symbol.asyncDispose]()));
    },
  };
}

/** Whether JetStream of the cluster has a leader that sees all three servers. */
async function hasPeers({ monitoring }: NatsServer): Promise<boolean> {
  const response = await fetch(`http://${monitoring}/jsz`);
  const { meta_cluster: meta } = (await response.json()) as {
    meta_cluster?: { leader?: string; cluster_size?: number };
  };
  return Boolean(meta?.leader) && meta?.cluster_size === 3;
}
