import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority } from '../../test/certificates.ts';
import { httpServer } from '../../test/misbehaving-http.ts';
import {
  type NatsCluster,
  type NatsServer,
  natsInstalled,
  startNats,
  startNatsCluster,
} from '../../test/nats.ts';
import {
  bind,
  faultFrom,
  mustBind,
  openContext,
  readContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import type { NatsConnection } from '../scaler/families/nats-access.ts';
import scaler from './nats-jetstream.ts';

type Params = Parameters<typeof scaler.read>[0];

const orders = { account: '$G', stream: 'ORDERS', consumer: 'workers' };

const at = (monitoring: string, params: Record<string, string> = {}) =>
  mustBind(scaler, { params: { natsServerMonitoringEndpoint: monitoring, ...orders, ...params } });

async function makeStream(
  server: NatsServer,
  name: string,
  over: Record<string, unknown> = {},
): Promise<void> {
  await server.api(`STREAM.CREATE.${name}`, { name, subjects: [`${name}.*`], storage: 'memory', ...over });
}

async function makeConsumer(
  server: NatsServer,
  stream: string,
  over: Record<string, unknown> = {},
): Promise<void> {
  const config = { durable_name: 'workers', ack_policy: 'explicit', ...over };
  const { durable_name: name } = config;
  await server.api(`CONSUMER.DURABLE.CREATE.${stream}.${name}`, { stream_name: stream, config });
}

async function publish(server: NatsServer, stream: string, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) await server.publish(`${stream}.new`, `${index}`);
}

describe.skipIf(!natsInstalled)('nats-jetstream, against a real server', () => {
  let nats: NatsServer;

  beforeAll(async () => {
    nats = await startNats();
    await makeStream(nats, 'ORDERS', { storage: 'file' });
    await makeConsumer(nats, 'ORDERS');
  });

  afterAll(() => nats[Symbol.asyncDispose]());

  scalerContract(scaler, {
    async serve() {
      await nats.api('STREAM.PURGE.ORDERS');
      return {
        params: { natsServerMonitoringEndpoint: nats.monitoring },
        fill: count => publish(nats, 'ORDERS', count),
        stop: () => nats.stop(),
        restart: () => nats.restart(),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    params: orders,
    alsoRequired: ['account'],
    expect: 3,
    at: ({ url, host, port }) => ({
      params: {
        natsServerMonitoringEndpoint: `${host}:${port}`,
        ...(url.startsWith('https') ? { useHttps: 'true' } : {}),
      },
    }),
    missing: () => ({ params: { consumer: 'none' } }),
    async saying(number) {
      const consumer = `{"name":"workers","num_pending":${number},"num_ack_pending":0}`;
      const stream = `{"name":"ORDERS","consumer_detail":[${consumer}]}`;
      const account = `{"name":"$G","id":"$G","stream_detail":[${stream}]}`;
      const server = await httpServer((_req, res) =>
        res.end(`{"server_id":"N","account_details":[${account}]}`),
      );
      return Object.assign(server, {
        params: { natsServerMonitoringEndpoint: `${server.host}:${server.port}` },
      });
    },
    cannot: {
      wrong: 'the port for monitoring takes anybody',
      tooLarge: 'an account may have more consumers than 10 MB can tell of; see below',
    },
  });

  it('counts what waits and what was handed out, not what was acknowledged', async () => {
    await makeStream(nats, 'MAIL');
    await makeConsumer(nats, 'MAIL');
    await publish(nats, 'MAIL', 5);
    const first = await nats.next('MAIL', 'workers');
    await nats.next('MAIL', 'workers');
    await nats.publish(first.reply ?? '', '+ACK');

    expect(await readOnce(at(nats.monitoring, { stream: 'MAIL' }))).toBe(4);
  });

  it.each([
    ['an account', { account: 'nobody' }, 'there is no account "nobody"'],
    ['a stream', { stream: 'NONE' }, 'there is no stream "NONE" in account "$G"'],
    ['a consumer', { consumer: 'none' }, 'stream "ORDERS" has no consumer "none"'],
  ])('does not take %s that is missing for an empty one', async (_title, params, message) => {
    const fault = await faultFrom(readOnce(at(nats.monitoring, params)));

    expect(fault).toMatchObject({ code: 'SOURCE_NOT_FOUND', message });
  });

  it('reads many consumers of an account by one request, and each fault apart', async () => {
    await makeStream(nats, 'MANY');
    for (let index = 0; index < 40; index += 1)
      await makeConsumer(nats, 'MANY', { durable_name: `c${index}` });
    await publish(nats, 'MANY', 2);
    const triggers = Array.from({ length: 41 }, (_, index) =>
      at(nats.monitoring, { stream: 'MANY', consumer: `c${index}` }),
    );
    const requests = async () => {
      const response = await fetch(`http://${nats.monitoring}/varz`);
      return (
        ((await response.json()) as { http_req_stats: Record<string, number> }).http_req_stats['/jsz'] ?? 0
      );
    };
    const { signal } = new AbortController();
    const [first] = triggers;
    if (first === undefined) throw new Error('there are triggers');
    const conn = (await first.scaler.open(first.params, openContext(signal))) as NatsConnection;
    const before = await requests();

    const outcomes = await scaler.readMany?.(
      triggers.map(({ params }) => params as Params),
      readContext(conn, signal),
    );

    expect(await requests()).toBe(before + 1);
    expect(outcomes?.slice(0, 40)).toEqual(Array.from({ length: 40 }, () => 2));
    expect(outcomes?.[40]).toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    expect(new Set(triggers.map(({ connectionKey }) => connectionKey)).size).toBe(1);
    await conn[Symbol.asyncDispose]();
  });

  it('tells accounts apart, and knows one by its id where its name is another', async () => {
    await using server = await startNats({
      config: [
        'accounts {',
        '  SHOP { jetstream: enabled, users: [ { user: shop, password: shop } ] }',
        '  BANK { jetstream: enabled, users: [ { user: bank, password: bank } ] }',
        '}',
        'no_auth_user: shop',
      ],
    });
    await makeStream(server, 'ORDERS');
    await makeConsumer(server, 'ORDERS');
    await publish(server, 'ORDERS', 3);

    expect(await readOnce(at(server.monitoring, { account: 'SHOP' }))).toBe(3);
    expect(await readOnce(at(server.monitoring, { account: 'other name', accountID: 'SHOP' }))).toBe(3);
    expect(await faultFrom(readOnce(at(server.monitoring, { account: 'BANK' })))).toMatchObject({
      message: 'there is no stream "ORDERS" in account "BANK"',
    });
  });

  it('asks over HTTPS, and trusts nobody without reason', async () => {
    await using server = await startNats({ tls: true });
    await makeStream(server, 'ORDERS');
    await makeConsumer(server, 'ORDERS');
    await publish(server, 'ORDERS', 1);
    const bound = at(server.monitoring, { useHttps: 'true' });

    expect(await readOnce(bound, { open: { http: { roots: [authority] } } })).toBe(1);
    expect(await faultFrom(readOnce(bound))).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
  });

  it('says so where there is no JetStream', async () => {
    await using server = await httpServer((_req, res) =>
      res.end('{"server_id":"N1","disabled":true,"config":{}}'),
    );

    const fault = await faultFrom(readOnce(at(`${server.host}:${server.port}`)));

    expect(fault.message).toBe(`JetStream is not enabled at ${server.host}:${server.port}`);
  });

  it('asks the next endpoint where one does not answer', async () => {
    await nats.api('STREAM.PURGE.ORDERS');
    await publish(nats, 'ORDERS', 2);

    expect(await readOnce(at(`127.0.0.1:1, ${nats.monitoring}`))).toBe(2);
  });
});

describe.skipIf(!natsInstalled)('nats-jetstream, against a cluster of three', () => {
  let cluster: NatsCluster;
  /** Consumers with one copy each, on every server one at least, and one with three copies. */
  let consumers: string[];

  beforeAll(async () => {
    cluster = await startNatsCluster();
    const [server] = cluster.servers as [NatsServer];
    await makeStream(server, 'ORDERS', { num_replicas: 3 });
    await makeConsumer(server, 'ORDERS', { num_replicas: 3 });
    await publish(server, 'ORDERS', 5);
    consumers = [];
    for (let index = 0; index < 4; index += 1) {
      await makeStream(server, `ONE${index}`);
      await makeConsumer(server, `ONE${index}`);
      await publish(server, `ONE${index}`, index + 1);
      consumers.push(`ONE${index}`);
    }
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  /** What the servers say who leads a consumer: while there is no leader its own API says nothing. */
  const leaderOf = async (stream: string): Promise<string> => {
    const query = 'acc=$G&consumers=true';
    for (const { monitoring } of cluster.servers) {
      const state = JSON.stringify(await (await fetch(`http://${monitoring}/jsz?${query}`)).json());
      const [, leader] = new RegExp(`"stream_name":"${stream}".*?"leader":"(\\w+)"`).exec(state) ?? [];
      if (leader !== undefined) return leader;
    }
    return '';
  };

  it('finds each number with the server that leads the consumer, from whichever it begins', async () => {
    for (const { monitoring } of cluster.servers) {
      for (const [index, stream] of consumers.entries()) {
        expect(await readOnce(at(monitoring, { stream }))).toBe(index + 1);
      }
      expect(await readOnce(at(monitoring))).toBe(5);
    }
  });

  it('asks only the leader once it is known, and the next one after it has stepped down', async () => {
    const [server] = cluster.servers as [NatsServer];
    const bound = at(server.monitoring);
    const { signal } = new AbortController();
    const conn = await bound.scaler.open(bound.params, openContext(signal));
    const read = () => bound.scaler.read(bound.params, readContext(conn, signal));
    const requests = async () => {
      const counts = cluster.servers.map(async ({ monitoring }) => {
        const facts = (await (await fetch(`http://${monitoring}/varz`)).json()) as {
          http_req_stats: Record<string, number>;
        };
        return facts.http_req_stats['/jsz'] ?? 0;
      });
      return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
    };
    await read();
    const before = await requests();
    await read();
    const after = await requests();
    const leader = await leaderOf('ORDERS');

    await server.api('CONSUMER.LEADER.STEPDOWN.ORDERS.workers');
    let next = leader;
    while (next === leader || next === '') next = await leaderOf('ORDERS');

    const seen = new Set<unknown>();
    while (!seen.has(5)) seen.add(await read().catch(() => 'unknown'));
    expect(after - before).toBe(1);
    expect([...seen].filter(value => value !== 'unknown')).toEqual([5]);
    await bound.scaler.close(conn);
  });

  it('does not take a consumer that is missing everywhere for an empty one', async () => {
    const [{ monitoring }] = cluster.servers as [NatsServer];

    expect(await faultFrom(readOnce(at(monitoring, { consumer: 'none' })))).toMatchObject({
      code: 'SOURCE_NOT_FOUND',
      message: 'stream "ORDERS" has no consumer "none"',
    });
  });

  it('goes on with the servers that are left, and does not count what only the lost one knew', async () => {
    const lost = await leaderOf('ONE0');
    const others = cluster.servers.filter(server => server !== cluster.named(lost));
    const [left] = others as [NatsServer];
    const bound = at(left.monitoring);
    const { signal } = new AbortController();
    const conn = await bound.scaler.open(bound.params, openContext(signal));
    const read = (trigger = bound) => trigger.scaler.read(trigger.params, readContext(conn, signal));
    await read();

    await cluster.named(lost).stop();
    let value: unknown;
    while (typeof value !== 'number') value = await read().catch(() => undefined);
    const fault = await faultFrom(read(at(left.monitoring, { stream: 'ONE0' })));
    await cluster.named(lost).restart();

    expect(value).toBe(5);
    expect(['SOURCE_UNREACHABLE', 'SOURCE_NOT_FOUND', 'SOURCE_FAILED']).toContain(fault.code);
    await bound.scaler.close(conn);
  });
});

it.skipIf(!natsInstalled)('finds servers that do not advertise where clients connect to them', async () => {
  await using cluster = await startNatsCluster(['  no_advertise: true']);
  const [first] = cluster.servers as [NatsServer];
  for (const stream of ['A', 'B', 'C']) {
    await makeStream(first, stream);
    await makeConsumer(first, stream);
    await publish(first, stream, 1);
  }

  for (const stream of ['A', 'B', 'C']) {
    for (const { monitoring } of cluster.servers) expect(await readOnce(at(monitoring, { stream }))).toBe(1);
  }
});

describe('nats-jetstream', () => {
  it('has KEDA’s metric name and targets', () => {
    const params = { stream: 'a.b', lagThreshold: '7', activationLagThreshold: '3' };

    expect(at('nats:8222', params)).toMatchObject({
      metricName: 's0-nats-jetstream-a-b',
      target: { type: 'AverageValue', value: 7 },
      activation: 3,
    });
  });

  it.each(['http://nats:8222', 'nats:port', 'a b', 'nats:8222/path'])(
    'refuses "%s" as an endpoint',
    endpoint => {
      const binding = bind(scaler, { params: { ...orders, natsServerMonitoringEndpoint: endpoint } });

      expect(binding).toMatchObject({
        ok: false,
        problems: [{ problem: 'natsServerMonitoringEndpoint is no address' }],
      });
    },
  );

  it('stops reading an answer without end', async () => {
    const piece = Buffer.alloc(1024 * 1024, ' ');
    await using server = await httpServer((_req, res) => {
      const more = () => {
        while (!res.destroyed && res.write(piece));
        res.once('drain', more);
      };
      more();
    });

    const fault = await faultFrom(readOnce(at(`${server.host}:${server.port}`)));

    expect(fault.code).toBe('SOURCE_ANSWER_TOO_LARGE');
  });
});
