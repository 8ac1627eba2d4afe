import { deadline } from '../../base/deadline.ts';
import { Fault, faultOf } from '../../base/errors.ts';
import { type HttpAnswer, type HttpClient, networkFault } from '../../base/http.ts';
import { Secret, withoutSecrets } from '../../base/secret.ts';
import { basicCredentials, type OAuthClient } from './http-auth.ts';

/** Tokens of one OAuth client, asked for once however many wait for one. */
export interface OAuthTokens {
  /**
   * @param now epoch milliseconds
   * @throws Fault AUTH_FAILED, or what the signal was aborted with
   */
  token(now: number, signal: AbortSignal): Promise<string>;
  /** The source did not accept this token: the next one is a new one. */
  refused(token: string): void;
}

interface Token {
  value: string;
  /** Epoch milliseconds. */
  expiresAt: number;
}

const tokenTimeoutMs = 10_000;
/** Renewed a little early, as Go's oauth2 package does. */
const earlyMs = 10_000;

/** Asks through `http`; whoever owns the client closes it. */
export function oauthTokens(oauth: OAuthClient, http: HttpClient): OAuthTokens {
  let current: Token | undefined;
  let asking: Promise<Token> | undefined;
  // Servers differ in where they look for the client's secret, so what was accepted once is used again.
  let secretIn: 'header' | 'body' | undefined;

  async function ask(now: number): Promise<Token> {
    using limit = deadline(undefined, tokenTimeoutMs);
    let answer = await request(secretIn ?? 'header');
    if (secretIn === undefined && answer.status >= 400 && answer.status < 500) {
      const second = await request('body');
      if (second.status < 300) secretIn = 'body';
      answer = second.status < 300 ? second : answer;
    } else if (answer.status < 300) {
      secretIn ??= 'header';
    }
    return parseToken(answer, oauth, now);

    function request(where: 'header' | 'body'): Promise<HttpAnswer> {
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
      return http.send({
        url: oauth.tokenUrl,
        method: 'POST',
        headers,
        body: body.toString(),
        signal: limit.signal,
      });
    }
  }

  return {
    async token(now, signal) {
      if (current !== undefined && now < current.expiresAt - earlyMs) return current.value;
      asking ??= ask(now)
        .then(token => {
          current = token;
          return token;
        })
        .finally(() => {
          asking = undefined;
        });
      try {
        return (await orAborted(asking, signal)).value;
      } catch (thrown) {
        const host = new URL(oauth.tokenUrl).host;
        if (signal.aborted) throw networkFault(thrown, host, signal);
        const fault = faultOf(thrown);
        throw fault.code === 'AUTH_FAILED'
          ? fault
          : new Fault('AUTH_FAILED', `no token from ${host}: ${fault.message}`, { cause: thrown });
      }
    },
    refused(token) {
      if (current?.value === token) current = undefined;
    },
  };
}

function parseToken(answer: HttpAnswer, { tokenUrl, clientSecret }: OAuthClient, now: number): Token {
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
    throw new Fault('AUTH_FAILED', `${host} ${what}${why === '' ? '' : `: ${why.slice(0, 200)}`}`);
  }
  const seconds = Number(told['expires_in']);
  return { value, expiresAt: seconds > 0 ? now + seconds * 1000 : Number.POSITIVE_INFINITY };
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
  });
}
