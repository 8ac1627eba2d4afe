import { Fault } from '../../base/errors.ts';
import { fingerprint, Secret } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity } from '../../base/tls.ts';
import { type Address, addressText } from './socket.ts';

export const sslModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
export const sessionKinds = [
  'any',
  'read-write',
  'read-only',
  'primary',
  'standby',
  'prefer-standby',
] as const;

export type SslMode = (typeof sslModes)[number];
export type SessionKind = (typeof sessionKinds)[number];

/** What a connection string says, with libpq's defaults. */
export interface PostgresSettings {
  /** Tried in this order. */
  servers: readonly Address[];
  user: string;
  password: Secret | undefined;
  sslMode: SslMode;
  /** From `sslrootcert`, `sslcert` and `sslkey`, which hold the PEM itself here. */
  tls: TlsOptions;
  bindChannel: boolean;
  /** Ways to log in that we agree to, `none` among them where the server need not ask; any unless given. */
  logins: readonly string[] | undefined;
  sessionKind: SessionKind;
  connectTimeoutMs: number | undefined;
  /** What the session starts with, `database` among it. */
  parameters: Readonly<Record<string, string>>;
}

/** Settings of the client that say nothing to the server; what pgx has of its own among them. */
const ignored = new Set([
  'fallback_application_name',
  'sslsni',
  'sslnegotiation',
  'ssl_min_protocol_version',
  'ssl_max_protocol_version',
  'min_protocol_version',
  'max_protocol_version',
  'gssencmode',
  'krbspn',
  'krbsrvname',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'default_query_exec_mode',
  'statement_cache_capacity',
  'description_cache_capacity',
]);
/** These would read files of whoever runs us. */
const ofFiles = new Set(['service', 'servicefile', 'passfile', 'sslcrl', 'sslcrldir']);
/** Looked at here; everything else is for the server. */
const known = new Set([
  'host',
  'port',
  'user',
  'password',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'sslpassword',
  'channel_binding',
  'require_auth',
  'target_session_attrs',
  'connect_timeout',
]);

/**
 * Reads a connection string as KEDA's driver does: a URI (`postgres://` or `postgresql://`) or `key=value` pairs.
 *
 * @throws Fault PARAM_INVALID; no message holds a value
 */
export function parsePostgres(text: string): PostgresSettings {
  const isUri = /^postgres(ql)?:\/\//.test(text);
  const values = isUri ? valuesOfUri(text) : valuesOfPairs(text);
  for (const name of values.keys()) {
    if (ofFiles.has(name)) throw invalid(`"${name}" names a file, which is not read here`);
  }
  const user = values.get('user') ?? '';
  if (user === '') throw invalid('no user is given');
  const password = values.get('password') ?? '';
  const timeout = values.get('connect_timeout') ?? '0';
  if (!/^\d+$/.test(timeout)) throw invalid('connect_timeout is not a whole number of seconds');
  return {
    servers: serversOf(values),
    user,
    password: password === '' ? undefined : new Secret(password),
    sslMode: choice(values, 'sslmode', sslModes) ?? 'prefer',
    tls: tlsOf(values),
    bindChannel: choice(values, 'channel_binding', ['disable', 'prefer', 'require']) === 'require',
    logins: loginsOf(values.get('require_auth') ?? ''),
    sessionKind: choice(values, 'target_session_attrs', sessionKinds) ?? 'any',
    connectTimeoutMs: timeout === '0' ? undefined : Number(timeout) * 1000,
    parameters: parametersOf(values),
  };
}

const invalid = (problem: string) => new Fault('PARAM_INVALID', `the connection string: ${problem}`);

type Values = Map<string, string>;

function valuesOfUri(text: string): Values {
  const {
    authority = '',
    path = '',
    query = '',
  } = /^\w+:\/\/(?<authority>[^/?#]*)(?:\/(?<path>[^?#]*))?(?:\?(?<query>[^#]*))?/.exec(text)?.groups ?? {};
  const values: Values = new Map();
  const at = authority.lastIndexOf('@');
  if (at >= 0) {
    const [user = '', ...password] = authority.slice(0, at).split(':');
    values.set('user', decoded(user));
    if (password.length > 0) values.set('password', decoded(password.join(':')));
  }
  const hosts = authority
    .slice(at + 1)
    .split(',')
    .map(hostAndPort);
  if (hosts.some(({ host }) => host !== '')) {
    values.set('host', hosts.map(({ host }) => decoded(host)).join(','));
    // One that is given counts for all, as for the driver.
    values.set('port', hosts.flatMap(({ port }) => (port === '' ? [] : [port])).join(','));
  }
  if (path !== '') values.set('database', decoded(path));
  // Of a name given twice the first counts.
  for (const [name, value] of [...new URLSearchParams(query)].toReversed()) {
    values.set(name === 'dbname' ? 'database' : name, value);
  }
  return values;
}

function hostAndPort(text: string): { host: string; port: string } {
  const {
    bracketed,
    plain = '',
    port = '',
  } = /^(?:\[(?<bracketed>[^\]]*)\]|(?<plain>[^:]*))(?::(?<port>.*))?$/.exec(text)?.groups ?? {};
  return { host: bracketed ?? plain, port };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('a % is not followed by two hexadecimal digits');
  }
}

/**
 * `key = value` pairs with blanks between them. A value in quotes may have blanks; in both kinds a backslash makes a
 * quote or another backslash a sign like others.
 */
function valuesOfPairs(text: string): Values {
  const values: Values = new Map();
  const pair = /\s*([^\s=]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'(?=\s|$)|(?!')((?:[^\s\\]|\\.)*)(?=\s|$))\s*/sy;
  while (pair.lastIndex < text.length) {
    const found = pair.exec(text);
    if (found === null) throw invalid('it is neither a postgresql:// URI nor key=value pairs');
    const [, name = '', quoted, plain = ''] = found;
    values.set(name === 'dbname' ? 'database' : name, (quoted ?? plain).replace(/\\([\\'])/g, '$1'));
  }
  return values;
}

function choice<const C extends readonly string[]>(
  values: Values,
  name: string,
  choices: C,
): C[number] | undefined {
  const value = values.get(name) ?? '';
  if (value === '') return undefined;
  if (choices.includes(value)) return value;
  throw invalid(`${name} is none of ${choices.join(', ')}`);
}

const allLogins = ['none', 'password', 'md5', 'scram-sha-256', 'gss', 'sspi', 'oauth'] as const;

/** `require_auth`: names with commas between them, or all but those with a `!` before each. */
function loginsOf(text: string): readonly string[] | undefined {
  if (text === '') return undefined;
  const given = text.split(',').map(each => each.trim());
  const names = given.map(each => each.replace(/^!/, ''));
  const isKnown = (each: string) => (allLogins as readonly string[]).includes(each);
  if (!names.every(isKnown)) throw invalid(`require_auth has none of ${allLogins.join(', ')}`);
  const negative = given.filter(each => each.startsWith('!')).length;
  if (negative === 0) return names;
  if (negative < given.length) throw invalid('require_auth has names with a ! and without one');
  return allLogins.filter(each => !names.includes(each));
}

function serversOf(values: Values): Address[] {
  const hosts = (values.get('host') || 'localhost').split(',');
  const ports = (values.get('port') || '5432').split(',');
  return hosts.map((host, index) => {
    if (host.startsWith('/') || host.startsWith('@')) {
      throw invalid(
        'the host is a socket in the file system, which is not reached from here; give a name or an address',
      );
    }
    const port = ports[index] ?? ports[0] ?? '';
    if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
      throw invalid('the port is not a number from 1 to 65535');
    }
    if (host === '' || /[\s/]/.test(host)) throw invalid('a host is missing or cannot be one');
    return { host, port: Number(port) };
  });
}

function tlsOf(values: Values): TlsOptions {
  const ca = pem(values, 'sslrootcert');
  const cert = pem(values, 'sslcert');
  const key = pem(values, 'sslkey');
  const keyPassword = values.get('sslpassword');
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key: new Secret(key) }),
    ...(keyPassword === undefined ? {} : { keyPassword: new Secret(keyPassword) }),
  };
}

function pem(values: Values, name: string): string | undefined {
  const value = values.get(name) ?? '';
  // What is trusted anyway.
  if (value === '' || value === 'system') return undefined;
  if (value.includes('-----BEGIN ')) return value;
  throw invalid(`"${name}" names a file, which is not read here; write the PEM text itself in its place`);
}

function parametersOf(values: Values): Record<string, string> {
  return Object.fromEntries([...values].filter(([name]) => !known.has(name) && !ignored.has(name)));
}

const unitMs: Readonly<Record<string, number>> = { '': 1, ms: 1, s: 1000, min: 60_000 };

/** How long a query may take where the connection string says so, in milliseconds. */
export function statementTimeoutMs({ parameters }: PostgresSettings): number | undefined {
  const { value, unit = '' } =
    /^(?<value>\d+)\s*(?<unit>ms|s|min|)$/.exec(parameters['statement_timeout'] ?? '')?.groups ?? {};
  return Number(value) > 0 ? Number(value) * (unitMs[unit] ?? 1) : undefined;
}

/** What sessions are shared by: where to, who, and how, without a secret in it. */
export function postgresIdentity({ servers, user, password, ...rest }: PostgresSettings): string {
  const { tls, parameters, ...how } = rest;
  const all = [
    password?.fingerprint(),
    tlsIdentity(tls),
    Object.entries(parameters).sort(),
    Object.entries(how),
  ];
  const where = `${servers.map(addressText).join(',')}/${parameters['database'] ?? user}`;
  return `${user}@${where} ${fingerprint(JSON.stringify(all))}`;
}
