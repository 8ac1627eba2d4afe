import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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

const versions = '/usr/lib/postgresql';
const programs = existsSync(versions)
  ? readdirSync(versions)
      .map(version => join(versions, version, 'bin'))
      .filter(folder => existsSync(join(folder, 'initdb')))
      .at(-1)
  : undefined;

/** Whether Debian's postgresql is installed: without it these tests are skipped. */
export const postgresInstalled = programs !== undefined;

const host = '127.0.0.1';

/** A running server with the database `shop`, and a way to look into it. */
export interface PostgresServer extends AsyncDisposable {
  host: string;
  port: number;
  /** Runs statements as the superuser. @returns the rows, columns with `|` between them */
  sql(statements: string, database?: string): Promise<string[]>;
  /** `application_name: state` of every session but ours. */
  sessions(): Promise<string[]>;
  process(): ServerProcess;
  stop(): Promise<void>;
  /** Starts it again, on the same port and with the same data. */
  start(): Promise<void>;
}

export interface PostgresOptions {
  /** Lines of pg_hba.conf for everybody but the superuser; all may come in from here unless given. */
  access?: readonly string[];
  tls?: boolean;
  settings?: Readonly<Record<string, string>>;
}

/** Starts a new server on 127.0.0.1. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const { access = [`host all all ${host}/32 trust`], tls = false, settings = {} } = options;
  const bin = programs ?? '';
  const folder = await serverFolder('postgres');
  const data = join(folder, 'data');
  const initial = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
  await runProgram(join(bin, 'initdb'), initial, folder);
  const rules = [`host all postgres ${host}/32 trust`, ...access];
  await writeFile(join(data, 'pg_hba.conf'), `${rules.join('\n')}\n`);
  const files = { 'ca.pem': authority, 'cert.pem': serverCertificate, 'key.pem': serverKey };
  for (const [name, text] of Object.entries(files)) await privateFile(join(data, name), text);
  const port = await closedPort();
  const all: Record<string, string> = {
    port: String(port),
    listen_addresses: host,
    unix_socket_directories: '',
    fsync: 'off',
    ...(tls ? { ssl: 'on', ssl_ca_file: 'ca.pem', ssl_cert_file: 'cert.pem', ssl_key_file: 'key.pem' } : {}),
    ...settings,
  };
  const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

  const sql = async (statements: string, database = 'shop') => {
    const how = ['-h', host, '-p', String(port), '-U', 'postgres', '-d', database, '-v', 'ON_ERROR_STOP=1'];
    const printed = await runProgram(join(bin, 'psql'), [...how, '-qAtc', statements], folder);
    return printed.split('\n').filter(Boolean);
  };
  const isReady = () =>
    runProgram(join(bin, 'pg_isready'), ['-h', host, '-p', String(port), '-q'], folder).then(
      () => true,
      () => false,
    );
  const start = () => startProgram([join(bin, 'postgres'), '-D', data, ...flags], { cwd: folder, isReady });
  let process = await start();
  await sql('CREATE DATABASE shop', 'postgres');
  return {
    host,
    port,
    sql,
    sessions: () =>
      sql(
        "SELECT application_name || ': ' || state FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY 1",
      ),
    process: () => process,
    stop: () => process.stop('SIGINT'),
    async start() {
      process = await start();
    },
    async [Symbol.asyncDispose]() {
      await process.stop('SIGQUIT');
      await removeFolder(folder);
    },
  };
}
