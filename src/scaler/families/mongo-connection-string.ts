import { Fault } from '../../base/errors.ts';

/** Options that would read files of whoever runs us, or go through a machine of the tenant's choice. */
const refusedOptions = new Set([
  'tlscafile',
  'tlscertificatekeyfile',
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

/** What is looked at of a connection string before the client library reads it. */
export interface MongoUri {
  hosts: string;
  user: string;
  options: URLSearchParams;
}

/**
 * Checks a connection string for what it may not lead to.
 *
 * @throws Fault PARAM_INVALID, or NOT_SUPPORTED for ways to log in; no message holds a value
 */
export function parseMongoUri(uri: string): MongoUri {
  const {
    user = '',
    hosts,
    query = '',
  } = /^mongodb(?:\+srv)?:\/\/(?:(?<user>[^@:/?]*)(?::[^@/?]*)?@)?(?<hosts>[^/?@]+)(?:\/[^?]*)?(?:\?(?<query>.*))?$/s.exec(
    uri,
  )?.groups ?? {};
  if (hosts === undefined)
    throw invalid('it is not mongodb://user:password@host:port/… with all signs escaped');
  // A socket, whose slashes have to be escaped.
  if (/%2f/i.test(hosts)) throw invalid('a socket in the file system is not reached from here');
  const options = new URLSearchParams(query);
  for (const [name, value] of options) {
    if (refusedOptions.has(name.toLowerCase())) throw invalid(`"${name}" is not taken here`);
    if (name.toLowerCase() === 'authmechanism' && !mechanisms.includes(value.toUpperCase())) {
      const sentence = `a MongoDB that wants to be logged in to with ${value.slice(0, 20)} cannot be asked yet`;
      throw new Fault('NOT_SUPPORTED', sentence);
    }
  }
  return { hosts, user, options };
}

const invalid = (problem: string) => new Fault('PARAM_INVALID', `the connection string: ${problem}`);
