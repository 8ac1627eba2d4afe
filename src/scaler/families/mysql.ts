import { deadline } from '../../base/deadline.ts';
import type { OpenContext } from '../context.ts';
import type { MysqlSettings } from './mysql-connection-string.ts';
import { connectMysql, type MysqlEntry } from './mysql-link.ts';
import { addressText, type Way } from './socket.ts';
import { queryTimeoutMs, SqlPool } from './sql.ts';

/** Opens the database. @throws Fault of the source */
export async function openMysql(settings: MysqlSettings, context: OpenContext): Promise<SqlPool> {
  const { address, database, connectTimeoutMs = queryTimeoutMs } = settings;
  const entry: MysqlEntry = {
    address,
    encryption: encryptionOf(settings, context),
    mayBePlain: settings.mayBePlain,
    user: settings.user,
    password: settings.password,
    database,
    clearText: settings.clearText,
    nativeHash: settings.nativeHash,
    multiStatements: settings.multiStatements,
    attributes: { program_name: context.connectionName(), _client_name: 'eventide', ...settings.attributes },
    preparations: ({ isMariaDb }) => preparations(settings, isMariaDb),
  };
  const name = database === '' ? addressText(address) : `${addressText(address)}, database ${database}`;
  const connect = async (signal: AbortSignal) => {
    using limit = deadline(signal, connectTimeoutMs);
    return await connectMysql(entry, limit.signal);
  };
  return await SqlPool.open({ name, connect }, context.signal);
}

function encryptionOf({ encryption }: MysqlSettings, { http }: OpenContext): Way | undefined {
  if (encryption === 'none') return undefined;
  return {
    tls: encryption === 'verify' ? {} : { unsafeSsl: true },
    roots: http.roots,
    minTlsVersion: http.minTlsVersion,
  };
}

/** What is set in each session: the connection string has the last word. */
function preparations(settings: MysqlSettings, isMariaDb: boolean): { sql: string; optional: boolean }[] {
  const { charsets, collation, variables, queryTimeoutMs: ms = queryTimeoutMs } = settings;
  const names = collation === undefined ? charsets : charsets.length === 0 ? ['utf8mb4'] : charsets;
  const collated = collation === undefined ? '' : ` COLLATE ${collation}`;
  const limit = isMariaDb ? `max_statement_time = ${ms / 1000}` : `max_execution_time = ${Math.ceil(ms)}`;
  const own = Object.entries(variables).map(([name, value]) => `${name} = ${value}`);
  return [
    { sql: 'SET SESSION TRANSACTION READ ONLY', optional: true },
    { sql: `SET SESSION ${limit}`, optional: true },
    // The last one that the server knows stays; the first in the list is wanted most.
    ...names.toReversed().map(name => ({
      sql: `SET NAMES ${name}${collated}`,
      // KEDA's client asks for a collation alone by a number, and a server without it takes its own.
      optional: names.length > 1 || charsets.length === 0,
    })),
    ...(own.length === 0 ? [] : [{ sql: `SET ${own.join(', ')}`, optional: false }]),
  ];
}
