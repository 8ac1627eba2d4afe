import { Fault, faultOf } from '../../base/errors.ts';
import { type HttpAnswer, type HttpClient, retryAfterOf } from '../../base/http.ts';
import { Keeper, type Lent, lentFor } from '../../base/keeper.ts';
import { Secret, withoutSecrets } from '../../base/secret.ts';
import { basicCredentials, type OAuthClient } from './http-auth.ts';

/**
 * Tokens of one OAuth client, asked for once however many wait for one, and used until they end where there is no
 * new one.
 */
export interface OAuthTokens {
  /**
   * @param now epoch milliseconds
   * @throws Fault AUTH_FAILED, or what the signal was aborted with
   */
  token(now: number, signal: AbortSignal): Promise<string>;
  /** The source did not accept this token: the next one is a new one. */
  refused(token: string): void;
}

/** Asks through `http`; whoever owns the client closes it. */
export function oauthTokens(oauth: OAuthClient, http: HttpClient): OAuthTokens {
  const { host } = new URL(oauth.tokenUrl);
  // The time is that of whoever asks.
  let latest = 0;
  const keeper = new Keeper<string>({ now: () => latest });
  let current: Lent<string> | undefined;
  // Servers differ in where they look for the client's secret, so what was accepted once is used again.
  let secretIn: 'header' | 'body' | undefined;

  async function ask(signal: AbortSignal): Promise<Lent<string>> {
    const askedAt = latest;
    let answer = await request(secretIn ?? 'header', signal);
    if (secretIn === undefined && [400, 401, 403].includes(answer.status)) {
      const second = await request('body', signal);
      if (second.status < 300) secretIn = 'body';
      answer = second.status < 300 ? second : answer;
    } else if (answer.status < 300) {
      secretIn ??= 'header';
    }
    return parseToken(answer, oauth, askedAt);
  }

  function request(where: 'header' | 'body', signal: AbortSignal): Promise<HttpAnswer> {
    const body = new URLSearchParams({ grant_type: 'client_credentials' });
    if (oauth.scopes.length > 0) body.set('scope', oauth.scopes.join(' '));
    const headers: Record<string, string> = {
      'content-type': 'application/x-www-form-urlencoded',
      accept: 'application/json',
    };
    if (where === 'header') {
      const secret = new Secret(encodeURIComponent(oauth.clientSecret.reveal()));
      headers['authorization'] = basicCredentials(encodeURIComponent(oauth.clientId), secret).reveal();
    } else {
      body.set('client_id', oauth.clientId);
      body.set('client_secret', oauth.clientSecret.reveal());
    }
    for (const [name, values] of Object.entries(oauth.extra)) {
      body.delete(name);
      for (const value of values) body.append(name, value);
    }
    return http.send({ url: oauth.tokenUrl, method: 'POST', headers, body: body.toString(), signal });
  }

  return {
    async token(now, signal) {
      latest = Math.max(latest, now);
      const fetch = (stop: AbortSignal) => ask(stop).catch(withoutToken);
      current = await keeper.get('token', { fetch, host, signal });
      return current.value;
    },
    refused(token) {
      if (current?.value === token) keeper.drop('token', current);
    },
  };

  function withoutToken(thrown: unknown): never {
    const fault = faultOf(thrown);
    if (fault.code === 'AUTH_FAILED') throw fault;
    throw new Fault('AUTH_FAILED', `no token from ${host}: ${fault.message}`, { cause: thrown });
  }
}

function parseToken(answer: HttpAnswer, { tokenUrl, clientSecret }: OAuthClient, now: number): Lent<string> {
  const { host } = new URL(tokenUrl);
  let told: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(answer.body.toString('utf8'));
    if (typeof parsed === 'object' && parsed !== null) told = parsed as Record<string, unknown>;
  } catch {
    // Not JSON: what is missing below says so.
  }
  const value = told['access_token'];
  if (answer.status >= 300 || typeof value !== 'string' || value === '') {
    const reasons = [told['error'], told['error_description']].filter(part => typeof part === 'string');
    const why = withoutSecrets(reasons.join(': '), [clientSecret.reveal()]);
    const what = answer.status >= 300 ? `answered ${answer.status}` : 'answered without an access_token';
    const message = `${host} ${what}${why === '' ? '' : `: ${why.slice(0, 200)}`}`;
    const retryAfterMs = retryAfterOf(answer, now);
    throw new Fault('AUTH_FAILED', message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
  const seconds = Number(told['expires_in']);
  return lentFor(value, now, seconds > 0 ? seconds * 1000 : Number.POSITIVE_INFINITY);
}
