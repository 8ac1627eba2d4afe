import { execFile, spawn, spawnSync } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Secret } from '../src/base/secret.ts';
import { answerOf } from '../src/scaler/families/redis.ts';
import { connectRedis, type RedisEntry, type RedisLink } from '../src/scaler/families/redis-link.ts';
import type { Reply } from '../src/scaler/families/resp.ts';
import { authority, clientCertificate, clientKey, serverCertificate, serverKey } from './certificates.ts';
import { closedPort, tcpServer } from './misbehaving-http.ts';
import type { Served } from './scaler-contract.ts';

/** Whether Debian's redis-server and redis-sentinel are installed: without them these tests are skipped. */
export const redisInstalled = ['redis-server', 'redis-sentinel'].every(
  name => spawnSync(name, ['--version']).status === 0,
);

const host = '127.0.0.1';

/** A running server, and a way to look into it. */
export interface RedisServer extends AsyncDisposable {
  host: string;
  port: number;
  /** `host:port` */
  address: string;
  /** Sends one command. @throws Fault for an error of the server */
  send(...command: (string | Uint8Array)[]): Promise<Exclude<Reply, undefined>>;
  /** Names of the connections that are open, ours here left out. */
  clients(): Promise<string[]>;
  /** Ends the process; what it held is gone. */
  stop(): Promise<void>;
  /** Starts the process again, on the same port. */
  restart(): Promise<void>;
}

export interface RedisServerOptions {
  /** Lines of redis.conf. */
  config?: readonly string[];
  password?: string;
  /** TLS alone; `mutual` asks for certificates of clients. */
  tls?: boolean | 'mutual';
  /** The port; a free one unless given. */
  port?: number;
  sentinel?: boolean;
}

/** Starts a server with no data, on 127.0.0.1. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const { config = [], password, tls = false, sentinel = false } = options;
  const port = options.port ?? (await closedPort());
  const folder = await mkdtemp(join(tmpdir(), 'redis-'));
  const file = join(folder, 'redis.conf');
  const files = { 'ca.pem': authority, 'cert.pem': serverCertificate, 'key.pem': serverKey };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const secured = [
    `port 0`,
    `tls-port ${port}`,
    `tls-cert-file ${folder}/cert.pem`,
    `tls-key-file ${folder}/key.pem`,
    `tls-ca-cert-file ${folder}/ca.pem`,
    `tls-auth-clients ${tls === 'mutual' ? 'yes' : 'no'}`,
  ];
  const lines = [
    `bind ${host}`,
    `dir ${folder}`,
    ...(tls ? secured : [`port ${port}`]),
    // Nobody waits for more replicas before one is given what it lacks.
    ...(sentinel ? [] : ['save ""', 'repl-diskless-sync-delay 0']),
    ...(password === undefined ? [] : [`requirepass "${password}"`]),
    ...config,
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  const entry: RedisEntry = {
    connectionName: 'test',
    ...(password === undefined ? {} : { password: new Secret(password) }),
    ...(tls ? { tls: { ca: authority, cert: clientCertificate, key: new Secret(clientKey) } } : {}),
  };

  let process = await startProcess(sentinel ? 'redis-sentinel' : 'redis-server', file);
  let link: RedisLink | undefined;
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  async function send(...command: (string | Uint8Array)[]): Promise<Exclude<Reply, undefined>> {
    if (!link?.open) link = await connectRedis({ host, port }, entry, signal);
    const [reply = null] = await link.run([command], { signal });
    return answerOf(reply, `redis on ${port}`);
  }
  async function stop(): Promise<void> {
    await link?.[Symbol.asyncDispose]();
    await process.stop();
  }
  return {
    host,
    port,
    address: `${host}:${port}`,
    send,
    async clients() {
      const names = [...String(await send('CLIENT', 'LIST')).matchAll(/ name=(\S*)/g)].map(
        found => found[1] ?? '',
      );
      return names.filter(name => name !== 'test');
    },
    stop,
    async restart() {
      await stop();
      process = await startProcess(sentinel ? 'redis-sentinel' : 'redis-server', file);
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function startProcess(command: string, file: string): Promise<{ stop(): Promise<void> }> {
  const child = spawn(command, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const said: string[] = [];
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', line => {
      said.push(line);
      if (/Ready to accept connections|Sentinel ID is/.test(line)) resolve();
    });
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`${command} ended with ${code}\n${said.join('\n')}`)));
  });
  await ready;
  return {
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    },
  };
}

/** Several servers that belong together. */
export interface RedisGroup extends AsyncDisposable {
  servers: RedisServer[];
  /** Addresses with commas between them. */
  addresses: string;
  /** Ends all of them; what they held is gone unless they were told to keep it. */
  stop(): Promise<void>;
  /** Starts all of them again. */
  restart(): Promise<void>;
}

export interface RedisCluster extends RedisGroup {
  /** Waits until each of the servers finds the cluster in order. */
  agreed(): Promise<void>;
}

/** Three masters with a replica each. */
export async function startCluster(options: RedisServerOptions = {}): Promise<RedisCluster> {
  const servers = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const bus = await closedPort();
      return await startRedis({
        ...options,
        config: [
          'cluster-enabled yes',
          `cluster-port ${bus}`,
          'cluster-node-timeout 1500',
          ...(options.config ?? []),
        ],
      });
    }),
  );
  const addresses = servers.map(({ address }) => address);
  const login = options.password === undefined ? [] : ['-a', options.password, '--no-auth-warning'];
  const create = ['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes'];
  await promisify(execFile)('redis-cli', [...login, ...create]);
  async function agreed(): Promise<void> {
    for (const server of servers) {
      await eventually(async () => {
        const info = String(await server.send('CLUSTER', 'INFO'));
        return info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:6');
      });
    }
  }
  await agreed();
  return {
    servers,
    addresses: addresses.join(','),
    agreed,
    ...together(servers),
  };
}

/** A master with a replica, watched by three sentinels under the name `mymaster`. */
export interface RedisSentinels extends RedisGroup {
  master: RedisServer;
  replica: RedisServer;
}

export async function startSentinels({
  password,
  sentinelPassword,
}: {
  password?: string;
  sentinelPassword?: string;
} = {}): Promise<RedisSentinels> {
  const login = ['appendonly yes', ...(password === undefined ? [] : [`masterauth ${password}`])];
  const secret = password === undefined ? {} : { password };
  const master = await startRedis({ ...secret, config: login });
  const replica = await startRedis({ ...secret, config: [...login, `replicaof ${host} ${master.port}`] });
  await eventually(async () =>
    String(await replica.send('INFO', 'replication')).includes('master_link_status:up'),
  );
  const sentinels = await Promise.all(
    Array.from({ length: 3 }, () =>
      startRedis({
        sentinel: true,
        ...(sentinelPassword === undefined ? {} : { password: sentinelPassword }),
        config: [
          `sentinel monitor mymaster ${host} ${master.port} 2`,
          'sentinel down-after-milliseconds mymaster 700',
          'sentinel failover-timeout mymaster 3000',
          ...(password === undefined ? [] : [`sentinel auth-pass mymaster ${password}`]),
          ...(sentinelPassword === undefined ? [] : [`sentinel sentinel-pass ${sentinelPassword}`]),
        ],
      }),
    ),
  );
  for (const sentinel of sentinels) {
    await eventually(async () => {
      const facts = String(await sentinel.send('SENTINEL', 'MASTER', 'mymaster'));
      return facts.includes('num-other-sentinels,2') && facts.includes('num-slaves,1');
    });
  }
  const servers = [...sentinels, master, replica];
  return {
    servers: sentinels,
    addresses: sentinels.map(({ address }) => address).join(','),
    master,
    replica,
    ...together(servers),
  };
}

/** Waits until something of a server has come true; the test's own time limit ends a wait in vain. */
export async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise(resolve => setTimeout(resolve, 50));
}

function together(servers: readonly RedisServer[]) {
  async function all(what: (server: RedisServer) => PromiseLike<void>): Promise<void> {
    await Promise.all(servers.map(what));
  }
  return {
    stop: () => all(server => server.stop()),
    restart: () => all(server => server.restart()),
    [Symbol.asyncDispose]: () => all(server => server[Symbol.asyncDispose]()),
  };
}

/**
 * A server, all alone a cluster and its own sentinel, that says this number of whatever is counted, as it is or in
 * what is said of a group of consumers.
 */
export async function sayingRedis(number: string): Promise<Served & { address: string }> {
  const server = await tcpServer(socket =>
    socket.on('data', chunk => {
      const { localPort: port } = socket;
      const here = `$9\r\n${host}\r\n:${port}\r\n`;
      const answers: Record<string, string> = {
        TYPE: '+list\r\n',
        LLEN: `:${number}\r\n`,
        XLEN: `:${number}\r\n`,
        CLUSTER: `*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${here}`,
        SENTINEL: `*2\r\n$9\r\n${host}\r\n$${String(port).length}\r\n${port}\r\n`,
        ROLE: '*1\r\n$6\r\nmaster\r\n',
      };
      // Each command begins with how many words it has, and that with how many bytes.
      for (const [, command = ''] of chunk.toString('latin1').matchAll(/\*\d+\r\n\$\d+\r\n(\S+)\r\n/g)) {
        socket.write(answers[command] ?? '+OK\r\n');
      }
    }),
  );
  return {
    address: `${server.host}:${server.port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
