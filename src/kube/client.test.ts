import { once, setMaxListeners } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import {
  type ApiAnswer,
  answerJson,
  answerStatus,
  type FakeApiServer,
  fakeApiServer,
  sendEvents,
} from '../../test/fake-api-server.ts';
import { type ManualClock, manualClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import { Secret } from '../base/secret.ts';
import { type KubeClient, kubeClient, type WatchEvent } from './client.ts';
import type { KubeConfig } from './kubeconfig.ts';
import { type KubeObject, resources } from './objects.ts';

const stop = new AbortController();
setMaxListeners(0, stop.signal);
const { signal } = stop;
const { configMaps } = resources;
const at = { namespace: 'shop', name: 'a' };
const write = { urgency: 'object', signal } as const;

const object = (name: string, resourceVersion = '1') => ({
  metadata: { namespace: 'shop', name, uid: name, resourceVersion },
});

interface Bed extends AsyncDisposable {
  api: FakeApiServer;
  client: KubeClient;
  clock: ManualClock;
}

async function bed(answer: ApiAnswer, config: Partial<KubeConfig> = {}): Promise<Bed> {
  const api = await fakeApiServer(answer);
  const clock = manualClock();
  const whole = {
    server: api.url,
    origin: 'a test',
    namespace: 'default',
    credentials: async () => ({}),
    ...config,
  };
  const client = kubeClient(whole, { clock, log: silentLog, random: () => 0.5 });
  return {
    api,
    clock,
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
    },
  };
}

const arrived = (api: FakeApiServer, count: number) =>
  vi.waitUntil(() => api.requests.length >= count, { timeout: 5_000, interval: 2 });

/** Answers the first requests one way each, and all that follow the last way. */
const inTurn = (...answers: ApiAnswer[]): ApiAnswer => {
  let turn = 0;
  return (request, response) => {
    const answer = answers[Math.min(turn, answers.length - 1)];
    turn += 1;
    answer?.(request, response);
  };
};

const hangUp: ApiAnswer = (_request, response) => void response.socket?.destroy();
const silence: ApiAnswer = () => {};
const one: ApiAnswer = (_request, response) => answerJson(response, object('a'));
const tooMany =
  (headers: Record<string, string> = {}, code = 429): ApiAnswer =>
  (_request, response) =>
    answerStatus(response, { code, headers, message: 'too many requests' });

describe('a request', () => {
  it('that is one too many is sent again when the server said', async () => {
    await using it = await bed(inTurn(tooMany({ 'retry-after': '2' }), one));
    const got = it.client.get(configMaps, at, { signal });
    await vi.waitUntil(
      async () => {
        await it.clock.advance(100);
        return it.api.requests.length === 2;
      },
      { interval: 2 },
    );

    const waitedMs = it.clock.elapsed();

    expect(await got).toEqual(object('a'));
    expect(waitedMs).toBeGreaterThanOrEqual(2_000);
  });

  it('is not held for longer than it has time', async () => {
    await using it = await bed(tooMany({ 'retry-after': '45' }, 503));

    const refused = it.client.patch(configMaps, at, {}, { ...write, type: 'merge' });

    await expect(refused).rejects.toMatchObject({
      code: 'KUBE_FAILED',
      message: 'cannot patch ConfigMap shop/a: too many requests',
      retryAfterMs: 45_000,
    });
    expect(it.api.requests).toHaveLength(1);
  });

  it('that reads is sent again when the connection breaks', async () => {
    await using it = await bed(inTurn(hangUp, hangUp, one));

    const got = await it.client.get(configMaps, at, { signal });

    expect(got).toEqual(object('a'));
  });

  it('that writes is not, because nobody knows whether it was done', async () => {
    await using it = await bed(hangUp);

    const refused = it.client.patch(configMaps, at, {}, { ...write, type: 'merge' });

    await expect(refused).rejects.toMatchObject({
      code: 'KUBE_UNREACHABLE',
      message: expect.stringMatching(/^cannot patch ConfigMap shop\/a: the API server at \S+ closed/),
    });
    expect(it.api.requests).toHaveLength(1);
  });

  it('without an answer ends at its deadline', async () => {
    await using it = await bed(silence);
    const refused = expect(it.client.get(configMaps, at, { signal })).rejects.toMatchObject({
      code: 'KUBE_UNREACHABLE',
      message: 'cannot get ConfigMap shop/a: no answer within 10 s',
    });
    await arrived(it.api, 1);

    await it.clock.advance(10_000);

    await refused;
  });

  it('ends with its signal', async () => {
    await using it = await bed(silence);
    const ending = new AbortController();
    const refused = expect(it.client.get(configMaps, at, { signal: ending.signal })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    await arrived(it.api, 1);

    ending.abort();

    await refused;
  });

  it.each([
    ['a page of a proxy', 502, '<html>\n<h1>Bad gateway</h1>', 'KUBE_FAILED', 'the API server answered 502'],
    ['a line of text', 500, 'etcd is away\n', 'KUBE_FAILED', 'etcd is away'],
    ['nothing', 404, '', 'KUBE_NOT_FOUND', 'the API server answered 404'],
    ['no JSON', 200, 'ok', 'KUBE_FAILED', 'the API server did not answer with JSON'],
  ])('answered with %s is a fault', async (_title, status, body, code, message) => {
    await using it = await bed((_request, response) => void response.writeHead(status).end(body));

    const refused = it.client.get(configMaps, at, { signal });

    await expect(refused).rejects.toMatchObject({ code, message: `cannot get ConfigMap shop/a: ${message}` });
  });

  it('uses a connection that is there, whatever was done on it before', async () => {
    await using it = await bed(one);

    await it.client.create(configMaps, object('a'), write);
    await it.client.delete(configMaps, at, { ...write, propagation: 'Background', uid: 'a' });
    for (let count = 0; count < 5; count += 1) await it.client.delete(configMaps, at, write);
    await it.client.get(configMaps, at, { signal });

    // The next request may begin before the socket of the last one is free.
    expect(it.api.connections()).toBeLessThanOrEqual(2);
    expect(it.api.requests[1]?.body).toEqual({
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy: 'Background',
      preconditions: { uid: 'a' },
    });
  });

  it('with an empty answer gives nothing', async () => {
    await using it = await bed((_request, response) => void response.writeHead(202).end());

    const answer = await it.client.raw({ method: 'DELETE', path: '/x?y=1', urgency: 'object', signal });

    expect([answer, it.api.requests[0]?.query.get('y')]).toEqual([undefined, '1']);
  });

  it('goes to the path of an API server behind another one', async () => {
    await using it = await bed(one);
    const config = {
      server: `${it.api.url}/k8s/clusters/c1`,
      origin: '',
      namespace: '',
      credentials: async () => ({}),
    };
    await using client = kubeClient(config, { clock: it.clock, log: silentLog });

    await client.get(configMaps, at, { signal });

    expect(it.api.requests[0]?.path).toBe('/k8s/clusters/c1/api/v1/namespaces/shop/configmaps/a');
  });
});

describe('a proxy', () => {
  it('is asked to connect to the API server', async () => {
    const asked: string[] = [];
    const proxy = createServer().on('connect', (request, socket, head) => {
      asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
      const [host = '', port] = (request.url ?? '').split(':');
      const target = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        target.write(head);
        target.pipe(socket).pipe(target);
      });
      target.on('error', () => {});
      socket.on('error', () => {});
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as AddressInfo;
    await using it = await bed(one, { proxy: new Secret(`http://me:pw@127.0.0.1:${port}`) });

    const got = await it.client.get(configMaps, at, { signal });

    proxy.close();
    expect(got).toEqual(object('a'));
    expect(asked).toEqual([`${new URL(it.api.url).host} Basic ${Buffer.from('me:pw').toString('base64')}`]);
  });
});

describe('credentials', () => {
  const bearer = (token: string) => ({ authorization: new Secret(`Bearer ${token}`) });
  const only =
    (token: string): ApiAnswer =>
    (request, response) => {
      if (request.headers.authorization === `Bearer ${token}`) one(request, response);
      else answerStatus(response, { code: 401, message: `"${request.headers.authorization}" is no good` });
    };

  it('are read again when the server refuses them', async () => {
    await using it = await bed(only('new-token'), {
      credentials: async refused => bearer(refused ? 'new-token' : 'old-token'),
    });

    const got = await it.client.get(configMaps, at, { signal });

    expect(got).toEqual(object('a'));
  });

  it('are read again after a minute, and not before', async () => {
    let reads = 0;
    await using it = await bed(one, {
      credentials: async () => {
        reads += 1;
        return bearer(`token-${reads}`);
      },
    });

    for (const ms of [0, 59_000, 1_000]) {
      await it.clock.advance(ms);
      await it.client.get(configMaps, at, { signal });
    }

    expect(it.api.requests.map(request => request.headers.authorization)).toEqual([
      'Bearer token-1',
      'Bearer token-1',
      'Bearer token-2',
    ]);
  });

  it('that cannot be read again do for a while', async () => {
    let reads = 0;
    await using it = await bed(one, {
      credentials: async () => {
        reads += 1;
        if (reads > 1) throw new Error('the file is being replaced');
        return bearer('a-token');
      },
    });
    await it.client.get(configMaps, at, { signal });
    await it.clock.advance(60_000);

    const got = await it.client.get(configMaps, at, { signal });

    expect([got, reads]).toEqual([object('a'), 2]);
  });

  it('are in no message, though the server repeats them', async () => {
    await using it = await bed(only('another'), { credentials: async () => bearer('secret-token') });

    const refused = it.client.get(configMaps, at, { signal });

    await expect(refused).rejects.toMatchObject({
      code: 'KUBE_REFUSED',
      message: 'cannot get ConfigMap shop/a: "Bearer [secret]" is no good',
    });
  });
});

describe('a list', () => {
  const page = (names: string[], more: object = {}) => ({
    metadata: { resourceVersion: '9', ...more },
    items: names.map(name => object(name)),
  });
  const expired: ApiAnswer = (_request, response) =>
    answerStatus(response, { code: 410, reason: 'Expired', message: 'the continue token is too old' });

  it('begins anew, and all at once, when the server forgets its moment', async () => {
    await using it = await bed(
      inTurn(
        (_request, response) => answerJson(response, page(['a', 'b'], { continue: 'next' })),
        expired,
        (_request, response) => answerJson(response, page(['b', 'c'])),
      ),
    );

    const { items, resourceVersion } = await it.client.list(configMaps, { signal });

    expect([items.map(item => item.metadata.name), resourceVersion]).toEqual([['b', 'c'], '9']);
    expect(it.api.requests.map(({ query }) => [query.get('limit'), query.get('continue')])).toEqual([
      ['500', null],
      ['500', 'next'],
      [null, null],
    ]);
  });

  it('may be null', async () => {
    await using it = await bed((_request, response) =>
      answerJson(response, { metadata: { resourceVersion: '1' }, items: null }),
    );

    const { items } = await it.client.list(configMaps, { signal });

    expect(items).toEqual([]);
  });
});

describe('a watch', () => {
  const query = { namespace: 'shop', resourceVersion: '5', signal };
  const collect = async (events: AsyncIterable<WatchEvent<KubeObject>>) => {
    const seen: string[] = [];
    for await (const event of events) {
      seen.push(event.type === 'BOOKMARK' ? `bookmark ${event.resourceVersion}` : event.object.metadata.name);
    }
    return seen;
  };

  it('asks for bookmarks, and for an end at a time of its own', async () => {
    await using it = await bed((_request, response) => void response.writeHead(200).end());

    await collect(it.client.watch(configMaps, query));

    expect(Object.fromEntries(it.api.requests[0]?.query ?? [])).toEqual({
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: '5',
      timeoutSeconds: '450',
    });
  });

  it('puts lines together that come in pieces, and ends when the server ends it', async () => {
    const bytes = Buffer.from(
      `${JSON.stringify({ type: 'ADDED', object: object('größe') })}\n` +
        `${JSON.stringify({ type: 'BOOKMARK', object: object('', '8') })}\n`,
    );
    await using it = await bed(async (_request, response) => {
      const cut = bytes.indexOf('ö') + 1;
      response.writeHead(200).write(bytes.subarray(0, cut));
      await new Promise(resolve => setTimeout(resolve, 10));
      response.end(bytes.subarray(cut));
    });

    const seen = await collect(it.client.watch(configMaps, query));

    expect(seen).toEqual(['größe', 'bookmark 8']);
  });

  it.each([
    ['breaks', 'KUBE_UNREACHABLE', hangUp],
    [
      'is refused',
      'KUBE_EXPIRED',
      (_request, response) => answerStatus(response, { code: 410, message: 'too old resource version' }),
    ],
    [
      'ends in an error',
      'KUBE_EXPIRED',
      (_request, response) => {
        sendEvents(response, { type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } });
        response.end();
      },
    ],
    [
      'breaks in the middle of a line',
      'KUBE_UNREACHABLE',
      (_request, response) => {
        response.writeHead(200).write('{"type":"ADDED",');
        setTimeout(() => response.socket?.destroy(), 10);
      },
    ],
    ['has garbage in it', 'KUBE_FAILED', (_request, response) => void response.end('no event\n')],
  ] satisfies [string, string, ApiAnswer][])('that %s is a fault', async (_title, code, answer) => {
    await using it = await bed(answer);

    const broken = collect(it.client.watch(configMaps, query));

    await expect(broken).rejects.toMatchObject({ code });
  });

  it('on which nothing comes for a minute and a half is broken off; anything that comes begins the time anew', async () => {
    let say = () => {};
    await using it = await bed((_request, response) => {
      sendEvents(response);
      say = () => sendEvents(response, { type: 'BOOKMARK', object: object('', '8') });
    });
    const events = it.client.watch(configMaps, query)[Symbol.asyncIterator]();
    const first = events.next();
    await arrived(it.api, 1);
    await it.clock.advance(60_000);
    say();
    await first;
    const second = events.next();
    const broken = expect(second).rejects.toMatchObject({
      code: 'KUBE_UNREACHABLE',
      message: 'cannot watch ConfigMap: nothing came for 90 s',
    });

    await it.clock.advance(89_999);
    const early = await Promise.race([second, Promise.resolve('still open')]);
    await it.clock.advance(1);

    expect(early).toBe('still open');
    await broken;
  });

  it('ends with its signal at once, and leaves no socket behind', async () => {
    let closed = false;
    await using it = await bed((_request, response) => {
      sendEvents(response);
      response.once('close', () => {
        closed = true;
      });
    });
    const ending = new AbortController();
    const broken = expect(
      collect(it.client.watch(configMaps, { ...query, signal: ending.signal })),
    ).rejects.toMatchObject({ code: 'CANCELLED' });
    await arrived(it.api, 1);

    ending.abort();

    await broken;
    await vi.waitUntil(() => closed);
  });

  it('takes nothing away from requests, however many there are', async () => {
    await using it = await bed((request, response) => {
      if (request.query.has('watch')) sendEvents(response);
      else one(request, response);
    });
    const ending = new AbortController();
    setMaxListeners(0, ending.signal);
    const watches = Array.from({ length: 40 }, () =>
      collect(it.client.watch(configMaps, { ...query, signal: ending.signal })).catch(() => {}),
    );
    await arrived(it.api, 40);

    const got = await it.client.get(configMaps, at, { signal });

    expect(got).toEqual(object('a'));
    ending.abort();
    await Promise.all(watches);
  });
});

describe('writes', () => {
  it('go in order of urgency when too many wait, and no read waits behind them', async () => {
    const held: (() => void)[] = [];
    await using it = await bed((_request, response) => {
      const answer = () => answerJson(response, object('a'));
      if (it.api.requests.length > 14) answer();
      else held.push(answer);
    });
    const patch = (urgency: 'status' | 'scale' | 'object', name: string) =>
      it.client.patch(configMaps, { namespace: 'shop', name }, {}, { urgency, signal, type: 'merge' });
    const first = Array.from({ length: 14 }, () => patch('object', 'a'));
    await vi.waitUntil(() => held.length === 14, { interval: 2 });

    const status = patch('status', 'status');
    const object1 = patch('object', 'object');
    const scale = patch('scale', 'scale');
    await it.client.get(configMaps, at, { signal });
    await scale;
    held.shift()?.();
    await Promise.all([status, object1]);

    const order = it.api.requests.slice(14).map(({ path }) => path.replace(/.*\//, ''));
    expect(order.filter(name => name !== 'a')).toEqual(['scale', 'object', 'status']);
    for (const answer of held) answer();
    await Promise.all(first);
  });
});
