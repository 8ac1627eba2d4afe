import { parseDuration } from '../../base/duration.ts';
import { Fault } from '../../base/errors.ts';
import { fingerprint, Secret } from '../../base/secret.ts';
import { type Address, addressText } from './socket.ts';

/** What a connection string says, with the defaults of KEDA's driver. */
export interface MysqlSettings {
  address: Address;
  user: string;
  password: Secret | undefined;
  database: string;
  /** `skip-verify` encrypts for whoever answers. */
  encryption: 'none' | 'verify' | 'skip-verify';
  /** Go on plainly with a server that does not encrypt. */
  mayBePlain: boolean;
  /** The password may be sent as it is where the server asks for that. */
  clearText: boolean;
  /** The server may know no more than a hash of the password that is as good as it (SHA-1). */
  nativeHash: boolean;
  multiStatements: boolean;
  /** How the queries are written: `SET NAMES` takes the first of the names that the server knows. */
  charsets: readonly string[];
  collation: string | undefined;
  /** How long connecting and a query may take, in milliseconds. */
  connectTimeoutMs: number | undefined;
  queryTimeoutMs: number | undefined;
  /** Said to the server about us. */
  attributes: Readonly<Record<string, string>>;
  /** Of the session, set after all else, in SQL. */
  variables: Readonly<Record<string, string>>;
}

const flags = new Set([
  'allowAllFiles',
  'allowCleartextPasswords',
  'allowFallbackToPlaintext',
  'allowNativePasswords',
  'allowOldPasswords',
  'checkConnLiveness',
  'clientFoundRows',
  'columnsWithAlias',
  'interpolateParams',
  'multiStatements',
  'parseTime',
  'rejectReadOnly',
]);
const texts = new Set([
  'charset',
  'collation',
  'compress',
  'connectionAttributes',
  'loc',
  'maxAllowedPacket',
  'readTimeout',
  'serverPubKey',
  'strict',
  'timeTruncate',
  'timeout',
  'tls',
  'writeTimeout',
]);

/**
 * Reads a connection string as KEDA's driver does: `user:password@tcp(host:port)/database?name=value&…`.
 *
 * @throws Fault PARAM_INVALID; no message holds a value
 */
export function parseMysql(text: string): MysqlSettings {
  // A password may have slashes, the rest may not.
  const slash = text.lastIndexOf('/');
  if (slash < 0) throw invalid('the slash before the name of the database is missing');
  const [database = '', ...query] = text.slice(slash + 1).split('?');
  const before = text.slice(0, slash);
  const at = before.lastIndexOf('@');
  const [user = '', ...password] = at < 0 ? [] : before.slice(0, at).split(':');
  const values = valuesOf(query.join('?'));
  return {
    address: addressOf(before.slice(at + 1)),
    user,
    password: password.length === 0 || password.join(':') === '' ? undefined : new Secret(password.join(':')),
    database: decoded(database),
    ...encryptionOf(values),
    clearText: isOn(values, 'allowCleartextPasswords'),
    nativeHash: !values.has('allowNativePasswords') || isOn(values, 'allowNativePasswords'),
    multiStatements: isOn(values, 'multiStatements'),
    charsets: name(values, 'charset')?.split(',') ?? [],
    collation: name(values, 'collation'),
    connectTimeoutMs: wait(values, 'timeout'),
    queryTimeoutMs: wait(values, 'readTimeout'),
    attributes: attributesOf(values.get('connectionAttributes') ?? ''),
    variables: variablesOf(values),
  };
}

const invalid = (problem: string) => new Fault('PARAM_INVALID', `the connection string: ${problem}`);

type Values = ReadonlyMap<string, string>;

function valuesOf(query: string): Values {
  const values = new Map<string, string>();
  for (const part of query.split('&').filter(each => each.includes('='))) {
    const [name = '', ...rest] = part.split('=');
    values.set(name, decoded(rest.join('=').replaceAll('+', ' ')));
  }
  return values;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('a % is not followed by two hexadecimal digits');
  }
}

function addressOf(text: string): Address {
  const { network = '', address = '' } =
    /^(?<network>[^(]*)(?:\((?<address>.*)\))?$/.exec(text)?.groups ?? {};
  if (text.includes('(') && !text.endsWith(')')) throw invalid('the address has no closing parenthesis');
  if (network === 'unix' || address.startsWith('/')) {
    throw invalid('a socket in the file system is not reached from here; give tcp(host:port)');
  }
  if (!/^(|tcp|tcp4|tcp6)$/.test(network)) throw invalid('the network is not tcp');
  const {
    bracketed,
    plain = '',
    port = '3306',
  } = /^(?:\[(?<bracketed>[^\]]+)\]|(?<plain>[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*|[^:]*))(?::(?<port>.*))?$/i.exec(
    address,
  )?.groups ?? {};
  const host = (bracketed ?? plain) || '127.0.0.1';
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535 || /[\s/]/.test(host)) {
    throw invalid('the address is not host:port with a port from 1 to 65535');
  }
  return { host, port: Number(port) };
}

function isOn(values: Values, name: string): boolean {
  const value = values.get(name) ?? 'false';
  if (/^(1|true|TRUE|True)$/.test(value)) return true;
  if (/^(0|false|FALSE|False)$/.test(value)) return false;
  throw invalid(`${name} is neither true nor false`);
}

function encryptionOf(values: Values): Pick<MysqlSettings, 'encryption' | 'mayBePlain'> {
  const tls = values.get('tls') ?? 'false';
  const mayBePlain = isOn(values, 'allowFallbackToPlaintext');
  switch (tls.toLowerCase()) {
    case 'preferred':
      return { encryption: 'skip-verify', mayBePlain: true };
    case 'skip-verify':
      return { encryption: 'skip-verify', mayBePlain };
    case '1':
    case 'true':
      return { encryption: 'verify', mayBePlain };
    case '':
    case '0':
    case 'false':
      return { encryption: 'none', mayBePlain };
    default:
      throw invalid('tls is none of true, false, skip-verify and preferred');
  }
}

/** Goes into SQL as it is. */
function name(values: Values, of: string): string | undefined {
  const value = values.get(of) ?? '';
  if (/^[\w,]*$/.test(value)) return value || undefined;
  throw invalid(`${of} is not a name`);
}

function wait(values: Values, name: string): number | undefined {
  const value = values.get(name);
  if (value === undefined) return undefined;
  const ms = parseDuration(value);
  if (ms === undefined || ms < 0) throw invalid(`${name} is not a duration such as 5s`);
  return ms === 0 ? undefined : ms;
}

function attributesOf(text: string): Record<string, string> {
  const pairs = text.split(',').filter(each => each.includes(':'));
  return Object.fromEntries(
    pairs.map(each => [each.slice(0, each.indexOf(':')), each.slice(each.indexOf(':') + 1)]),
  );
}

function variablesOf(values: Values): Record<string, string> {
  const variables = [...values].filter(([name]) => !flags.has(name) && !texts.has(name));
  for (const [name] of variables) {
    if (!/^[\w@.]+$/.test(name)) throw invalid('the name of a variable has signs that none can have');
  }
  return Object.fromEntries(variables);
}

/** What sessions are shared by: where to, who, and how, without a secret in it. */
export function mysqlIdentity({ address, user, password, database, ...how }: MysqlSettings): string {
  const rest = fingerprint(JSON.stringify([password?.fingerprint(), how]));
  return `${user}@${addressText(address)}/${database} ${rest}`;
}
