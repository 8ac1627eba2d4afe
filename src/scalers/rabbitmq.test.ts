import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority, clientCertificate, clientKey } from '../../test/certificates.ts';
import { closedPort, httpServer } from '../../test/misbehaving-http.ts';
import { type RabbitServer, rabbitInstalled, startRabbit } from '../../test/rabbitmq.ts';
import { eventually } from '../../test/redis.ts';
import {
  bind,
  faultFrom,
  type Given,
  measureOnce,
  mustBind,
  openContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { Broker } from '../scaler/families/rabbitmq-broker.ts';
import type { Management } from '../scaler/families/rabbitmq-management.ts';
import scaler from './rabbitmq.ts';

const { signal } = new AbortController();

type Params = Parameters<typeof scaler.read>[0];

let rabbit: RabbitServer;

const given = (
  host: string,
  params: Record<string, string> = {},
  auth: Record<string, string> = {},
): Given => ({
  params: { queueName: 'orders', ...params },
  auth: { host, ...auth },
});
const at = (...args: Parameters<typeof given>) => mustBind(scaler, given(...args));

const contextOf = (conn: Broker | Management): ReadContext<Broker | Management> => ({
  conn,
  signal,
  now: 0,
  namespace: 'shop',
  cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
});

async function opened(...args: Parameters<typeof given>) {
  const conn = await scaler.open(at(...args).params as Params, openContext(signal));
  const [host, params, auth] = args;
  const named = (queueName: string) => at(host, { ...params, queueName }, auth).params as Params;
  return { conn, context: contextOf(conn), named, [Symbol.asyncDispose]: () => scaler.close(conn) };
}

/** Makes a queue with so many messages, and waits until the broker has them. */
async function queue(server: RabbitServer, name: string, count: number): Promise<void> {
  await server.channel.assertQueue(name, { durable: true });
  await server.channel.purgeQueue(name);
  for (let index = 0; index < count; index += 1) {
    server.channel.sendToQueue(name, Buffer.from(`message ${index}`), { persistent: true });
  }
  await eventually(async () => (await server.channel.checkQueue(name)).messageCount === count);
}

/** The same, and waits until the management API knows. */
async function knownQueue(server: RabbitServer, name: string, count: number, vhost = '%2F'): Promise<void> {
  await queue(server, name, count);
  await eventually(async () => {
    const told = (await server.manage('GET', `queues/${vhost}/${encodeURIComponent(name)}`)) as {
      messages?: number;
    };
    return told.messages === count;
  });
}

describe.skipIf(!rabbitInstalled)('rabbitmq, against a real broker', () => {
  beforeAll(async () => {
    rabbit = await startRabbit();
    await rabbit.manage('PUT', 'vhosts/shop%20%2F%20one');
    await rabbit.manage('PUT', 'permissions/shop%20%2F%20one/guest', {
      configure: '.*',
      write: '.*',
      read: '.*',
    });
    // One who may look at everything and read only `orders`; his password would not survive in a URL as it is.
    await rabbit.manage('PUT', 'users/counter', { password: 'p@ss/w:rd', tags: 'monitoring' });
    await rabbit.manage('PUT', 'permissions/%2F/counter', { configure: '', write: '', read: '^orders$' });
    await rabbit.manage('PUT', 'users/client', { password: 'not used', tags: '' });
    await rabbit.manage('PUT', 'permissions/%2F/client', { configure: '', write: '', read: '.*' });
  }, 60_000);

  afterAll(() => rabbit[Symbol.asyncDispose]());

  const counter = { username: 'counter', password: 'p@ss/w:rd' };
  const shared = {
    stop: () => rabbit.stop(),
    restart: () => rabbit.restart(),
    clients: () => rabbit.connections(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };

  describe('over AMQP', () => {
    scalerContract(scaler, {
      serve: async () => ({
        params: { host: `amqp://${rabbit.host}:${rabbit.ports.amqp}` },
        fill: count => queue(rabbit, 'orders', count),
        ...shared,
      }),
      protocol: 'tcp',
      params: { queueName: 'orders' },
      auth: counter,
      expect: 3,
      wrong: () => ({ auth: { password: 'quite wrong' } }),
      missing: () => ({ params: { queueName: 'nowhere' } }),
      cannot: { numbers: 'AMQP has 32 bits without a sign for a count' },
      at: ({ url, host, port }) => ({
        params: { host: `${url.startsWith('https') ? 'amqps' : 'amqp'}://${host}:${port}/` },
      }),
    });

    it('counts what is ready, and not what was handed out', async () => {
      await queue(rabbit, 'orders', 3);
      const taken = await rabbit.channel.get('orders');

      expect(await readOnce(at(rabbit.amqp))).toBe(2);
      if (taken) rabbit.channel.nack(taken);
    });

    it('takes a queue that is missing for an error, not for an empty one', async () => {
      const fault = await faultFrom(readOnce(at(rabbit.amqp, { queueName: 'missing' })));

      expect(fault.code).toBe('SOURCE_NOT_FOUND');
      expect(fault.message).toContain("no queue 'missing'");
    });

    it('counts many at once, missing ones and those of others among them, over the same connection', async () => {
      await queue(rabbit, 'orders', 2);
      await rabbit.channel.assertQueue('private', { exclusive: true });
      await using open = await opened(`amqp://${rabbit.host}:${rabbit.ports.amqp}`, {}, counter);
      const names = ['orders', 'missing-1', 'orders', 'private', 'missing-2', 'orders'];

      const counts = await scaler.readMany?.(names.map(open.named), open.context);
      const again = await scaler.readMany?.(names.map(open.named), open.context);

      const missing = expect.objectContaining({ code: 'SOURCE_NOT_FOUND' });
      const locked = expect.objectContaining({
        code: 'SOURCE_FAILED',
        message: expect.stringContaining('RESOURCE_LOCKED'),
      });
      expect(counts).toEqual([2, missing, 2, locked, missing, 2]);
      expect(again).toEqual(counts);
    });

    it.each([
      ['in the URL, written for one', (url: string) => given(`${url}/shop%20%2F%20one`)],
      ['as a parameter', (url: string) => given(`${url}/other`, { vhostName: 'shop / one' })],
      ['from the TriggerAuthentication', (url: string) => given(url, {}, { vhostName: 'shop / one' })],
    ])('finds the virtual host %s', async (_title, trigger) => {
      await rabbit.manage('PUT', 'queues/shop%20%2F%20one/orders', { durable: true });

      expect(await readOnce(mustBind(scaler, trigger(rabbit.amqp)))).toBe(0);
    });

    it.each([
      [
        'a wrong password',
        'SOURCE_REFUSED',
        () => given(rabbit.amqp, {}, { username: 'guest', password: 'quite wrong' }),
      ],
      [
        'a wrong password in the URL',
        'SOURCE_REFUSED',
        () => given(rabbit.amqp.replace('guest@', 'quite%20wrong@')),
      ],
      [
        'a certificate that nothing shows, for want of encryption',
        'SOURCE_REFUSED',
        () => {
          const auth = { tls: 'enable', cert: clientCertificate, key: clientKey };
          return given(rabbit.amqp.replace('guest:guest@', ''), {}, auth);
        },
      ],
      ['an empty password', 'SOURCE_REFUSED', () => given(rabbit.amqp.replace(':guest@', ':@'))],
      ['a virtual host that is missing', 'SOURCE_NOT_FOUND', () => given(`${rabbit.amqp}/nowhere`)],
      [
        'a virtual host that is closed to the user',
        'SOURCE_REFUSED',
        () => given(rabbit.amqp, { vhostName: 'shop / one' }, counter),
      ],
    ])('says so with %s', async (_title, code, trigger) => {
      const fault = await faultFrom(readOnce(mustBind(scaler, trigger())));

      expect(fault.code).toBe(code);
      expect(fault.message).not.toMatch(/quite|p@ss/);
    });

    it('speaks TLS, and verifies whom it speaks to unless told not to', async () => {
      await queue(rabbit, 'orders', 1);
      const url = `amqps://guest:guest@${rabbit.host}:${rabbit.ports.amqps}`;

      const trusting = await readOnce(at(url, {}, { tls: 'enable', ca: authority }));
      const unsafe = await readOnce(at(url, { unsafeSsl: 'true' }));
      const wary = await faultFrom(readOnce(at(url)));
      const plain = await faultFrom(readOnce(at(url.replace('amqps', 'amqp'))));
      const named = (name: string) =>
        readOnce(at(`${url}?server_name_indication=${name}`, {}, { tls: 'enable', ca: authority }));

      expect([trusting, unsafe]).toEqual([1, 1]);
      expect(wary).toMatchObject({ code: 'SOURCE_UNREACHABLE', message: expect.stringContaining('TLS') });
      expect(await named('localhost')).toBe(1);
      expect(await faultFrom(named('elsewhere'))).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
      expect(plain.code).toMatch(/SOURCE_(UNREACHABLE|ANSWER_INVALID)/);
    });

    it('is who its certificate says where there is no password', async () => {
      await queue(rabbit, 'orders', 1);
      const url = `amqps://${rabbit.host}:${rabbit.ports.amqps}`;
      const auth = { tls: 'enable', ca: authority, cert: clientCertificate, key: clientKey };

      const known = await readOnce(at(url, {}, auth));
      const plain = await faultFrom(readOnce(at(rabbit.amqp.replace('guest:guest@', 'nobody@'), {}, auth)));

      expect(known).toBe(1);
      expect(plain.code).toBe('SOURCE_REFUSED');
    });

    it('says whose the connection is, and what for', async () => {
      await using open = await opened(rabbit.amqp);

      await scaler.read(open.named('orders'), open.context);
      await eventually(async () => (await rabbit.connections()).length === 1);

      expect((await rabbit.connections())[0]?.name).toBe('eventide for default/app (counts messages)');
    });

    it('is one connection with one channel for a thousand queues', async () => {
      const names = Array.from({ length: 1000 }, (_, index) => `many-${index}`);
      for (const name of names) await rabbit.channel.assertQueue(name, { durable: false });
      await using open = await opened(rabbit.amqp);
      const lists = names.map(open.named);

      const counts = await scaler.readMany?.(lists, open.context);
      await eventually(async () => (await rabbit.connections())[0]?.channels === 1);

      expect(counts).toEqual(names.map(() => 0));
      expect(await rabbit.connections()).toHaveLength(1);
      for (const name of names) await rabbit.channel.deleteQueue(name);
    }, 30_000);

    it('is made anew, without a failure, where the broker had closed it', async () => {
      await queue(rabbit, 'orders', 1);
      await using open = await opened(rabbit.amqp);
      await scaler.read(open.named('orders'), open.context);
      await eventually(async () => (await rabbit.connections()).length === 1);
      const all = (await rabbit.manage('GET', 'connections')) as {
        name: string;
        client_properties: { connection_name: string };
      }[];
      const ours = all.find(each => each.client_properties.connection_name.startsWith('eventide'));

      await rabbit.manage('DELETE', `connections/${encodeURIComponent(ours?.name ?? '')}`);
      await eventually(async () => (await rabbit.connections()).length === 0);

      expect(await scaler.read(open.named('orders'), open.context)).toBe(1);
    });

    it('keeps its answers apart after one was given up on', async () => {
      await queue(rabbit, 'orders', 3);
      await using open = await opened(rabbit.amqp);
      const stop = new AbortController();

      const given = scaler.read(open.named('missing'), { ...open.context, signal: stop.signal });
      stop.abort(new Fault('CANCELLED', 'no longer wanted'));

      expect((await faultFrom(given)).code).toBe('CANCELLED');
      expect(await scaler.read(open.named('orders'), open.context)).toBe(3);
    });
  });

  describe('over the management API', () => {
    scalerContract(scaler, {
      serve: async () => ({
        params: { host: `http://${rabbit.host}:${rabbit.ports.http}` },
        fill: count => knownQueue(rabbit, 'orders', count),
        ...shared,
      }),
      params: { queueName: 'orders' },
      auth: counter,
      expect: 3,
      wrong: () => ({ auth: { password: 'quite wrong' } }),
      missing: () => ({ params: { queueName: 'nowhere' } }),
      async saying(number) {
        const server = await httpServer((_req, res) =>
          res.end(`{"messages":${number},"messages_ready":0,"messages_unacknowledged":0}`),
        );
        return Object.assign(server, { params: { host: server.url } });
      },
      at: ({ url }) => ({ params: { host: url } }),
    });

    it('counts what was handed out as well, unless told not to', async () => {
      await queue(rabbit, 'orders', 3);
      const taken = await rabbit.channel.get('orders');
      const ready = () => readOnce(at(rabbit.http, { excludeUnacknowledged: 'true' }));

      await eventually(async () => (await ready()) === 2);

      expect(await readOnce(at(rabbit.http))).toBe(3);
      if (taken) rabbit.channel.nack(taken);
    });

    it('takes a queue that is missing for an error, alone and among others', async () => {
      await knownQueue(rabbit, 'orders', 1);
      await using open = await opened(rabbit.http);
      const names = ['missing', 'orders', 'ORDERS', 'or.ers'];

      const fault = await faultFrom(readOnce(at(rabbit.http, { queueName: 'missing' })));
      const counts = await scaler.readMany?.(names.map(open.named), open.context);

      const missing = expect.objectContaining({ code: 'SOURCE_NOT_FOUND' });
      expect(fault.code).toBe('SOURCE_NOT_FOUND');
      expect(counts).toEqual([missing, 1, missing, missing]);
    });

    it('counts names with signs in them, and those of other virtual hosts, with few requests', async () => {
      const names = ['a/b', 'a.b|c', 'é^$', 'with blank', '(x)', 'plus+plus', 'per%cent'];
      for (const name of names) await queue(rabbit, name, 1);
      for (const name of names) await knownQueue(rabbit, name, 1);
      await using open = await opened(rabbit.http);
      const other = at(rabbit.http, { vhostName: 'nowhere' }).params as Params;

      const counts = await scaler.readMany?.([...names.map(open.named), other], open.context);
      const alone = await Promise.all(names.map(name => readOnce(at(rabbit.http, { queueName: name }))));

      expect(counts).toEqual([...names.map(() => 1), expect.objectContaining({ code: 'SOURCE_NOT_FOUND' })]);
      expect(alone).toEqual(names.map(() => 1));
      for (const name of names) await rabbit.channel.deleteQueue(name);
    });

    it('takes together the queues that match, page by page', async () => {
      for (const [name, count] of [
        ['in-a', 1],
        ['in-b', 2],
        ['in-c', 4],
      ] as const)
        await queue(rabbit, name, count);
      await knownQueue(rabbit, 'in-c', 4);
      const read = (params: Record<string, string>) =>
        readOnce(at(rabbit.http, { queueName: '^in-', useRegex: 'true', ...params }));
      await eventually(async () => (await read({})) === 7);

      const all = [
        await read({ pageSize: '1' }),
        await read({ operation: 'max' }),
        await read({ operation: 'avg' }),
        await read({ queueName: 'none matches' }),
        await read({ pageSize: '9999' }),
      ];

      expect(all).toEqual([7, 4, 2, 0, 7]);
    });

    it('measures how fast messages come and go', async () => {
      await knownQueue(rabbit, 'busy', 0);
      let going = true;
      const busy = (async () => {
        while (going) {
          rabbit.channel.sendToQueue('busy', Buffer.from('x'));
          rabbit.channel.sendToQueue('busy', Buffer.from('x'));
          await rabbit.channel.get('busy', { noAck: true });
          await new Promise(resolve => setTimeout(resolve, 10));
        }
      })();
      const read = (mode: string) => readOnce(at(rabbit.http, { queueName: 'busy', mode, value: '1' }));

      await eventually(async () => (await read('PublishedToDeliveredRatio')) > 1.5);
      const rates = [await read('MessageRate'), await read('DeliverGetRate')];
      const seconds = await read('ExpectedQueueConsumptionTime');
      going = false;
      await busy;

      expect(Math.min(...rates)).toBeGreaterThan(0);
      expect(seconds).toBeGreaterThan(0);
    }, 30_000);

    it.each([
      ['nowhere', 'SOURCE_NOT_FOUND', () => given(rabbit.http, { vhostName: 'nowhere' })],
      [
        'with a wrong password',
        'SOURCE_REFUSED',
        () => given(rabbit.http, {}, { username: 'guest', password: 'quite wrong' }),
      ],
    ])('says so %s', async (_title, code, trigger) => {
      const fault = await faultFrom(readOnce(mustBind(scaler, trigger())));

      expect(fault.code).toBe(code);
      expect(fault.message).not.toContain('quite wrong');
    });

    it('speaks TLS', async () => {
      await knownQueue(rabbit, 'orders', 1);
      const url = `https://guest:guest@${rabbit.host}:${rabbit.ports.https}`;

      expect(await readOnce(at(url, {}, { tls: 'enable', ca: authority }))).toBe(1);
      expect(await readOnce(at(url, { unsafeSsl: 'true' }))).toBe(1);
      expect((await faultFrom(readOnce(at(url)))).code).toBe('SOURCE_UNREACHABLE');
    });
  });
});

describe('what the management API may say', () => {
  const saying = (answer: unknown) =>
    httpServer((_req, res) => res.end(typeof answer === 'string' ? answer : JSON.stringify(answer)));
  const facts = (messages: number, publish: number, deliver: number, ready = messages) => ({
    name: 'orders',
    messages,
    messages_ready: ready,
    message_stats: { publish_details: { rate: publish }, deliver_get_details: { rate: deliver } },
  });

  it.each([
    ['QueueLength', facts(4, 0, 0), 4],
    ['QueueLength', { name: 'orders', messages: 4, messages_ready: 4 }, 4],
    ['MessageRate', facts(4, 1.5, 0), { value: 1.5, active: true }],
    ['MessageRate', facts(2, 1.5, 0), { value: 1.5, active: false }],
    ['MessageRate', facts(0, 2.5, 0), { value: 2.5, active: true }],
    ['DeliverGetRate', facts(9, 1.5, 0.5), 0.5],
    ['PublishedToDeliveredRatio', facts(9, 3, 2), 1.5],
    ['PublishedToDeliveredRatio', facts(9, 3, 0), { value: 2, active: true }],
    ['PublishedToDeliveredRatio', facts(9, 0, 3), 0],
    ['ExpectedQueueConsumptionTime', facts(10, 1, 2), 4.5],
    ['ExpectedQueueConsumptionTime', facts(10, 1, 0), { value: 2, active: true }],
    ['ExpectedQueueConsumptionTime', facts(3, 0, 10), -0.7],
    ['ExpectedQueueConsumptionTime', facts(0, 1, 0), 0],
  ])('%s of %j is %j, active above 2', async (mode, answer, measure) => {
    await using server = await saying(answer);

    const read = await measureOnce(at(server.url, { mode, value: '1', activationValue: '2' }));

    expect(read).toEqual(measure);
  });

  it('leaves out what was handed out, in every mode', async () => {
    await using server = await saying(facts(10, 1, 2, 4));
    const params = { mode: 'ExpectedQueueConsumptionTime', value: '1', excludeUnacknowledged: 'true' };

    expect(await measureOnce(at(server.url, params))).toBe(1.5);
  });

  it('takes rates together as well', async () => {
    await using server = await saying({ items: [facts(1, 2, 1), facts(2, 4, 3)], page_count: 1 });
    const read = (operation: string) =>
      readOnce(at(server.url, { mode: 'DeliverGetRate', value: '1', useRegex: 'true', operation }));

    expect([await read('sum'), await read('avg'), await read('max')]).toEqual([4, 2, 3]);
  });

  it.each([
    ['no count, as of a queue that was made a moment ago', { name: 'orders' }],
    ['a negative count', facts(-1, 0, 0)],
    ['an overflowing count', '{"messages": 1e400, "messages_ready": 0}'],
    ['half a message', facts(1.5, 0, 0)],
    ['a text for a count', { messages: '4', messages_ready: '4' }],
    ['a rate that is none', { ...facts(1, 0, 0), message_stats: { publish_details: { rate: 'fast' } } }],
    ['a list', [facts(1, 0, 0)]],
  ])('does not take %s for a number', async (_title, answer) => {
    await using server = await saying(answer);

    expect((await faultFrom(readOnce(at(server.url)))).code).toBe('SOURCE_ANSWER_INVALID');
  });

  it.each([
    ['', '/api/queues/%2F/orders'],
    ['/', '/api/queues/%2F/orders'],
    ['//', '/api/queues/%2F/orders'],
    ['/%2F', '/api/queues/%2F/orders'],
    ['/%2f', '/api/queues/%2f/orders'],
    ['/shop', '/api/queues/shop/orders'],
    ['/%2Fshop', '/api/queues/%2Fshop/orders'],
    ['/sub/shop', '/sub/api/queues/shop/orders'],
    ['/sub/', '/sub/api/queues/%2F/orders'],
    ['/sub//', '/sub/api/queues/%2F/orders'],
    ['/sub/sub2/%2F', '/sub/sub2/api/queues/%2F/orders'],
    ['/sub/shop', '/sub/api/queues/other%20one/orders', 'other one'],
    ['/sub/', '/sub/api/queues/%2F/orders', '/'],
  ])('asks a server at "%s" for %s', async (path, asked, vhostName = '') => {
    let url = '';
    await using server = await httpServer((req, res) => {
      url = req.url ?? '';
      res.end(JSON.stringify(facts(1, 0, 0)));
    });

    await readOnce(at(`${server.url}${path}`, { vhostName }));

    expect(url.replace(/\?.*/, '')).toBe(asked);
  });

  it('logs in with what the URL says, and with the parameters before it', async () => {
    const seen: (string | undefined)[] = [];
    await using server = await httpServer((req, res) => {
      seen.push(req.headers.authorization);
      res.end(JSON.stringify(facts(1, 0, 0)));
    });
    const url = server.url.replace('http://', 'http://me:s%40cret@');

    await readOnce(at(url));
    await readOnce(at(url, {}, { username: 'you', password: 'other' }));

    const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;
    expect(seen).toEqual([basic('me:s@cret'), basic('you:other')]);
  });

  it('asks with a token of a workload identity', async () => {
    let seen: string | undefined;
    await using server = await httpServer((req, res) => {
      seen = req.headers.authorization;
      res.end(JSON.stringify(facts(1, 0, 0)));
    });
    const podIdentity = { provider: 'azure-workload', identityId: 'id' } as const;
    const trigger = mustBind(scaler, given(server.url, {}, { workloadIdentityResource: 'app' }), {
      podIdentity,
    });
    const tokens = {
      ...openContext(signal).tokens,
      accessToken: async (_identity: unknown, scope: string) => new Secret(`token for ${scope}`),
    };

    await readOnce(trigger, { open: { tokens } });

    expect(seen).toBe('Bearer token for app/.default');
  });

  it('asks with a token of an OAuth client', async () => {
    let seen: string | undefined;
    await using server = await httpServer((req, res) => {
      if (req.url === '/token')
        return void res.end(JSON.stringify({ access_token: 'granted', expires_in: 60 }));
      seen = req.headers.authorization;
      res.end(JSON.stringify(facts(1, 0, 0)));
    });
    const oauth = { oauthTokenURI: `${server.url}/token`, clientID: 'me', clientSecret: 'secret' };

    await readOnce(at(server.url, {}, oauth));

    expect(seen).toBe('Bearer granted');
  });

  it('asks for a thousand queues with a few requests over two connections', async () => {
    await using server = await httpServer((req, res) => {
      const expression = new URL(req.url ?? '', 'http://x').searchParams.get('name') ?? '';
      const items = [...expression.matchAll(/queue\\-\d+/g)].map(([name]) => ({
        ...facts(1, 0, 0),
        name: name.replace('\\', ''),
      }));
      res.end(JSON.stringify({ items, page_count: 1 }));
    });
    await using open = await opened(server.url);
    const names = Array.from({ length: 1000 }, (_, index) => `queue-${index}`);

    const counts = await scaler.readMany?.(names.map(open.named), open.context);

    expect(counts).toEqual(names.map(() => 1));
    expect(server.seen().requests).toBeLessThan(10);
    expect(server.seen().connections).toBeLessThanOrEqual(2);
  });
});

describe('parameters of rabbitmq', () => {
  it.each([
    ['nothing else', {}, 20],
    ['the old queueLength', { queueLength: '7.5' }, 7.5],
    ['a mode and a value', { mode: 'QueueLength', value: '0.5' }, 0.5],
    ['a mode that is none', { mode: 'Unknown' }, 20],
    ['an operation that nothing needs', { operation: 'median' }, 20],
  ])('has a target with %s', (_title, params, value) => {
    expect(at('amqp://a', params)).toMatchObject({ target: { type: 'AverageValue', value } });
  });

  it.each([
    ['an unknown scheme', given('ftp://a'), 'does not say what is spoken'],
    ['no scheme', given('localhost:5672'), 'does not say what is spoken'],
    [
      'queueLength beside a value',
      given('amqp://a', { queueLength: '5', value: '4' }),
      'beside mode or value',
    ],
    ['a mode alone', given('amqp://a', { mode: 'QueueLength' }), '"value" is missing'],
    ['a value alone', given('amqp://a', { value: '4' }), '"mode" is missing'],
    ['an unknown mode', given('amqp://a', { mode: 'Feelings', value: '4' }), 'must be one of'],
    [
      'rates over AMQP',
      given('amqp://a', { mode: 'MessageRate', value: '4' }),
      'does not tell what MessageRate needs',
    ],
    ['expressions over AMQP', given('amqps://a', { useRegex: 'true' }), 'useRegex is for the management API'],
    [
      'a timeout over AMQP',
      given('amqp://a', { mode: 'QueueLength', value: '4', timeout: '5s' }),
      'timeout is for',
    ],
    ['an unknown operation', given('http://a', { useRegex: 'true', operation: 'median' }), '"median" is no'],
    ['pages of nothing', given('http://a', { pageSize: '0' }), 'pageSize is 0'],
    ['a user alone', given('http://a', {}, { username: 'me' }), '"password" is missing'],
    ['a key alone', given('amqps://a', {}, { key: 'k', tls: 'enable' }), '"cert" is missing'],
    [
      'a workload identity over AMQP',
      given('amqp://a', {}, { workloadIdentityResource: 'x' }),
      'management API only',
    ],
    ['half an OAuth client', given('http://a', {}, { clientID: 'x' }), '"oauthTokenURI" is missing'],
  ])('refuses %s', (_title, trigger, problem) => {
    const binding = bind(scaler, trigger);

    expect(binding.ok ? 'accepted' : binding.problems.map(each => each.problem).join('\n')).toContain(
      problem,
    );
  });

  it.each(['http://', 'http://%', 'amqp://a/%zz'])('says that %s is no URL to connect to', async host => {
    expect((await faultFrom(readOnce(at(host)))).code).toBe('PARAM_INVALID');
  });

  it('says that a URL does not fit its protocol', async () => {
    const fault = await faultFrom(readOnce(at('amqp://a', { protocol: 'http' })));

    expect(fault).toMatchObject({
      code: 'PARAM_INVALID',
      message: expect.stringContaining('no http or https'),
    });
  });

  it('connects where RabbitMQ listens unless told', async () => {
    const port = await closedPort();
    const messages = await Promise.all(
      [`amqp://127.0.0.1:${port}`, `amqp://[::1]:${port}/x`].map(
        async host => (await faultFrom(readOnce(at(host)))).message,
      ),
    );
    const place = (host: string) => scaler.deliver?.queueId(at(host).params as Params);

    expect(messages[0]).toContain(`127.0.0.1:${port}`);
    expect(messages[1]).toContain(`[::1]:${port}`);
    expect([place('amqp://'), place('amqps://broker/shop'), place('amqp:///%2F')]).toEqual([
      'localhost:5672///orders',
      'broker:5671/shop/orders',
      'localhost:5672///orders',
    ]);
  });

  it('has KEDA’s metric name', () => {
    const name = (queueName: string) => at('amqp://a', { queueName }).metricName;

    expect(name('namespace/name')).toBe('s0-rabbitmq-namespace-2Fname');
    expect(name('^a b(c)$')).toBe('s0-rabbitmq--5Ea+b-28c-29-24');
  });

  it('shares a connection by place and identity, and shows no secret in what it is shared by', () => {
    const key = (...args: Parameters<typeof given>) => at(...args).connectionKey;

    const keys = [
      key('amqp://me:secret-1@a/shop'),
      key('amqp://me:secret-1@a/shop', { queueName: 'other' }),
      key('amqp://me:secret-2@a/shop'),
      key('amqp://a/shop', {}, { username: 'me', password: 'secret-2' }),
      key('amqp://me:secret-1@a/other'),
      key('amqps://me:secret-1@a/shop'),
      key('amqps://me:secret-1@a/shop', { unsafeSsl: 'true' }),
      key('http://me:secret-1@a/shop'),
      key('http://me:secret-1@a/other'),
      key('http://me:secret-2@a/other'),
    ];

    expect(keys[1]).toBe(keys[0]);
    expect(keys[3]).toBe(keys[2]);
    expect(keys[8]).toBe(keys[7]);
    expect(new Set(keys).size).toBe(7);
    expect(keys.join()).not.toContain('secret');
  });

  it('counts what waits over AMQP, and what is handed out too over the management API', () => {
    const counts = (...args: Parameters<typeof given>) => scaler.countsFor(at(...args).params as Params);

    expect(counts('amqp://a')).toBe('waiting');
    expect(counts('http://a')).toBe('waiting and in flight');
    expect(counts('http://a', { excludeUnacknowledged: 'true' })).toBe('waiting');
  });
});
