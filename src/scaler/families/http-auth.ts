import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { Fault } from '../../base/errors.ts';
import { fingerprint, Secret } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity } from '../../base/tls.ts';
import type { Problem } from '../../spec/problem.ts';
import { p, type ValuesOf } from '../params.ts';

const authModes = ['apiKey', 'basic', 'tls', 'bearer', 'custom', 'oauth'] as const;

/** KEDA's shared block of authentication parameters for sources that speak HTTP; spread it into `params`. */
export const httpAuthParams = {
  authModes: p.list({
    doc: 'How to authenticate; several may be combined, except bearer, basic and oauth with each other.',
    also: ['authMode'],
    from: ['metadata', 'auth'],
    choices: authModes,
    exclusive: ['bearer', 'basic', 'oauth'],
    optional: true,
  }),
  bearerToken: p.secret({
    doc: 'Sent as `Authorization: Bearer …` (mode bearer).',
    also: ['token'],
    from: ['auth'],
    optional: true,
  }),
  username: p.text({ doc: 'User name (mode basic).', from: ['auth'], optional: true }),
  password: p.secret({ doc: 'Password; may be empty (mode basic).', from: ['auth'], optional: true }),
  cert: p.text({ doc: 'Client certificate, PEM (mode tls).', from: ['auth'], optional: true }),
  key: p.secret({ doc: "Client certificate's key, PEM (mode tls).", from: ['auth'], optional: true }),
  ca: p.text({
    doc: "Certificate authority to trust in addition to the system's, PEM.",
    from: ['auth'],
    optional: true,
  }),
  oauthTokenURI: p.text({ doc: 'Where tokens are issued (mode oauth).', from: ['auth'], optional: true }),
  scopes: p.list({ doc: 'Scopes to ask for (mode oauth).', also: ['scope'], from: ['auth'], optional: true }),
  clientID: p.text({ doc: 'Client id (mode oauth).', from: ['auth'], optional: true }),
  clientSecret: p.secret({ doc: 'Client secret (mode oauth).', from: ['auth'], optional: true }),
  endpointParams: p.query({
    doc: 'More parameters of the token request, as a URL query (mode oauth).',
    from: ['auth'],
    secret: true,
    optional: true,
  }),
  customAuthHeader: p.text({ doc: 'Name of the header (mode custom).', from: ['auth'], optional: true }),
  customAuthValue: p.secret({ doc: 'Value of the header (mode custom).', from: ['auth'], optional: true }),
  apiKey: p.secret({ doc: 'The key (mode apiKey).', from: ['metadata', 'auth'], optional: true }),
  method: p.choice(['header', 'query'], {
    doc: 'Where the key goes (mode apiKey).',
    from: ['metadata', 'auth'],
    default: 'header',
  }),
  keyParamName: p.text({
    doc: 'Name of the header or query parameter with the key; X-API-KEY or api_key unless given (mode apiKey).',
    from: ['metadata', 'auth'],
    optional: true,
  }),
};

export type HttpAuthValues = ValuesOf<typeof httpAuthParams>;

/** What a token is asked for with (OAuth 2.0 client credentials). */
export interface OAuthClient {
  tokenUrl: string;
  clientId: string;
  clientSecret: Secret;
  scopes: readonly string[];
  extra: Readonly<Record<string, readonly string[]>>;
}

/** Everything that proves who asks, worked out once. */
export interface HttpAccess {
  /** With names in lower case. */
  headers: Readonly<Record<string, Secret>>;
  /** Goes into the query string of every request. */
  queryKey?: { name: string; value: Secret };
  oauth?: OAuthClient;
  tls?: TlsOptions;
  /** Differs exactly when two triggers may not share a connection; holds no secret. */
  identity: string;
}

/**
 * Turns the values of `httpAuthParams` into what a request needs. As in KEDA a mode only counts when
 * `authModes` names it; a `ca` counts always.
 *
 * @returns the problems instead where a mode lacks its parameters
 */
export function resolveHttpAuth(
  values: HttpAuthValues,
  unsafeSsl = false,
): HttpAccess | { problems: Problem[] } {
  const modes = new Set(values.authModes ?? []);
  const problems = missingFor(modes, values);
  if (problems.length > 0) return { problems };
  const { apiKey, keyParamName } = values;
  const queryKey =
    modes.has('apiKey') && values.method === 'query' && apiKey !== undefined
      ? { name: keyParamName ?? 'api_key', value: apiKey }
      : undefined;
  const oauth = modes.has('oauth') ? oauthClient(values) : undefined;
  const tls = tlsOptions(modes, values, unsafeSsl);
  const headers = authHeaders(modes, values);
  const identity = fingerprint(
    JSON.stringify([
      Object.entries(headers).map(([name, value]) => [name, value.fingerprint()]),
      queryKey === undefined ? '' : [queryKey.name, queryKey.value.fingerprint()],
      oauth === undefined ? '' : { ...oauth, clientSecret: oauth.clientSecret.fingerprint() },
      tlsIdentity(tls),
    ]),
  );
  return {
    headers,
    identity,
    ...(queryKey === undefined ? {} : { queryKey }),
    ...(oauth === undefined ? {} : { oauth }),
    ...(tls === undefined ? {} : { tls }),
  };
}

function missingFor(modes: ReadonlySet<string>, values: HttpAuthValues): Problem[] {
  const needed: [string, (keyof HttpAuthValues)[]][] = [
    ['bearer', ['bearerToken']],
    ['basic', ['username']],
    ['tls', ['cert', 'key']],
    ['oauth', ['oauthTokenURI', 'clientID']],
    ['custom', ['customAuthHeader', 'customAuthValue']],
    ['apiKey', ['apiKey']],
  ];
  const problems: Problem[] = [];
  for (const [mode, names] of needed) {
    for (const name of modes.has(mode) ? names : []) {
      if (values[name] !== undefined) continue;
      problems.push({
        problem: `"${name}" is missing`,
        mending: `authModes has ${mode}, so the TriggerAuthentication must give it`,
        place: { field: `metadata.${name}` },
      });
    }
  }
  if (modes.has('oauth') && values.oauthTokenURI !== undefined) {
    problems.push(...notHttpUrl('oauthTokenURI', values.oauthTokenURI));
  }
  const name = modes.has('custom') ? values.customAuthHeader : undefined;
  if (name !== undefined) problems.push(...notHeader('customAuthHeader', name));
  const keyHeader = modes.has('apiKey') && values.method === 'header' ? values.keyParamName : undefined;
  if (keyHeader !== undefined) problems.push(...notHeader('keyParamName', keyHeader));
  return problems;
}

/** A problem unless the text is an absolute http or https URL. */
export function notHttpUrl(param: string, text: string): Problem[] {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol)) return [];
  const shown = url?.password ? 'the value' : `"${text}"`;
  return [
    {
      problem: `${shown} is not an http or https URL`,
      mending: 'write it in full, such as http://host:9090',
      place: { field: `metadata.${param}` },
    },
  ];
}

/** A problem unless the text can be the name of an HTTP header. */
export function notHeader(param: string, name: string): Problem[] {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return [];
  return [{ problem: `"${name}" cannot be the name of a header`, place: { field: `metadata.${param}` } }];
}

function authHeaders(modes: ReadonlySet<string>, values: HttpAuthValues): Record<string, Secret> {
  const headers: Record<string, Secret> = {};
  if (modes.has('apiKey') && values.method === 'header' && values.apiKey !== undefined) {
    headers[(values.keyParamName ?? 'X-API-KEY').toLowerCase()] = values.apiKey;
  }
  if (modes.has('custom') && values.customAuthHeader !== undefined && values.customAuthValue !== undefined) {
    headers[values.customAuthHeader.toLowerCase()] = values.customAuthValue;
  }
  if (modes.has('basic') && values.username !== undefined) {
    headers['authorization'] = basicCredentials(values.username, values.password);
  }
  if (modes.has('bearer') && values.bearerToken !== undefined) {
    headers['authorization'] = new Secret(`Bearer ${values.bearerToken.reveal()}`);
  }
  return headers;
}

/** The value of an Authorization header for a user name and password. */
export function basicCredentials(username: string, password: Secret | undefined): Secret {
  const pair = `${username}:${password?.reveal() ?? ''}`;
  return new Secret(`Basic ${Buffer.from(pair).toString('base64')}`);
}

function oauthClient(values: HttpAuthValues): OAuthClient {
  return {
    tokenUrl: values.oauthTokenURI ?? '',
    clientId: values.clientID ?? '',
    clientSecret: values.clientSecret ?? new Secret(''),
    scopes: (values.scopes ?? []).filter(scope => scope !== ''),
    extra: values.endpointParams ?? {},
  };
}

function tlsOptions(
  modes: ReadonlySet<string>,
  { ca, cert, key }: HttpAuthValues,
  unsafeSsl: boolean,
): TlsOptions | undefined {
  const options: TlsOptions = {
    ...(ca === undefined ? {} : { ca }),
    ...(modes.has('tls') && cert !== undefined ? { cert } : {}),
    ...(modes.has('tls') && key !== undefined ? { key } : {}),
    ...(unsafeSsl ? { unsafeSsl } : {}),
  };
  return Object.keys(options).length === 0 ? undefined : options;
}

/**
 * Checks that certificates and keys can be used at all, before anything is connected.
 *
 * @throws Fault PARAM_INVALID
 */
export function requireUsableTls(tls: TlsOptions | undefined): void {
  if (tls === undefined) return;
  try {
    // Node overlooks an authority that is none.
    if (tls.ca !== undefined) new X509Certificate(tls.ca);
    createSecureContext({
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls.key === undefined ? {} : { key: tls.key.reveal() }),
      ...(tls.keyPassword === undefined ? {} : { passphrase: tls.keyPassword.reveal() }),
    });
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new Fault('PARAM_INVALID', `the certificate, key or authority cannot be used: ${reason}`, {
      cause: thrown,
    });
  }
}
