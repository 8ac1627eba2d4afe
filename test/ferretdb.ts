import { execFile } from 'node:child_process';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MongoClient } from 'mongodb';
import { authority, clientCertificate, clientKey, serverCertificate, serverKey } from './certificates.ts';
import { go } from './cluster/binaries.ts';
import { cachedProgram } from './go-program.ts';
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

/** The server, built with Go. */
const ferretdb = () =>
  cachedProgram({
    key: `ferretdb-${version}`,
    what: `FerretDB ${version} for the tests of mongodb, once; about a minute on two cores`,
    async into(folder) {
      const { stdout } = await run('go', ['mod', 'download', '-json', `${modulePath}@${version}`], {
        cwd: folder,
      });
      const sources = join(folder, 'sources');
      await cp((JSON.parse(stdout) as { Dir: string }).Dir, sources, { recursive: true });
      // The folder of a module is read-only, and this one does not start without a file that a release makes.
      await run('chmod', ['-R', 'u+w', sources]);
      await writeFile(join(sources, 'build', 'version', 'version.txt'), `${version}\n`);
      const flags = ['-trimpath', '-ldflags', '-s -w', '-o', '../ferretdb'];
      await go(['build', ...flags, './cmd/ferretdb'], { cwd: sources });
      return join(folder, 'ferretdb');
    },
  });

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
