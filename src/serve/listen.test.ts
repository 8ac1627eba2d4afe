import { once } from 'node:events';
import { request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { Agent, type RequestOptions, request as requestHttps } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { describe, expect, it } from 'vitest';
import {
  authority,
  clientCertificate,
  clientKey,
  serverCertificate,
  serverKey,
} from '../../test/certificates.ts';
import { Secret } from '../base/secret.ts';
import { type Handler, headerOf } from './handler.ts';
import { listenOnLoopback, listenTls } from './listen.ts';

const echo: Handler = received => ({
  status: 201,
  headers: { 'x-seen': headerOf(received, 'x-sent') ?? '' },
  body: `${received.method} ${received.url} ${received.body}`,
});

describe('listenOnLoopback', () => {
  it('hands requests to the handler and its answer back', async () => {
    await using server = await listenOnLoopback(echo);

    const response = await fetch(`http://127.0.0.1:${server.port}/a`, {
      method: 'POST',
      body: 'hello',
      headers: { 'x-sent': 'yes' },
    });

    expect([response.status, response.headers.get('x-seen'), await response.text()]).toEqual([
      201,
      'yes',
      'POST /a hello',
    ]);
  });

  it('answers 500 without a stack trace when the handler throws', async () => {
    await using server = await listenOnLoopback(() => {
      throw new Error('secret detail');
    });

    const response = await fetch(`http://127.0.0.1:${server.port}/`);

    expect([response.status, await response.text()]).toEqual([500, '']);
  });

  it('refuses requests that name another host, as a rebound name in a browser would', async () => {
    await using server = await listenOnLoopback(echo);

    const status = await new Promise(resolve =>
      request({ port: server.port, host: '127.0.0.1', headers: { host: 'evil.example' } }, response => {
        response.resume();
        resolve(response.statusCode);
      }).end(),
    );

    expect(status).toBe(421);
  });

  it('says so when the port is taken', async () => {
    await using server = await listenOnLoopback(echo);

    await expect(listenOnLoopback(echo, server.port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});

const ours = { cert: serverCertificate, key: new Secret(serverKey) };
const another = { cert: clientCertificate, key: new Secret(clientKey) };
const given = { host: '127.0.0.1', port: 0, certificate: () => ours };

const clientIdentity = { cert: clientCertificate, key: clientKey };

interface Heard {
  status: number;
  body: string;
}

/** One request of HTTP/1.1 that trusts the authority of the tests. */
function ask(port: number, options: RequestOptions & { body?: string } = {}): Promise<Heard> {
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const sent = requestHttps({ host: '127.0.0.1', port, ca: authority, agent: false, ...rest }, response => {
      let text = '';
      response.on('data', chunk => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function askHttp2(port: number, tls: { cert?: string; key?: string } = {}): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: authority, ...tls });
    session.on('error', reject);
    const stream = session.request({ ':path': '/', 'x-remote-group': ['a,b', 'c'] });
    let status = 0;
    let text = '';
    stream.on('response', headers => {
      status = headers[':status'] ?? 0;
    });
    stream.on('data', chunk => {
      text += chunk;
    });
    stream.on('end', () => {
      session.close();
      resolve({ status, body: text });
    });
    stream.end();
  });
}

/** The common name of the certificate that a new connection is shown. */
function shownCertificate(port: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().subject.CN);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

const whoAreYou: Handler = ({ peer }) => ({
  status: 200,
  body: peer === undefined ? 'nobody' : peer.chain.length === 0 ? 'a stranger' : peer.commonName,
});

describe('listenTls', () => {
  it('answers HTTP/1.1 with what the handler says', async () => {
    await using server = await listenTls({ ...given, handler: echo });

    const heard = await ask(server.port, { method: 'PUT', path: '/a?b=c', body: 'hello' });

    expect(heard).toEqual({ status: 201, body: 'PUT /a?b=c hello' });
  });

  it('answers HTTP/2, and keeps headers that were repeated apart', async () => {
    await using server = await listenTls({
      ...given,
      handler: ({ headers }) => ({ status: 200, body: JSON.stringify(headers['x-remote-group']) }),
    });

    expect(await askHttp2(server.port)).toEqual({ status: 200, body: '["a,b","c"]' });
  });

  it('says nothing in answer to HEAD but how long the answer would be', async () => {
    await using server = await listenTls({ ...given, handler: () => ({ status: 200, body: 'hello' }) });

    expect(await ask(server.port, { method: 'HEAD' })).toEqual({ status: 200, body: '' });
  });

  it.each([
    ['a client that a trusted authority vouches for', [authority], clientIdentity, 'client'],
    ['a client without a certificate', [authority], {}, 'nobody'],
    ['a client that nobody trusted vouches for', [], clientIdentity, 'a stranger'],
  ])('tells the handler of %s', async (_title, cas, identity, name) => {
    await using server = await listenTls({ ...given, handler: whoAreYou, clientCas: () => cas });

    expect((await ask(server.port, identity)).body).toBe(name);
    expect((await askHttp2(server.port, identity)).body).toBe(name);
  });

  it('believes the clients of an authority that is given later', async () => {
    const cas: string[] = [];
    await using server = await listenTls({ ...given, handler: whoAreYou, clientCas: () => cas });

    cas.push(authority);
    server.reload();

    expect((await ask(server.port, clientIdentity)).body).toBe('client');
  });

  it('has clients that were not believed come again, once somebody may vouch for them', async () => {
    const cas: string[] = [];
    await using server = await listenTls({ ...given, handler: whoAreYou, clientCas: () => cas });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const session = connectHttp2(`https://127.0.0.1:${server.port}`, { ca: authority, ...clientIdentity });
    await once(session.request({ ':path': '/' }).resume(), 'end');
    const names = [(await ask(server.port, { agent, ...clientIdentity })).body];

    cas.push(authority);
    server.reload();
    for (let i = 0; i < 2; i++) names.push((await ask(server.port, { agent, ...clientIdentity })).body);

    expect(names).toEqual(['a stranger', 'a stranger', 'client']);
    if (!session.destroyed) await once(session, 'close');
    agent.destroy();
  });

  it('shows another certificate after a reload, while open connections go on', async () => {
    let certificate = ours;
    await using server = await listenTls({ ...given, handler: echo, certificate: () => certificate });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await ask(server.port, { agent, path: '/before' });

    certificate = another;
    server.reload();
    const after = await ask(server.port, { agent, path: '/after' });

    expect(after.body).toBe('GET /after ');
    expect(await shownCertificate(server.port)).toBe('client');
    agent.destroy();
  });

  it('keeps the certificate it has when the new one is not usable', async () => {
    let certificate = ours;
    await using server = await listenTls({ ...given, handler: echo, certificate: () => certificate });

    certificate = { cert: another.cert, key: ours.key };

    expect(() => server.reload()).toThrow();
    expect(await shownCertificate(server.port)).toBe('server');
  });

  it.each([
    ['said in advance', {}],
    ['found on the way', { headers: { 'transfer-encoding': 'chunked' } }],
  ])('answers 413 to a body over the limit, %s', async (_title, options) => {
    await using server = await listenTls({ ...given, handler: echo, bodyLimit: 10 });

    const heard = await ask(server.port, { method: 'POST', body: 'more than ten', ...options });

    expect(heard.status).toBe(413);
  });

  it('aborts the signal when the client goes away', async () => {
    let aborted: () => void;
    const gone = new Promise<void>(resolve => {
      aborted = resolve;
    });
    await using server = await listenTls({
      ...given,
      handler: ({ signal }) =>
        new Promise(resolve => {
          signal.addEventListener('abort', () => {
            aborted();
            resolve({ status: 200 });
          });
          sent.destroy();
        }),
    });

    const sent = requestHttps({ host: '127.0.0.1', port: server.port, ca: authority, agent: false });
    sent.on('error', () => {});
    sent.end();

    await gone;
  });

  it.each([
    ['HTTP/1.1', ask],
    ['HTTP/2', askHttp2],
  ])('lets requests of %s that are under way finish before it closes', async (_title, askIt) => {
    let finish: () => void = () => {};
    let received: () => void = () => {};
    const underWay = new Promise<void>(resolve => {
      received = resolve;
    });
    const server = await listenTls({
      ...given,
      handler: () =>
        new Promise(resolve => {
          finish = () => resolve({ status: 200, body: 'done' });
          received();
        }),
    });
    const heard = askIt(server.port);
    await underWay;

    const closed = server[Symbol.asyncDispose]();
    finish();

    expect(await heard).toEqual({ status: 200, body: 'done' });
    await closed;
    await server[Symbol.asyncDispose]();
    await expect(ask(server.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('closes connections that are open for nothing', async () => {
    const server = await listenTls({ ...given, handler: echo });
    const agent = new Agent({ keepAlive: true });
    await ask(server.port, { agent });
    const [socket] = Object.values(agent.freeSockets).flat();
    const closed = once(socket ?? agent, 'close');

    await server[Symbol.asyncDispose]();

    await closed;
  });
});
