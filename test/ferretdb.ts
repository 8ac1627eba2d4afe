import { execFile } from 'node:child_process';
import { access, chmod, cp, mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { MongoClient } from 'mongodb';
import { authority, clientCertificate, clientKey, serverCertificate, serverKey } from './certificates.ts';
import { build, go, locked } from './cluster/binaries.ts';
import { closedPort } from './misbehaving-http.ts';
import {
  privateFile,
  removeFolder,
  type ServerProcess,
  serverFolder,
  startProgram,
} from './server-process.ts';

/** The last one that keeps its data in SQLite. */
const version = 'v1.24.2';
const modulePath = 'github.com/FerretDB/FerretDB';
const run = promisify(execFile);

/** The server, from the user's cache folder; built with Go when it is not there: once, about a minute on two cores. */
async function ferretdb(): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const folder = join(cache, 'eventide', `ferretdb-${version}-${process.arch}`);
  const path = join(folder, 'ferretdb');
  const isThere = () =>
    access(path).then(
      () => true,
      () => false,
    );
  if (await isThere()) return path;
  await mkdir(folder, { recursive: true });
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  await using _lock = await locked(join(folder, 'building'), say);
  if (await isThere()) return path;
  say(`building FerretDB ${version} for the tests of mongodb, once; about a minute on two cores`);
  await build(path, async within => {
    const { stdout } = await run('go', ['mod', 'download', '-json', `${modulePath}@${version}`], {
      cwd: within,
    });
    const sources = join(within, 'sources');
    await cp((JSON.parse(stdout) as { Dir: string }).Dir, sources, { recursive: true });
    // The folder of a module is read-only, and this one does not start without a file that a release makes.
    await chmod(join(sources, 'build', 'version'), 0o755);
    await writeFile(join(sources, 'build', 'version', 'version.txt'), `${version}\n`);
    await go(['build', '-trimpath', '-ldflags', '-s -w', '-o', '../ferretdb', './cmd/ferretdb'], {
      cwd: sources,
    });
    await run('chmod', ['-R', 'u+w', sources]);
    return join(within, 'ferretdb');
  });
  return path;
}

const host = '127.0.0.1';

/** A running server with the user `app`, and a way to fill it. */
export interface FerretServer extends AsyncDisposable {
  host: string;
  port: number;
  /** A client that has logged in. */
  client: MongoClient;
  stop(): Promise<void>;
  /** Starts it again, on the same port and with the same data. */
  start(): Promise<void>;
  process(): ServerProcess;
}

/** Starts a new server on 127.0.0.1, which keeps the password of `app` in the database `admin`. */
export async function startFerretdb(options: { password: string; tls?: boolean }): Promise<FerretServer> {
  const { password, tls = false } = options;
  const program = await ferretdb();
  const folder = await serverFolder('ferretdb');
  await mkdir(join(folder, 'data'));
  const files = { 'ca.pem': authority, 'cert.pem': serverCertificate, 'key.pem': serverKey };
  for (const [name, text] of Object.entries(files)) await privateFile(join(folder, name), text);
  const port = await closedPort();
  const listen = tls
    ? [
        '--listen-addr=',
        `--listen-tls=${host}:${port}`,
        `--listen-tls-cert-file=${folder}/cert.pem`,
        `--listen-tls-key-file=${folder}/key.pem`,
        `--listen-tls-ca-file=${folder}/ca.pem`,
      ]
    : [`--listen-addr=${host}:${port}`];
  const flags = [
    ...listen,
    '--handler=sqlite',
    `--sqlite-url=file:${folder}/data/`,
    '--debug-addr=-',
    '--state-dir=-',
    '--telemetry=disable',
    '--log-level=WARN',
    '--setup-database=admin',
    '--setup-username=app',
    `--setup-password=${password}`,
    '--test-enable-new-auth',
  ];
  const isReady = () =>
    new Promise<boolean>(resolve => {
      const socket = connect(port, host);
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  const start = () => startProgram([program, ...flags], { cwd: folder, isReady, asOurselves: true });
  let running = await start();
  const secured = tls ? { tls: true, ca: authority, cert: clientCertificate, key: clientKey } : {};
  const client = new MongoClient(`mongodb://app:${encodeURIComponent(password)}@${host}:${port}/`, secured);
  return {
    host,
    port,
    client,
    process: () => running,
    stop: () => running.stop(),
    async start() {
      running = await start();
    },
    async [Symbol.asyncDispose]() {
      await client.close();
      await running.stop('SIGKILL');
      await removeFolder(folder);
    },
  };
}
