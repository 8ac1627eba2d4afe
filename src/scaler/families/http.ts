import { Fault } from '../../base/errors.ts';
import { isUnauthorized } from '../../base/grant.ts';
import { type HttpAnswer, httpClient, requireOk } from '../../base/http.ts';
import { Secret, withoutSecrets } from '../../base/secret.ts';
import type { OpenContext, TokenSource } from '../context.ts';
import { type HttpAccess, requireUsableTls } from './http-auth.ts';
import { type OAuthTokens, oauthTokens } from './oauth.ts';

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

/** What one request proves with who asks. */
export interface Proof {
  /** To be sent, in lower case. */
  headers: Readonly<Record<string, string>>;
  /** What a source must not be quoted with. */
  secrets: readonly Secret[];
  /** Told of a bad answer: whether it is worth another try with a new proof, because this one was not accepted. */
  refused(answer: HttpAnswer): boolean;
}

/** Proves who asks anew for each request: tokens that end, and signatures. */
export interface RequestProof {
  /**
   * @param request as it will be sent, but for the name of who asks
   * @throws Fault AUTH_FAILED, NOT_SUPPORTED or CANCELLED
   */
  prove(
    request: { url: string; method: string; headers: Readonly<Record<string, string>> },
    at: { now: number; signal: AbortSignal },
  ): Promise<Proof>;
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
 * @param proof proves who asks beside what `access` has; tokens of its OAuth client unless given
 * @throws Fault PARAM_INVALID where certificates or keys cannot be used
 */
export function openHttp(
  access: HttpAccess,
  { http, clientName }: OpenContext,
  proof?: RequestProof,
): HttpConnection {
  requireUsableTls(access.tls);
  const client = httpClient({ ...http, ...(access.tls === undefined ? {} : { tls: access.tls }) });
  const prover = proof ?? (access.oauth && oauthProof(oauthTokens(access.oauth, client)));
  const credentials: Record<string, string> = {};
  for (const [name, value] of Object.entries(access.headers)) credentials[name] = value.reveal();

  /** The answer, and what it was asked with: nothing where a redirect led away. */
  async function once(request: SourceRequest): Promise<{ answer: HttpAnswer; proof: Proof | undefined }> {
    const { method = 'GET', headers = {} } = request;
    const home = new URL(request.url);
    let url = withKey(home, access);
    for (let redirects = 0; ; redirects += 1) {
      const trusted =
        url.hostname === home.hostname && (home.protocol === 'http:' || url.protocol === 'https:');
      const proof = trusted ? await prover?.prove({ url: url.href, method, headers }, request) : undefined;
      const answer = await client.send({
        url: url.href,
        method,
        headers: {
          'user-agent': clientName,
          ...(trusted ? { ...userOf(url), ...headers, ...credentials, ...proof?.headers } : {}),
        },
        signal: request.signal,
        ...(request.body === undefined ? {} : { body: request.body }),
        ...(request.maxBytes === undefined ? {} : { maxBytes: request.maxBytes }),
      });
      const next = method === 'GET' ? redirectOf(answer, url) : undefined;
      if (next === undefined) return { answer, proof };
      if (redirects === mostRedirects) {
        throw new Fault('SOURCE_FAILED', `${home.host} redirects more than ${mostRedirects} times`);
      }
      url = next;
    }
  }

  async function fetch(request: SourceRequest): Promise<Buffer> {
    let { answer, proof } = await once(request);
    if (answer.status >= 400 && proof?.refused(answer)) ({ answer, proof } = await once(request));
    if (answer.status < 200 || answer.status >= 300) {
      const url = new URL(request.url);
      const proofs = proof?.secrets.map(secret => secret.reveal()) ?? [];
      const secrets = [...proofs, decoded(url.password), ...secretsOf(access)];
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

function oauthProof(tokens: OAuthTokens): RequestProof {
  return {
    async prove(_request, { now, signal }) {
      const token = await tokens.token(now, signal);
      return bearerProof(new Secret(token), () => tokens.refused(token));
    },
  };
}

/** Proves by tokens that are asked for whenever one is needed. */
export function tokenProof(tokens: TokenSource, ask: (signal: AbortSignal) => Promise<Secret>): RequestProof {
  return {
    async prove(_request, { signal }) {
      const token = await ask(signal);
      return bearerProof(token, () => tokens.refused(token));
    },
  };
}

/**
 * A request's proof by a token.
 *
 * @param refused told where the source does not accept it: it may have been revoked before its time
 */
function bearerProof(token: Secret, refused: () => void): Proof {
  return {
    headers: { authorization: `Bearer ${token.reveal()}` },
    secrets: [token],
    refused(answer) {
      if (!isUnauthorized(answer)) return false;
      refused();
      return true;
    },
  };
}

function withKey(url: URL, { queryKey }: HttpAccess): URL {
  if (queryKey === undefined) return url;
  const keyed = new URL(url.href);
  keyed.searchParams.set(queryKey.name, queryKey.value.reveal());
  return keyed;
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
