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
  const { credentials, region, service, now } = signing;
  const url = new URL(request.url);
  const time = `${new Date(now).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
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
  const scope = [time.slice(0, 8), region, service, 'aws4_request'];
  const toSign = ['AWS4-HMAC-SHA256', time, scope.join('/'), sha256(canonical)].join('\n');
  const key = scope.reduce<string | Buffer>(
    (from, part) => hmac(from, part),
    `AWS4${credentials.secretAccessKey.reveal()}`,
  );
  const signature = hmac(key, toSign).toString('hex');
  const who = `Credential=${credentials.accessKeyId}/${scope.join('/')}`;
  headers['authorization'] = `AWS4-HMAC-SHA256 ${who}, SignedHeaders=${names}, Signature=${signature}`;
  return headers;
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
