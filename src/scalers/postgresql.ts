import { faultOf } from '../base/errors.ts';
import { fingerprint, Secret } from '../base/secret.ts';
import { defineScaler } from '../scaler/define.ts';
import { openPostgres } from '../scaler/families/postgres.ts';
import {
  type PostgresSettings,
  parsePostgres,
  postgresIdentity,
  statementTimeoutMs,
} from '../scaler/families/postgres-connection-string.ts';
import { queryTimeoutMs } from '../scaler/families/sql.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

const login = ['auth', 'metadata'] as const;
/** Where KEDA puts the token of an identity into the connection string. */
const tokenPlace = '%PASSWORD%';

interface Query {
  connection: Secret;
  /** The password is a token of the pod identity. */
  withToken: boolean;
  identity: string;
  query: string;
  timeoutMs: number;
}

export default defineScaler({
  type: 'postgresql',
  doc: 'The one number that a SQL query gives. NULL, no row and texts that are no number are failures, not zeros. The query runs in a transaction that may not write, for at most 10 seconds or `statement_timeout`.',
  testedWith: { kind: 'real', with: 'PostgreSQL 15' },
  params: {
    query: p.text({ doc: 'The query; it must give one number. COALESCE makes a number of NULL.' }),
    targetQueryValue: p.number({ doc: 'What the number is divided by.', optional: true }),
    activationTargetQueryValue: p.number({ doc: 'Active above this number.', optional: true }),
    connection: p.secret({
      doc: 'Connection string, as a `postgresql://` URI or as `key=value` pairs. `sslrootcert`, `sslcert` and `sslkey` hold the PEM texts themselves.',
      from: ['auth', 'env'],
      optional: true,
    }),
    host: p.text({
      doc: 'Host, or several with commas between them, tried in this order.',
      from: login,
      optional: true,
    }),
    port: p.text({ doc: 'Port, or one for each host.', from: login, optional: true }),
    userName: p.text({ doc: 'User to log in as.', from: login, optional: true }),
    password: p.secret({
      doc: 'Password; with the pod identity azure-workload its token is the password.',
      from: ['auth', 'env'],
      optional: true,
    }),
    dbName: p.text({ doc: 'Database.', from: login, optional: true }),
    sslmode: p.text({
      doc: '`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`.',
      from: login,
      optional: true,
    }),
  },
  target: 'targetQueryValue',
  activation: 'activationTargetQueryValue',

  resolve(values, { podIdentity, asMetricSource }): Query | { problems: Problem[] } {
    const withToken = podIdentity.provider === 'azure-workload';
    const given = withToken ? undefined : values.connection;
    const parts = ['host', 'port', 'userName', 'dbName', 'sslmode'] as const;
    const lacking: string[] = given === undefined ? parts.filter(name => values[name] === undefined) : [];
    // KEDA takes a target of 0 for none.
    if (!asMetricSource && !values.targetQueryValue) lacking.push('targetQueryValue');
    if (lacking.length > 0) {
      const mending = given === undefined && !withToken ? 'give it, or a whole connection string' : 'give it';
      return {
        problems: lacking.map(name => ({
          problem: `"${name}" is missing`,
          ...(name === 'targetQueryValue' ? {} : { mending }),
          place: { field: `metadata.${name}` },
        })),
      };
    }
    const pairs = [
      `host=${quoted(values.host)} port=${quoted(values.port)} user=${quoted(values.userName)}`,
      `dbname=${quoted(values.dbName)} sslmode=${quoted(values.sslmode)}`,
      withToken ? tokenPlace : `password=${quoted(values.password?.reveal())}`,
    ];
    const connection = given ?? new Secret(pairs.join(' '));
    const settings = readable(connection, withToken);
    return {
      connection,
      withToken,
      identity: settings === undefined ? connection.fingerprint() : identityOf(settings, withToken),
      query: values.query,
      timeoutMs: (settings && statementTimeoutMs(settings)) ?? queryTimeoutMs,
    };
  },

  metricName: () => 'postgresql',
  endpoint: ({ identity }) => identity,
  query: ({ query }) => fingerprint(query),
  timeoutMs: ({ timeoutMs }) => timeoutMs,

  open: ({ connection, withToken }, context) =>
    openPostgres({ settings: settingsOf(connection, withToken), withToken }, context),
  read: ({ query }, { conn, signal, now }) => conn.number(query, { signal, now }),
});

/** A value of a `key=value` pair. */
function quoted(value = ''): string {
  return /[\s'\\]/.test(value) ? `'${value.replace(/[\\']/g, '\\$&')}'` : value;
}

const settingsOf = (connection: Secret, withToken: boolean) =>
  parsePostgres(withToken ? connection.reveal().replace(tokenPlace, '') : connection.reveal());

const identityOf = (settings: PostgresSettings, withToken: boolean) =>
  `${postgresIdentity(settings)}${withToken ? ' token' : ''}`;

/** One that cannot be read is refused when it is opened, as KEDA does. */
function readable(connection: Secret, withToken: boolean): PostgresSettings | undefined {
  try {
    return settingsOf(connection, withToken);
  } catch (thrown) {
    if (faultOf(thrown).code !== 'PARAM_INVALID') throw thrown;
    return undefined;
  }
}
