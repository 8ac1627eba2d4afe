import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { deadline } from './deadline.ts';
import { httpClient, requireOk } from './http.ts';

const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  open.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const serve = (handler: RequestListener) => listen(createServer(handler));
const signal = new AbortController().signal;

describe('httpClient', () => {
  it('sends method, headers and body, and returns whatever the status is', async () => {
    const host = await serve((req, res) => {
      const chunks: Buffer[] = [];
      req.on('data', chunk => chunks.push(chunk));
      req.on('end', () =>
        res.writeHead(418, { 'x-seen': `${req.method} ${req.url}` }).end(Buffer.concat(chunks)),
      );
    });
    await using client = httpClient();

    const answer = await client.send({ url: `http://${host}/a?b=c`, method: 'POST', body: 'hello', signal });

    expect(answer.status).toBe(418);
    expect(answer.headers['x-seen']).toBe('POST /a?b=c');
    expect(answer.body.toString()).toBe('hello');
  });

  it('opens no more connections than it may, whatever is asked at once', async () => {
    const sockets = new Set<unknown>();
    const host = await serve((req, res) => {
      sockets.add(req.socket);
      res.end('ok');
    });
    await using client = httpClient({ connections: 3 });

    await Promise.all(Array.from({ length: 60 }, () => client.send({ url: `http://${host}/`, signal })));

    expect(sockets.size).toBeLessThanOrEqual(3);
  });

  it('stops reading an answer that is larger than it may be', async () => {
    const host = await serve((_req, res) => res.end(Buffer.alloc(50_000)));
    await using client = httpClient();

    const sent = client.send({ url: `http://${host}/`, signal, maxBytes: 10_000 });

    await expect(sent).rejects.toMatchObject({ code: 'SOURCE_ANSWER_TOO_LARGE' });
  });

  it('gives up at the deadline with a sentence that names the host', async () => {
    const host = await serve(() => {});
    await using client = httpClient();
    using limit = deadline(undefined, 30);

    const sent = client.send({ url: `http://${host}/`, signal: limit.signal });

    await expect(sent).rejects.toMatchObject({
      code: 'SOURCE_TIMEOUT',
      message: `${host}: no answer within 30 ms`,
    });
  });

  it.each([
    ['a name that nobody knows', async () => 'http://no-such-host.invalid/', 'SOURCE_UNREACHABLE', /name/],
    [
      'a port that nobody listens on',
      async () => 'http://127.0.0.1:1/',
      'SOURCE_UNREACHABLE',
      /refuses connections/,
    ],
    [
      'TLS with a server that speaks plain HTTP',
      async () => `https://${await serve((_, res) => res.end())}/`,
      'SOURCE_UNREACHABLE',
      /TLS/,
    ],
    [
      'a server that hangs up',
      async () => `http://${await listen(createTcpServer(socket => socket.destroy()))}/`,
      'SOURCE_UNREACHABLE',
      /closed the connection/,
    ],
    [
      'a server that speaks something else',
      async () => `http://${await listen(createTcpServer(socket => socket.end('220 mail ready\r\n')))}/`,
      'SOURCE_ANSWER_INVALID',
      /does not speak HTTP/,
    ],
    ['a URL that is none', async () => 'nonsense', 'PARAM_INVALID', /"nonsense" is not/],
    ['a URL of another kind', async () => 'file:///etc/passwd', 'PARAM_INVALID', /not an http/],
  ])('has a code and a sentence for %s', async (_title, url, code, sentence) => {
    await using client = httpClient();

    const sent = client.send({ url: await url(), signal });

    await expect(sent).rejects.toMatchObject({ code, message: expect.stringMatching(sentence) });
  });

  it('can be closed twice', async () => {
    const client = httpClient();

    await client[Symbol.asyncDispose]();

    await expect(client[Symbol.asyncDispose]()).resolves.not.toThrow();
  });
});

describe('requireOk', () => {
  const now = Date.UTC(2026, 0, 1);
  const answer = (status: number, headers = {}, body = 'details') => ({
    status,
    headers,
    body: Buffer.from(body),
  });

  it.each([
    [401, 'SOURCE_REFUSED'],
    [403, 'SOURCE_REFUSED'],
    [404, 'SOURCE_NOT_FOUND'],
    [429, 'SOURCE_BUSY'],
    [503, 'SOURCE_BUSY'],
    [500, 'SOURCE_FAILED'],
    [302, 'SOURCE_FAILED'],
  ])('turns %d into %s', (status, code) => {
    expect(() => requireOk(answer(status), 'x.example', now)).toThrowError(
      expect.objectContaining({ code, message: `x.example answered ${status}: details` }),
    );
  });

  it.each([
    ['seconds', '7', 7000],
    ['a date', 'Thu, 01 Jan 2026 00:00:09 GMT', 9000],
    ['a date that is past', 'Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['nonsense', 'soon', undefined],
  ])('reads a Retry-After given as %s', (_title, header, retryAfterMs) => {
    expect(() => requireOk(answer(503, { 'retry-after': header }), 'x', now)).toThrowError(
      expect.objectContaining({ retryAfterMs }),
    );
  });

  it('quotes no body that a person could not read', () => {
    expect(() => requireOk(answer(500, {}, '\u0000\u0001binary'), 'x', now)).toThrowError(/^x answered 500$/);
  });
});
