import { existsSync, statSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { authority, serverCertificate, serverKey } from './certificates.ts';
import { closedPort } from './misbehaving-http.ts';
import {
  privateFile,
  removeFolder,
  runProgram,
  type ServerProcess,
  serverFolder,
  startProgram,
} from './server-process.ts';

const server = '/usr/sbin/mariadbd';

/** Whether Debian's mariadb-server is installed: without it these tests are skipped. */
export const mariadbInstalled = existsSync(server);

const host = '127.0.0.1';

/** A running server with the database `shop`, and a way to look into it. */
export interface MariadbServer extends AsyncDisposable {
  host: string;
  port: number;
  /** Runs statements as the superuser. @returns the rows, columns with tabs between them */
  sql(statements: string): Promise<string[]>;
  /** `program_name: command` of every session but ours. */
  sessions(): Promise<string[]>;
  process(): ServerProcess;
  stop(): Promise<void>;
  /** Starts it again, on the same port and with the same data. */
  start(): Promise<void>;
}

/**
 * The data of a server that nobody has used yet, made once on this machine: making it takes longer than starting a
 * server.
 */
async function template(): Promise<string> {
  const path = join(tmpdir(), `eventide-mariadb-${process.getuid?.() ?? 0}-${statSync(server).mtimeMs}`);
  if (existsSync(path)) return path;
  const folder = await serverFolder('mariadb-template');
  const data = join(folder, 'data');
  const how = ['--no-defaults', `--datadir=${data}`, '--innodb-use-native-aio=0', '--skip-test-db'];
  await runProgram('mariadb-install-db', [...how, '--auth-root-authentication-method=normal'], folder);
  // Another process may have been faster.
  await rename(data, path).catch(() => {});
  await removeFolder(folder);
  return path;
}

/** Starts a new server on 127.0.0.1. */
export async function startMariadb(options: { tls?: boolean } = {}): Promise<MariadbServer> {
  const folder = await serverFolder('mariadb');
  const data = join(folder, 'data');
  const socket = join(folder, 'socket');
  await runProgram('cp', ['-a', await template(), data], folder);
  const files = { 'ca.pem': authority, 'cert.pem': serverCertificate, 'key.pem': serverKey };
  for (const [name, text] of Object.entries(files)) await privateFile(join(folder, name), text);
  const port = await closedPort();
  const secured = [
    `--ssl-ca=${folder}/ca.pem`,
    `--ssl-cert=${folder}/cert.pem`,
    `--ssl-key=${folder}/key.pem`,
  ];
  const flags = [
    '--no-defaults',
    `--datadir=${data}`,
    `--socket=${socket}`,
    `--pid-file=${folder}/pid`,
    `--port=${port}`,
    `--bind-address=${host}`,
    '--skip-name-resolve',
    '--performance-schema=ON',
    '--innodb-flush-log-at-trx-commit=0',
    '--innodb-buffer-pool-size=16M',
    '--innodb-use-native-aio=0',
    ...(options.tls ? secured : ['--skip-ssl']),
  ];
  const client = ['--no-defaults', `--socket=${socket}`, '-uroot'];
  const sql = async (statements: string) => {
    const printed = await runProgram('mariadb', [...client, '-BN', '-e', statements], folder);
    return printed.split('\n').filter(Boolean);
  };
  const isReady = () =>
    runProgram('mariadb-admin', [...client, 'ping'], folder).then(
      () => true,
      () => false,
    );
  const start = () => startProgram([server, ...flags], { cwd: folder, isReady });
  let running = await start();
  await sql('CREATE DATABASE shop');
  return {
    host,
    port,
    sql,
    sessions: () =>
      sql(
        `SELECT CONCAT(attributes.ATTR_VALUE, ': ', list.COMMAND) FROM information_schema.PROCESSLIST list
         JOIN performance_schema.session_connect_attrs attributes ON attributes.PROCESSLIST_ID = list.ID
         WHERE attributes.ATTR_NAME = 'program_name' AND list.ID <> CONNECTION_ID() ORDER BY 1`,
      ),
    process: () => running,
    stop: () => running.stop('SIGTERM'),
    async start() {
      running = await start();
    },
    async [Symbol.asyncDispose]() {
      await running.stop('SIGKILL');
      await removeFolder(folder);
    },
  };
}
