import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import {
  authority,
  clientCertificate,
  clientKey,
  serverCertificate,
  serverKey,
} from '../../../test/certificates.ts';
import { httpServer, quoting } from '../../../test/misbehaving-http.ts';
import { faultFrom, openContext, until } from '../../../test/scaler-contract.ts';
import { faultOf } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { readParams } from '../params.ts';
import { type HttpConnection, openHttp } from './http.ts';
import { type HttpAccess, httpAuthParams, resolveHttpAuth } from './http-auth.ts';

const never = new AbortController().signal;

function resolve(auth: Record<string, string>, unsafeSsl = false) {
  const secrets = Object.fromEntries(Object.entries(auth).map(([name, value]) => [name, new Secret(value)]));
  const { values, problems } = readParams(httpAuthParams, { metadata: {}, auth: secrets, env: {} });
  expect(problems).toEqual([]);
  return resolveHttpAuth(values, unsafeSsl);
}

function accessFor(auth: Record<string, string>, unsafeSsl = false): HttpAccess {
  const access = resolve(auth, unsafeSsl);
  if ('problems' in access) throw new Error(access.problems.map(({ problem }) => problem).join('; '));
  return access;
}

function connect(auth: Record<string, string>, unsafeSsl = false): HttpConnection {
  return openHttp(accessFor(auth, unsafeSsl), openContext(never));
}

/** The request that a server gets. */
async function sent(auth: Record<string, string>, path = '/'): Promise<IncomingMessage> {
  let got: IncomingMessage | undefined;
  await using server = await httpServer((req, res) => {
    got = req;
    res.end();
  });
  await using conn = connect(auth);
  await conn.fetch({ url: server.url + path, now: 0, signal: never });
  if (got === undefined) throw new Error('nothing was sent');
  return got;
}

describe('authentication', () => {
  it.each([
    ['a bearer token', { authModes: 'bearer', token: 'tok' }, { authorization: 'Bearer tok' }],
    [
      'a user name and password',
      { authModes: 'basic', username: 'ü', password: 'p' },
      { authorization: 'Basic w7w6cA==' },
    ],
    ['a user name without a password', { authMode: 'basic', username: 'u' }, { authorization: 'Basic dTo=' }],
    ['a key in the usual header', { authModes: 'apiKey', apiKey: 'k' }, { 'x-api-key': 'k' }],
    [
      'a key in a header of its own',
      { authModes: 'apiKey', apiKey: 'k', keyParamName: 'X-K' },
      { 'x-k': 'k' },
    ],
    ['a header', { authModes: 'custom', customAuthHeader: 'X-T\n', customAuthValue: 'v\n' }, { 'x-t': 'v' }],
    [
      'several at once',
      { authModes: 'bearer, apiKey', token: 'tok', apiKey: 'k' },
      { authorization: 'Bearer tok', 'x-api-key': 'k' },
    ],
  ])('sends %s', async (_title, auth, headers) => {
    expect((await sent(auth)).headers).toMatchObject(headers);
  });

  it.each([
    ['the usual parameter', {}, '/a?x=1&api_key=k%26'],
    ['a parameter of its own, in place of another', { keyParamName: 'x' }, '/a?x=k%26'],
  ])('sends a key in %s', async (_title, more, url) => {
    const request = await sent({ authModes: 'apiKey', apiKey: 'k&', method: 'query', ...more }, '/a?x=1');

    expect(request.url).toBe(url);
  });

  it('sends its name and nothing else without a mode', async () => {
    const { headers } = await sent({ bearerToken: 'tok', apiKey: 'k', username: 'u' });

    expect(Object.keys(headers).sort()).toEqual(['connection', 'host', 'user-agent']);
    expect(headers['user-agent']).toBe('eventide');
  });

  it('names every missing parameter of every mode', () => {
    const modes = 'tls,oauth,custom,apiKey';

    const outcome = resolve({ authModes: modes });

    expect('problems' in outcome && outcome.problems.map(({ problem }) => problem)).toEqual(
      ['cert', 'key', 'oauthTokenURI', 'clientID', 'customAuthHeader', 'customAuthValue', 'apiKey'].map(
        name => `"${name}" is missing`,
      ),
    );
  });

  it.each([
    ['a header that is none', { authModes: 'custom', customAuthHeader: 'X T', customAuthValue: 'v' }],
    ['a key in no header', { authModes: 'apiKey', apiKey: 'k', keyParamName: 'X:K' }],
    ['an issuer that is no URL', { authModes: 'oauth', oauthTokenURI: 'login', clientID: 'c' }],
  ])('refuses %s', (_title, auth) => {
    expect(resolve(auth)).toMatchObject({ problems: [{ place: {} }] });
  });

  it('tells identities apart and shows no secret', () => {
    const identities = [
      accessFor({}),
      accessFor({}, true),
      accessFor({ ca: authority }),
      accessFor({ authModes: 'bearer', token: 'tok-one' }),
      accessFor({ authModes: 'bearer', token: 'tok-two' }),
      accessFor({ authModes: 'apiKey', apiKey: 'tok-one', method: 'query' }),
    ].map(({ identity }) => identity);

    expect(new Set(identities).size).toBe(identities.length);
    expect(JSON.stringify(accessFor({ authModes: 'bearer', token: 'tok-one' }))).not.toContain('tok-one');
  });

  it('lets no server tell secrets through its answer', async () => {
    await using server = await httpServer(quoting(403));
    const auth = {
      authModes: 'basic,apiKey,custom',
      username: 'user',
      password: 'secret pass',
      method: 'query',
    };
    const more = { apiKey: 'secret/key', customAuthHeader: 'x-c', customAuthValue: 'secret value' };
    await using conn = connect({ ...auth, ...more });

    const { message } = await faultFrom(conn.fetch({ url: server.url, now: 0, signal: never }));

    expect(message).toContain('[secret]');
    for (const secret of ['secret%2Fkey', 'secret/key', 'secret value', 'dXNlcjpzZWNyZXQgcGFzcw==']) {
      expect(message).not.toContain(secret);
    }
  });
});

describe('a redirect', () => {
  it('is followed with the credentials on the same host', async () => {
    await using server = await httpServer((req, res) => {
      if (req.url === '/old') res.writeHead(301, { location: '/new' }).end();
      else res.end(`${req.url} ${req.headers.authorization}`);
    });
    await using conn = connect({ authModes: 'bearer', token: 'tok' });

    const body = await conn.fetch({ url: `${server.url}/old`, now: 0, signal: never });

    expect(body.toString()).toBe('/new Bearer tok');
  });

  it('is followed without the credentials to another host', async () => {
    await using other = await httpServer((req, res) => res.end(JSON.stringify(req.headers)));
    const elsewhere = other.url.replace('127.0.0.1', 'localhost');
    await using server = await httpServer((_req, res) => res.writeHead(302, { location: elsewhere }).end());
    await using conn = connect({ authModes: 'bearer', token: 'tok' });

    const body = await conn.fetch({ url: server.url, headers: { 'x-key': 'k' }, now: 0, signal: never });

    expect(Object.keys(JSON.parse(body.toString()))).toEqual(['host', 'connection', 'user-agent']);
  });

  it('is not followed for ever', async () => {
    await using server = await httpServer((_req, res) => res.writeHead(302, { location: '/' }).end());
    await using conn = connect({});

    expect(await faultFrom(conn.fetch({ url: server.url, now: 0, signal: never }))).toMatchObject({
      code: 'SOURCE_FAILED',
    });
  });
});

describe('TLS', () => {
  async function tlsServer() {
    const server = createServer(
      {
        ca: authority,
        cert: serverCertificate,
        key: serverKey,
        requestCert: true,
        rejectUnauthorized: false,
      },
      (req, res) => res.end(String('authorized' in req.socket && req.socket.authorized)),
    );
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    return {
      url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
      async [Symbol.asyncDispose]() {
        server.closeAllConnections();
        server.close();
      },
    };
  }

  async function answer(auth: Record<string, string>, unsafeSsl = false): Promise<string> {
    await using server = await tlsServer();
    await using conn = connect(auth, unsafeSsl);
    return (await conn.fetch({ url: server.url, now: 0, signal: never })).toString();
  }

  it('shows the client certificate to a server that the authority vouches for', async () => {
    const tls = { authModes: 'tls', cert: clientCertificate, key: clientKey, ca: authority };

    expect(await answer(tls)).toBe('true');
  });

  it('needs no mode to trust an authority', async () => {
    expect(await answer({ ca: authority })).toBe('false');
  });

  it('takes any certificate where the manifest says so', async () => {
    expect(await answer({}, true)).toBe('false');
  });

  it('refuses a server that nobody vouches for', async () => {
    expect(await faultFrom(answer({}))).toMatchObject({
      code: 'SOURCE_UNREACHABLE',
      message: expect.stringContaining('TLS with 127.0.0.1'),
    });
  });

  it('refuses certificates that are none before it connects', async () => {
    const tls = accessFor({ authModes: 'tls', cert: 'ceert', key: 'keey' });

    expect(() => openHttp(tls, openContext(never))).toThrow('cannot be used');
  });
});

describe('OAuth', () => {
  /** An issuer and a source in one: the source accepts the last token that was issued. */
  async function oauthServer(over: { secretIn?: 'header' | 'body'; expiresIn?: number | undefined } = {}) {
    const { secretIn = 'header', expiresIn = 3600 } = over;
    const state = {
      issued: 0,
      asked: [] as string[],
      accepted: '',
      limited: undefined as number | undefined,
    };
    const server = await httpServer(async (req, res) => {
      if (req.url !== '/token') {
        res.writeHead(req.headers.authorization === `Bearer ${state.accepted}` ? 200 : 401).end('data');
        return;
      }
      let body = '';
      for await (const chunk of req) body += chunk;
      state.asked.push(body);
      if (state.limited !== undefined) {
        res.writeHead(state.limited, { 'retry-after': '900' }).end('slow down');
        return;
      }
      const form = new URLSearchParams(body);
      const inHeader = req.headers.authorization === `Basic ${Buffer.from('me:s%3Dcret').toString('base64')}`;
      if (secretIn === 'header' ? !inHeader : form.get('client_secret') !== 's=cret') {
        res.writeHead(401).end('{"error":"invalid_client","error_description":"who is s=cret"}');
        return;
      }
      state.issued += 1;
      state.accepted = `token-${state.issued}`;
      res.end(JSON.stringify({ access_token: state.accepted, expires_in: expiresIn }));
    });
    const auth = {
      authModes: 'oauth',
      oauthTokenURI: `${server.url}/token`,
      clientID: 'me',
      clientSecret: 's=cret',
      scopes: 'read, ,write',
      endpointParams: 'audience=jobs&x=1&x=2',
    };
    return Object.assign(server, { state, auth });
  }

  it('asks for a token once for all who wait, and keeps it until it is about to expire', async () => {
    await using server = await oauthServer();
    await using conn = connect(server.auth);
    const get = (now: number) => conn.fetch({ url: server.url, now, signal: never });

    await Promise.all([get(0), get(0), get(1)]);
    await get(3_299_000);
    expect(server.state.issued).toBe(1);
    await get(3_600_000);

    expect(server.state.issued).toBe(2);
    expect(server.state.asked[0]).toBe(
      'grant_type=client_credentials&scope=read+write&audience=jobs&x=1&x=2',
    );
  });

  it('finds out that the issuer wants the secret in the body', async () => {
    await using server = await oauthServer({ secretIn: 'body', expiresIn: 20 });
    await using conn = connect(server.auth);

    await conn.fetch({ url: server.url, now: 0, signal: never });
    await conn.fetch({ url: server.url, now: 60_000, signal: never });

    expect(server.state.asked.map(body => body.includes('client_secret'))).toEqual([false, true, true]);
  });

  it('asks again for a token that the source no longer takes', async () => {
    await using server = await oauthServer({ expiresIn: undefined });
    await using conn = connect(server.auth);
    await conn.fetch({ url: server.url, now: 0, signal: never });
    server.state.accepted = 'token-2';

    const body = await conn.fetch({ url: server.url, now: 1, signal: never });

    expect([body.toString(), server.state.issued]).toEqual(['data', 2]);
  });

  it.each([429, 503, 500])('keeps the last token to its end while the issuer answers %i', async status => {
    await using server = await oauthServer();
    await using conn = connect(server.auth);
    const get = (now: number) => conn.fetch({ url: server.url, now, signal: never }).then(String, faultOf);
    await get(0);
    server.state.limited = status;

    const during = [await get(3_400_000), await get(3_595_000)];
    const over = await get(3_600_000);
    server.state.limited = undefined;
    const later = [await get(3_700_000), await get(4_300_000)];

    expect(during).toEqual(['data', 'data']);
    expect(over).toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining(`answered ${status}`),
    });
    // Whoever says how long is not asked before.
    expect(later).toEqual([
      status === 500 ? 'data' : expect.objectContaining({ code: 'AUTH_FAILED' }),
      'data',
    ]);
    expect(server.state.asked.length).toBe(status === 500 ? 5 : 3);
  });

  it('says why there is no token, without the secret', async () => {
    await using server = await oauthServer();
    await using conn = connect({ ...server.auth, clientID: 'someone' });

    const fault = await faultFrom(conn.fetch({ url: server.url, now: 0, signal: never }));

    expect(fault.code).toBe('AUTH_FAILED');
    expect(fault.message).toMatch(/answered 401: invalid_client: who is \[secret\]$/);
  });

  it('keeps a token that came after the one who asked had gone', async () => {
    await using server = await oauthServer();
    await using conn = connect(server.auth);
    const gone = await faultFrom(conn.fetch({ url: server.url, now: 0, signal: AbortSignal.abort() }));
    await until(() => server.state.issued === 1);

    await conn.fetch({ url: server.url, now: 0, signal: never });

    expect([gone.code, server.state.issued]).toEqual(['CANCELLED', 1]);
  });

  it('stops waiting for a token when it is told to', async () => {
    await using server = await httpServer(() => {});
    await using conn = connect({ authModes: 'oauth', oauthTokenURI: server.url, clientID: 'me' });
    const stop = new AbortController();

    const outcome = faultFrom(conn.fetch({ url: server.url, now: 0, signal: stop.signal }));
    stop.abort();

    expect((await outcome).code).toBe('CANCELLED');
  });
});
