import { createHmac } from 'node:crypto';
import type { StorageKey } from './azure-connection-string.ts';

/** A request as it goes out, all but its Authorization header. */
export interface UnsignedRequest {
  method: string;
  url: URL;
  /** Names in lower case. `x-ms-date` and `x-ms-version` are among them. */
  headers: Readonly<Record<string, string>>;
  /** Bytes of the body. */
  contentLength: number;
}

/** Standard headers in the order in which the signature takes them, `content-length` in its place. */
const signedHeaders = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-type',
  'date',
  'if-modified-since',
  'if-match',
  'if-none-match',
  'if-unmodified-since',
  'range',
];

/**
 * The Authorization header of Azure's "Shared Key" scheme for the blob and queue services, versions 2015-02-21
 * and later (Microsoft's "Authorize with Shared Key").
 */
export function sharedKeyHeader({ account, key }: StorageKey, request: UnsignedRequest): string {
  const signature = createHmac('sha256', Buffer.from(key.reveal(), 'base64'))
    .update(stringToSign(account, request), 'utf8')
    .digest('base64');
  return `SharedKey ${account}:${signature}`;
}

function stringToSign(account: string, { method, url, headers, contentLength }: UnsignedRequest): string {
  const standard = signedHeaders.map(name =>
    // A length of zero is signed as nothing at all, though the header is sent.
    name === 'content-length' ? (contentLength === 0 ? '' : String(contentLength)) : (headers[name] ?? ''),
  );
  const ours = Object.entries(headers)
    .filter(([name]) => name.startsWith('x-ms-'))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}:${value.trim()}\n`);
  return `${[method, ...standard].join('\n')}\n${ours.join('')}${canonicalResource(account, url)}`;
}

function canonicalResource(account: string, url: URL): string {
  const values = new Map<string, string[]>();
  for (const [name, value] of url.searchParams) {
    const key = name.toLowerCase();
    values.set(key, [...(values.get(key) ?? []), value]);
  }
  const query = [...values]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, each]) => `\n${name}:${each.sort().join(',')}`);
  // The account comes first, and a second time where the URL's path begins with it, as the emulator's does.
  return `/${account}${url.pathname}${query.join('')}`;
}
