import { Fault } from '../../base/errors.ts';
import { type HttpAnswer, httpClient, requireOk } from '../../base/http.ts';
import { withoutSecrets } from '../../base/secret.ts';
import type { OpenContext } from '../context.ts';
import { type HttpAccess, requireUsableTls } from './http-auth.ts';
import { oauthTokens } from './oauth.ts';

export interface SourceRequest {
  url: string;
  method?: 'GET' | 'POST';
  headers?: Readonly<Record<string, string>>;
  body?: string;
  /** Names the source in sentences; the URL's host unless told. */
  what?: string;
  /** Epoch milliseconds. */
  now: number;
  signal: AbortSignal;
  maxBytes?: number;
}

/** A source that speaks HTTP, with its credentials. */
export interface HttpConnection extends AsyncDisposable {
  /**
   * The body of a 2xx answer. Redirects of a GET are followed; credentials go to the same host only.
   *
   * @throws Fault SOURCE_…, AUTH_FAILED or CANCELLED; no message holds a credential
   */
  fetch(request: SourceRequest): Promise<Buffer>;
}

const mostRedirects = 10;

/**
 * Opens nothing yet; connections are made by the first request and closed when the result is disposed.
 *
 * @throws Fault PARAM_INVALID where certificates or keys cannot be used
 */
export function openHttp(access: HttpAccess, { http, clientName }: OpenContext): HttpConnection {
  requireUsableTls(access.tls);
  const client = httpClient({ ...http, ...(access.tls === undefined ? {} : { tls: access.tls }) });
  const tokens = access.oauth === undefined ? undefined : oauthTokens(access.oauth, client);
  const credentials: Record<string, string> = {};
  for (const [name, value] of Object.entries(access.headers)) credentials[name] = value.reveal();

  async function once(request: SourceRequest, token: string | undefined): Promise<HttpAnswer> {
    const home = new URL(request.url);
    let url = withKey(home, access);
    for (let redirects = 0; ; redirects += 1) {
      const trusted =
        url.hostname === home.hostname && (home.protocol === 'http:' || url.protocol === 'https:');
      const answer = await client.send({
        url: url.href,
        method: request.method ?? 'GET',
        headers: {
          'user-agent': clientName,
          ...(trusted ? { ...userOf(url), ...request.headers, ...credentials, ...bearer(token) } : {}),
        },
        signal: request.signal,
        ...(request.body === undefined ? {} : { body: request.body }),
        ...(request.maxBytes === undefined ? {} : { maxBytes: request.maxBytes }),
      });
      const next = (request.method ?? 'GET') === 'GET' ? redirectOf(answer, url) : undefined;
      if (next === undefined) return answer;
      if (redirects === mostRedirects) {
        throw new Fault('SOURCE_FAILED', `${home.host} redirects more than ${mostRedirects} times`);
      }
      url = next;
    }
  }

  async function fetch(request: SourceRequest): Promise<Buffer> {
    let token = await tokens?.token(request.now, request.signal);
    let answer = await once(request, token);
    if (answer.status === 401 && tokens !== undefined && token !== undefined) {
      // The token may have been revoked before its time.
      tokens.refused(token);
      token = await tokens.token(request.now, request.signal);
      answer = await once(request, token);
    }
    if (answer.status < 200 || answer.status >= 300) {
      const url = new URL(request.url);
      const secrets = [token, decoded(url.password), ...secretsOf(access)];
      const body = Buffer.from(withoutSecrets(answer.body.subarray(0, 8192).toString('utf8'), secrets));
      requireOk({ ...answer, body }, request.what ?? url.host, request.now);
    }
    return answer.body;
  }

  return {
    fetch,
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

function withKey(url: URL, { queryKey }: HttpAccess): URL {
  if (queryKey === undefined) return url;
  const keyed = new URL(url.href);
  keyed.searchParams.set(queryKey.name, queryKey.value.reveal());
  return keyed;
}

function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

function userOf(url: URL): Record<string, string> {
  if (url.username === '' && url.password === '') return {};
  const pair = Buffer.from(`${decoded(url.username)}:${decoded(url.password)}`).toString('base64');
  return { authorization: `Basic ${pair}` };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function redirectOf({ status, headers }: HttpAnswer, from: URL): URL | undefined {
  const location = headers['location'];
  if (![301, 302, 303, 307, 308].includes(status) || typeof location !== 'string') return undefined;
  const to = URL.canParse(location, from.href) ? new URL(location, from.href) : undefined;
  return to !== undefined && /^https?:$/.test(to.protocol) ? to : undefined;
}

function secretsOf({ headers, queryKey, oauth }: HttpAccess): (string | undefined)[] {
  return [
    ...Object.values(headers).map(secret => secret.reveal().replace(/^(Basic|Bearer) /, '')),
    queryKey?.value.reveal(),
    oauth?.clientSecret.reveal(),
  ];
}
