import { afterAll, beforeAll, describe } from 'vitest';
import type { Scaler } from '../src/scaler/define.ts';
import redis from '../src/scalers/redis.ts';
import redisCluster from '../src/scalers/redis-cluster.ts';
import redisClusterStreams from '../src/scalers/redis-cluster-streams.ts';
import redisSentinel from '../src/scalers/redis-sentinel.ts';
import redisSentinelStreams from '../src/scalers/redis-sentinel-streams.ts';
import redisStreams from '../src/scalers/redis-streams.ts';
import { deliveryContract } from './delivery-contract.ts';
import { redisInstalled, startCluster, startRedis, startSentinels } from './redis.ts';

interface Place extends AsyncDisposable {
  params: Record<string, string>;
  /** Sends a command to the server that has the key. */
  send(key: string, ...command: string[]): Promise<unknown>;
}

interface Kind {
  title: string;
  start(): Promise<Place>;
  list: unknown;
  stream: unknown;
  /** The name of a key beside the one of the queue. */
  beside(key: string, suffix: string): string;
}

const plainly = (key: string, suffix: string) => `${key}${suffix}`;

const single: Kind = {
  title: 'a server',
  list: redis,
  stream: redisStreams,
  beside: plainly,
  async start() {
    const server = await startRedis();
    return {
      params: { address: server.address },
      send: (_key, ...command) => server.send(...command),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};

const cluster: Kind = {
  title: 'a cluster of six',
  list: redisCluster,
  stream: redisClusterStreams,
  beside: (key, suffix) => `{${key}}${suffix}`,
  async start() {
    const group = await startCluster();
    const [any] = group.servers;
    return {
      params: { addresses: group.addresses },
      async send(key, ...command) {
        const slot = Number(await any?.send('CLUSTER', 'KEYSLOT', key));
        const ranges = (await any?.send('CLUSTER', 'SLOTS')) as [number, number, [Buffer, number]][];
        const range = ranges.find(([from, to]) => from <= slot && slot <= to);
        const server = group.servers.find(({ port }) => port === range?.[2][1]);
        return await server?.send(...command);
      },
      [Symbol.asyncDispose]: () => group[Symbol.asyncDispose](),
    };
  },
};

const sentinel: Kind = {
  title: 'a master behind sentinels',
  list: redisSentinel,
  stream: redisSentinelStreams,
  beside: plainly,
  async start() {
    const group = await startSentinels();
    return {
      params: { addresses: group.addresses, sentinelMaster: 'mymaster' },
      send: (_key, ...command) => group.master.send(...command),
      [Symbol.asyncDispose]: () => group[Symbol.asyncDispose](),
    };
  },
};

describe.skipIf(!redisInstalled).each([single, cluster, sentinel])('messages of Redis, $title,', kind => {
  let place: Place;
  let generation = 0;
  const key = () => `tasks-${generation}`;
  const send = (...command: string[]) => place.send(key(), ...command);

  async function empty(): Promise<void> {
    generation += 1;
  }

  beforeAll(async () => {
    place = await kind.start();
  });

  afterAll(() => place[Symbol.asyncDispose]());

  describe('in a list', () => {
    const untils = () => kind.beside(key(), ':eventide-until');

    deliveryContract({
      scaler: kind.list as Scaler,
      empty,
      given: () => ({ params: { ...place.params, listName: key() } }),
      send: text => send('LPUSH', key(), text),
      async pass() {
        const claimed = (await send('ZRANGE', untils(), '0', '-1')) as Buffer[];
        for (const id of claimed) await send('ZADD', untils(), '0', String(id));
      },
      left: async () => Number(await send('LLEN', key())) + Number(await send('ZCARD', untils())),
      async poison() {
        const texts = (await send('LRANGE', kind.beside(key(), '-poison'), '0', '-1')) as Buffer[];
        return texts.map(String);
      },
    });
  });

  describe('in a stream', () => {
    deliveryContract({
      scaler: kind.stream as Scaler,
      async empty() {
        await empty();
        await send('XGROUP', 'CREATE', key(), 'jobs', '0', 'MKSTREAM');
      },
      given: () => ({ params: { ...place.params, stream: key(), consumerGroup: 'jobs', lagCount: '1' } }),
      send: text => send('XADD', key(), '*', 'text', text),
      textOf: data => JSON.parse(data).text,
      async pass() {
        const held = (await send('XPENDING', key(), 'jobs', '-', '+', '1000')) as [Buffer, Buffer][];
        for (const [id, consumer] of held) {
          await send('XCLAIM', key(), 'jobs', String(consumer), '0', String(id), 'IDLE', '60000', 'JUSTID');
        }
      },
      async left() {
        const [group] = (await send('XINFO', 'GROUPS', key())) as (Buffer | number)[][];
        const [pending, lag] = [group?.[5], group?.at(-1)];
        return Number(pending) + Number(lag);
      },
      async poison() {
        const beside = kind.beside(key(), '-poison');
        const entries = (await send('XRANGE', beside, '-', '+')) as [Buffer, Buffer[]][];
        return entries.map(([, fields]) => String(fields[1]));
      },
    });
  });
});
