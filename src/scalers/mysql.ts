import { faultOf } from '../base/errors.ts';
import { fingerprint, Secret } from '../base/secret.ts';
import { defineScaler } from '../scaler/define.ts';
import { openMysql } from '../scaler/families/mysql.ts';
import { type MysqlSettings, mysqlIdentity, parseMysql } from '../scaler/families/mysql-connection-string.ts';
import { queryTimeoutMs } from '../scaler/families/sql.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

const anywhere = ['metadata', 'auth', 'env'] as const;
const login = ['metadata', 'auth'] as const;

interface Query {
  connection: Secret;
  identity: string;
  /** As KEDA finds it: what stands behind the last slash, parameters included. */
  database: string;
  query: string;
  timeoutMs: number;
}

export default defineScaler({
  type: 'mysql',
  doc: 'The one number that a SQL query gives. NULL, no row and texts that are no number are failures, not zeros. The query runs in a transaction that may not write, for at most 10 seconds or `readTimeout`. MariaDB is read as well.',
  testedWith: { kind: 'real', with: 'MariaDB 10.11' },
  params: {
    query: p.text({ doc: 'The query; it must give one number. COALESCE makes a number of NULL.' }),
    queryValue: p.number({ doc: 'What the number is divided by.' }),
    activationQueryValue: p.number({ doc: 'Active above this number.', default: '0' }),
    connectionString: p.secret({
      doc: 'As the Go driver has it: `user:password@tcp(host:port)/database?tls=true`. `tls` may be `true`, `false`, `skip-verify` or `preferred`.',
      from: ['auth', 'env'],
      optional: true,
    }),
    host: p.text({ doc: 'Host.', from: login, optional: true }),
    port: p.text({ doc: 'Port; 3306 unless given.', from: login, optional: true }),
    username: p.text({ doc: 'User to log in as.', from: anywhere, optional: true }),
    password: p.secret({ doc: 'Password.', from: ['auth', 'env'], optional: true }),
    dbName: p.text({ doc: 'Database.', from: login, optional: true }),
    metricName: p.text({
      doc: 'Not used, as in KEDA: the name is made of that of the database.',
      optional: true,
    }),
  },
  target: 'queryValue',
  activation: 'activationQueryValue',

  resolve(values): Query | { problems: Problem[] } {
    const { connectionString, host, port = '3306', username = '', password, dbName = '', query } = values;
    if (connectionString === undefined && host === undefined) {
      const mending = 'give it, or a whole connectionString';
      return { problems: [{ problem: '"host" is missing', mending, place: { field: 'metadata.host' } }] };
    }
    const secret = password === undefined ? '' : `:${password.reveal()}`;
    const address = host?.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    const connection =
      connectionString ?? new Secret(`${username}${secret}@tcp(${address})/${encodeURIComponent(dbName)}`);
    const text = connection.reveal();
    if (!text.includes('/')) {
      const problem = '"connectionString" has no slash before the name of the database';
      return { problems: [{ problem, place: { field: 'metadata.connectionString' } }] };
    }
    const settings = settingsOf(connection);
    return {
      connection,
      identity: settings === undefined ? connection.fingerprint() : mysqlIdentity(settings),
      database: connectionString === undefined ? dbName : text.slice(text.lastIndexOf('/') + 1),
      query,
      timeoutMs: settings?.queryTimeoutMs ?? queryTimeoutMs,
    };
  },

  metricName: ({ database }) => normalizeMetricName(`mysql-${database}`),
  endpoint: ({ identity }) => identity,
  query: ({ query }) => fingerprint(query),
  timeoutMs: ({ timeoutMs }) => timeoutMs,

  open: ({ connection }, context) => openMysql(parseMysql(connection.reveal()), context),
  read: ({ query }, { conn, signal, now }) => conn.number(query, { signal, now }),
});

/** One that cannot be read is refused when it is opened, as KEDA does. */
function settingsOf(connection: Secret): MysqlSettings | undefined {
  try {
    return parseMysql(connection.reveal());
  } catch (thrown) {
    if (faultOf(thrown).code !== 'PARAM_INVALID') throw thrown;
    return undefined;
  }
}
