import { createHash, createHmac } from 'node:crypto';
import type { Secret } from './secret.ts';

/** Keys of AWS, for good or for a time. */
export interface AwsCredentials {
  accessKeyId: string;
  secretAccessKey: Secret;
  /** Only with keys that end. */
  sessionToken?: Secret;
}

export interface AwsRequest {
  method: string;
  url: string;
  /** Without `host`, which is added; names in any case. */
  headers?: Readonly<Record<string, string>>;
  body?: string | Uint8Array;
}

export interface AwsSigning {
  credentials: AwsCredentials;
  region: string;
  /** As AWS signs it, such as `sts`, `sqs` or `monitoring`. */
  service: string;
  /** Epoch milliseconds; AWS refuses what is off by more than a few minutes. */
  now: number;
}

/**
 * The headers to send a request to AWS with, signed by Signature Version 4: those given, and `x-amz-date`,
 * `x-amz-security-token` and `authorization`. Paths are expected as they go over the wire, and are encoded once
 * more in the signature, as all services but S3 want it.
 *
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function signedHeaders(request: AwsRequest, signing: AwsSigning): Record<string, string> {
  const { credentials } = signing;
  const url = new URL(request.url);
  const time = timeOf(signing);
  const headers: Record<string, string> = { ...request.headers, 'x-amz-date': time };
  if (credentials.sessionToken !== undefined) {
    headers['x-amz-security-token'] = credentials.sessionToken.reveal();
  }
  const named = Object.entries({ ...headers, host: url.host })
    .map(([name, value]) => [name.toLowerCase(), value.trim().replace(/ +/g, ' ')] as const)
    .sort(byCode);
  const names = named.map(([name]) => name).join(';');
  const canonical = [
    request.method,
    canonicalPath(url.pathname),
    canonicalQuery(url.search),
    ...named.map(([name, value]) => `${name}:${value}`),
    '',
    names,
    sha256(request.body ?? ''),
  ].join('\n');
  const { scope, signature } = signatureOf(canonical, time, signing);
  const who = `Credential=${credentials.accessKeyId}/${scope}`;
  headers['authorization'] = `AWS4-HMAC-SHA256 ${who}, SignedHeaders=${names}, Signature=${signature}`;
  return headers;
}

/**
 * The query of a GET without a body, in order: that of the URL, and what signs it for `lifeSeconds`.
 *
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function signedQuery(url: URL, signing: AwsSigning, lifeSeconds: number): Map<string, string> {
  const { accessKeyId, sessionToken } = signing.credentials;
  const time = timeOf(signing);
  const query = new Map(url.searchParams);
  query.set('X-Amz-Algorithm', 'AWS4-HMAC-SHA256');
  query.set('X-Amz-Credential', `${accessKeyId}/${scopeOf(time, signing).join('/')}`);
  query.set('X-Amz-Date', time);
  query.set('X-Amz-Expires', String(lifeSeconds));
  if (sessionToken !== undefined) query.set('X-Amz-Security-Token', sessionToken.reveal());
  query.set('X-Amz-SignedHeaders', 'host');
  const search = canonicalQuery(`?${queryText(query)}`);
  const lines = ['GET', canonicalPath(url.pathname), search, `host:${url.host}`, '', 'host', sha256('')];
  query.set('X-Amz-Signature', signatureOf(lines.join('\n'), time, signing).signature);
  return query;
}

/** A query as AWS reads it, without the question mark. */
export const queryText = (query: ReadonlyMap<string, string>) =>
  [...query].map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&');

const timeOf = ({ now }: AwsSigning) => `${new Date(now).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;

const scopeOf = (time: string, { region, service }: AwsSigning) => [
  time.slice(0, 8),
  region,
  service,
  'aws4_request',
];

function signatureOf(canonical: string, time: string, signing: AwsSigning) {
  const parts = scopeOf(time, signing);
  const scope = parts.join('/');
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n');
  const key = parts.reduce<string | Buffer>(
    (from, part) => hmac(from, part),
    `AWS4${signing.credentials.secretAccessKey.reveal()}`,
  );
  return { scope, signature: hmac(key, toSign).toString('hex') };
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');

const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();

/** By code points, as AWS sorts; JavaScript's own order is that of UTF-16. */
const byCode = (a: readonly [string, string], b: readonly [string, string]) =>
  Buffer.compare(Buffer.from(a.join('\0')), Buffer.from(b.join('\0')));

/** RFC 3986's unreserved characters stay, which are fewer than those that JavaScript leaves. */
const encode = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, char => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

const canonicalPath = (path: string) => path.split('/').map(encode).join('/') || '/';

function canonicalQuery(search: string): string {
  if (search.length < 2) return '';
  return search
    .slice(1)
    .split('&')
    .map(pair => {
      const at = pair.indexOf('=');
      const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
      return [encode(decode(name)), encode(decode(value))] as const;
    })
    .sort(byCode)
    .map(pair => pair.join('='))
    .join('&');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
