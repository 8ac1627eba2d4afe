import { X509Certificate } from 'node:crypto';
import type { HeaderValue, Peer, ServerRequest } from './handler.ts';

/** Somebody as Kubernetes knows them. */
export interface User {
  name: string;
  uid?: string;
  groups: readonly string[];
  extra: Readonly<Record<string, readonly string[]>>;
}

/** Whose clients are believed, and in what. */
export interface ClientTrust {
  /** Authorities (PEM, one certificate each) whose clients are who their certificate says. */
  clientCas: readonly string[];
  /** Those whose clients may say on whose behalf they ask: the API server as a front proxy. */
  frontProxy?: FrontProxy | undefined;
}

interface FrontProxy {
  cas: readonly string[];
  /** Common names of proxies; any is allowed where there are none. */
  allowedNames: readonly string[];
  /** Names of headers, in lower case; the first that has a value counts. */
  usernameHeaders: readonly string[];
  uidHeaders: readonly string[];
  groupHeaders: readonly string[];
  /** What the names of further headers begin with, in lower case. */
  extraHeaderPrefixes: readonly string[];
}

/**
 * Who a client is by its certificate: somebody on whose behalf a front proxy asks, or the subject itself. Without
 * one there is no user; with one that says nothing usable the client is refused unless it has a token.
 *
 * @param now epoch milliseconds
 */
export function identify(
  request: ServerRequest,
  trust: ClientTrust,
  now: number,
): { user?: User; refused: boolean } {
  const { peer, headers } = request;
  if (peer === undefined) return { refused: false };
  const { frontProxy, clientCas } = trust;
  let refused = false;
  if (frontProxy !== undefined) {
    const { allowedNames } = frontProxy;
    const allowed = allowedNames.length === 0 || allowedNames.includes(peer.commonName);
    if (allowed && vouchedFor(peer, frontProxy.cas, now)) {
      const user = userOfHeaders(headers, frontProxy);
      if (user !== undefined) return { user: withAuthenticated(user), refused };
    } else refused = true;
  }
  if (!vouchedFor(peer, clientCas, now)) return { refused: refused || clientCas.length > 0 };
  if (peer.commonName === '') return { refused };
  return { user: withAuthenticated(userOfCertificate(peer)), refused };
}

/** Everyone whom the API server knows is in this group, whether or not it is said of them. */
export function withAuthenticated(user: User): User {
  const group = 'system:authenticated';
  return user.groups.includes(group) || user.name === 'system:anonymous'
    ? user
    : Object.assign({}, user, { groups: [...user.groups, group] });
}

function userOfCertificate({ commonName, organizations, chain: [own = ''] }: Peer): User {
  const id = own.replaceAll(':', '').toLowerCase();
  return {
    name: commonName,
    groups: organizations,
    extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${id}`] },
  };
}

function userOfHeaders(headers: ServerRequest['headers'], proxy: FrontProxy): User | undefined {
  const name = firstOf(headers, proxy.usernameHeaders);
  if (name === undefined) return undefined;
  const uid = firstOf(headers, proxy.uidHeaders);
  const groups = proxy.groupHeaders
    .flatMap(header => valuesOf(headers[header]))
    .filter(group => group !== '');
  const extra: Record<string, string[]> = Object.create(null);
  for (const prefix of proxy.extraHeaderPrefixes) {
    for (const header of Object.keys(headers)) {
      if (!header.startsWith(prefix)) continue;
      const key = unescaped(header.slice(prefix.length));
      extra[key] = [...(extra[key] ?? []), ...valuesOf(headers[header])];
    }
  }
  return uid === undefined ? { name, groups, extra } : { name, uid, groups, extra };
}

function firstOf(headers: ServerRequest['headers'], names: readonly string[]): string | undefined {
  return names.map(name => valuesOf(headers[name])[0]).find(value => value !== undefined && value !== '');
}

function valuesOf(value: HeaderValue | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === 'string' ? [value] : value;
}

/** A malformed key is kept as it is: it is only handed on. */
function unescaped(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key;
  }
}

/** Asked again for each request: an authority may be given up while its client's connection is open. */
function vouchedFor(peer: Peer, cas: readonly string[], now: number): boolean {
  if (now < peer.validFrom || now > peer.validUntil) return false;
  const fingerprints = fingerprintsOf(cas);
  return peer.chain.some(link => fingerprints.has(link));
}

const known = new WeakMap<readonly string[], ReadonlySet<string>>();

function fingerprintsOf(cas: readonly string[]): ReadonlySet<string> {
  let found = known.get(cas);
  if (found === undefined) {
    found = new Set(cas.map(pem => new X509Certificate(pem).fingerprint256));
    known.set(cas, found);
  }
  return found;
}
