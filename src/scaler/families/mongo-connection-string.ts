import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';

/** Options that would read files of whoever runs us, or go through a machine of the tenant's choice. */
const refusedOptions = new Set([
  'tlscafile',
  'tlscertificatekeyfile',
  'tlscertificatefile',
  'tlsprivatekeyfile',
  'tlscrlfile',
  'sslca',
  'sslcert',
  'sslkey',
  'sslcrl',
  'sslclientcertificatekeyfile',
  'sslcertificateauthorityfile',
  'proxyhost',
  'proxyport',
  'proxyusername',
  'proxypassword',
]);
/** Ways to log in that need nothing but what stands in the manifest; the others would use what is ours. */
const mechanisms = ['DEFAULT', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'PLAIN', 'MONGODB-X509'];

/** Other names that KEDA's client has for options. */
const aliases: Readonly<Record<string, string>> = {
  heartbeatintervalms: 'heartbeatFrequencyMS',
  maxstaleness: 'maxStalenessSeconds',
  sslinsecure: 'tlsInsecure',
};

/** What our client is told. KEDA's ignores what it does not know; and no option is for people to reach ours by. */
const passed = new Set(
  [
    ...['appName', 'authMechanism', 'authMechanismProperties', 'authSource', 'connectTimeoutMS'],
    ...['directConnection', 'heartbeatFrequencyMS', 'loadBalanced', 'localThresholdMS', 'maxIdleTimeMS'],
    ...['maxStalenessSeconds', 'readConcernLevel', 'readPreference', 'readPreferenceTags', 'replicaSet'],
    ...['retryReads', 'serverSelectionTimeoutMS', 'socketTimeoutMS', 'srvMaxHosts', 'srvServiceName'],
    ...['ssl', 'tls', 'tlsAllowInvalidCertificates', 'tlsAllowInvalidHostnames', 'tlsInsecure'],
  ].map(name => name.toLowerCase()),
);

/** What is looked at of a connection string before the client library reads it. */
export interface MongoUri {
  hosts: string;
  user: string;
  /** Those that our client knows. */
  options: URLSearchParams;
  /** The whole, with these options only. */
  known: Secret;
}

/**
 * Checks a connection string for what it may not lead to.
 *
 * @param ownTls how to encrypt is said beside it, and what it says of that does not count
 * @throws Fault PARAM_INVALID, or NOT_SUPPORTED for ways to log in; no message holds a value
 */
export function parseMongoUri(uri: string, { ownTls = false } = {}): MongoUri {
  const {
    base,
    user = '',
    hosts,
    path = '',
    query = '',
  } = /^(?<base>mongodb(?:\+srv)?:\/\/(?:(?<user>[^@:/?]*)(?::[^@/?]*)?@)?(?<hosts>[^/?@]+))(?<path>\/[^?]*)?(?:\?(?<query>.*))?$/s.exec(
    uri,
  )?.groups ?? {};
  if (hosts === undefined)
    throw invalid('it is not mongodb://user:password@host:port/… with all signs escaped');
  // A socket, whose slashes have to be escaped.
  if (/%2f/i.test(hosts)) throw invalid('a socket in the file system is not reached from here');
  const options = new URLSearchParams();
  for (const [name, value] of new URLSearchParams(query.replaceAll(';', '&'))) {
    if (refusedOptions.has(name.toLowerCase())) throw invalid(`"${name}" is not taken here`);
    if (name.toLowerCase() === 'authmechanism' && !mechanisms.includes(value.toUpperCase())) {
      const sentence = `a MongoDB that wants to be logged in to with ${value.slice(0, 20)} cannot be asked yet`;
      throw new Fault('NOT_SUPPORTED', sentence);
    }
    const known = aliases[name.toLowerCase()] ?? name;
    if (ownTls && /^(tls|ssl)/i.test(known)) continue;
    if (name.toLowerCase() === 'connect') options.append('directConnection', String(value === 'direct'));
    else if (passed.has(known.toLowerCase())) options.append(known, value);
  }
  const known = `${base}${path || '/'}${options.size > 0 ? `?${options}` : ''}`;
  return { hosts, user, options, known: new Secret(known) };
}

const invalid = (problem: string) => new Fault('PARAM_INVALID', `the connection string: ${problem}`);
