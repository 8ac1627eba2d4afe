import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  eventually,
  type RedisCluster,
  type RedisServer,
  redisInstalled,
  sayingRedis,
  startCluster,
} from '../../test/redis.ts';
import { faultFrom, mustBind, openContext, readOnce, scalerContract } from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { RedisClient } from '../scaler/families/redis.ts';
import type { RedisList } from '../scaler/families/redis-lists.ts';
import { slotOf } from '../scaler/families/redis-slots.ts';
import scaler from './redis-cluster.ts';

describe.skipIf(!redisInstalled)('redis-cluster, against a real one of six nodes', () => {
  let cluster: RedisCluster;
  const password = 'hunter2-hunter2';

  beforeAll(async () => {
    cluster = await startCluster({ password, config: [`masterauth ${password}`, 'appendonly yes'] });
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  /** The master of a slot, as the cluster sees it. */
  async function masterOf(slot: number): Promise<{ server: RedisServer; id: string }> {
    for (const server of cluster.servers) {
      // Which of them is down is not known here.
      const ranges = await server.send('CLUSTER', 'SLOTS').catch(() => undefined);
      if (!Array.isArray(ranges)) continue;
      for (const range of ranges as [number, number, [Buffer, number, Buffer]][]) {
        const [start, end, [, port, id]] = range;
        const found = cluster.servers.find(each => each.port === port);
        if (start <= slot && slot <= end && found !== undefined) return { server: found, id: id.toString() };
      }
    }
    throw new Error(`nobody has slot ${slot}`);
  }

  async function push(key: string, count: number): Promise<void> {
    const { server } = await masterOf(slotOf(key));
    for (let index = 0; index < count; index += 1) await server.send('LPUSH', key, 'entry');
  }

  async function opened(addresses = cluster.addresses) {
    const { signal } = new AbortController();
    const named = (listName: string) =>
      mustBind(scaler, { params: { addresses, listName }, auth: { password } }).params as RedisList;
    const conn = await scaler.open(named('any'), openContext(signal));
    const context: ReadContext<RedisClient> = {
      conn,
      signal,
      now: 0,
      namespace: 'shop',
      cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
    };
    return { conn, context, named, [Symbol.asyncDispose]: () => scaler.close(conn) };
  }

  scalerContract(scaler, {
    async serve() {
      await cluster.agreed();
      const listName = `orders-${randomUUID()}`;
      return {
        params: { addresses: cluster.addresses, listName },
        fill: count => push(listName, count),
        stop: () => cluster.stop(),
        restart: () => cluster.restart(),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    protocol: 'tcp',
    params: { listName: 'orders' },
    auth: { password },
    alsoRequired: ['address'],
    expect: 3,
    wrong: () => ({ auth: { password: 'quite wrong' } }),
    missing: () => ({ params: { listName: 'nowhere' } }),
    // As in KEDA: what nobody has written to yet is not there.
    outcomes: { missing: 0 },
    async saying(number) {
      const server = await sayingRedis(number);
      return { ...server, params: { addresses: server.address } };
    },
    at: ({ url, host, port }) => ({
      params: { addresses: `${host}:${port}`, ...(url.startsWith('https') ? { enableTLS: 'true' } : {}) },
    }),
  });

  it('counts a thousand lists all over the cluster with one connection to each master', async () => {
    const names = Array.from({ length: 1_000 }, (_, index) => `list-${index}`);
    for (const name of names.slice(0, 20)) await push(name, 2);
    await using open = await opened();

    const counts = await scaler.readMany?.(names.map(open.named), open.context);

    const clients = await Promise.all(cluster.servers.map(server => server.clients()));
    expect(counts).toEqual(names.map((_, index) => (index < 20 ? 2 : 0)));
    expect(open.conn.links).toBe(3);
    expect(clients.flat().filter(name => name === 'eventide-for-default/app')).toHaveLength(3);
  });

  it('finds the rest of the cluster by any one node, and past those that are gone', async () => {
    await push('by-one', 1);
    const [, , , fourth] = cluster.servers;

    const gone = '127.0.0.1:1';
    const trigger = mustBind(scaler, {
      params: { addresses: `${gone},${fourth?.address}`, listName: 'by-one' },
      auth: { password },
    });

    expect(await readOnce(trigger)).toBe(1);
  });

  it('refuses a wrong password', async () => {
    const trigger = mustBind(scaler, {
      params: { addresses: cluster.addresses, listName: 'k' },
      auth: { password: 'quite wrong' },
    });

    expect(await faultFrom(readOnce(trigger))).toMatchObject({ code: 'SOURCE_REFUSED' });
  });

  it('follows a list that moves to another master, also while it moves', async () => {
    const slot = slotOf('wanderer');
    await push('wanderer', 3);
    const from = await masterOf(slot);
    const to = await masterOf((slot + 8_192) % 16_384);
    await using open = await opened();
    const read = () => scaler.read(open.named('wanderer'), open.context);
    const before = await read();

    await to.server.send('CLUSTER', 'SETSLOT', `${slot}`, 'IMPORTING', from.id);
    await from.server.send('CLUSTER', 'SETSLOT', `${slot}`, 'MIGRATING', to.id);
    await from.server.send(
      ...['MIGRATE', '127.0.0.1', `${to.server.port}`, 'wanderer', '0', '5000', 'AUTH', password],
    );
    const during = await read();
    await to.server.send('CLUSTER', 'SETSLOT', `${slot}`, 'NODE', to.id);
    await from.server.send('CLUSTER', 'SETSLOT', `${slot}`, 'NODE', to.id);
    const after = [await read(), await read()];

    expect(from.id).not.toBe(to.id);
    expect([before, during, ...after]).toEqual([3, 3, 3, 3]);
  });

  it('goes on with the other lists when a master dies, and with all once its replica has taken over', async () => {
    const { server } = await masterOf(0);
    const names = Array.from({ length: 60 }, (_, index) => `failing-${index}`);
    await Promise.all(names.map(name => push(name, 1)));
    await using open = await opened();
    const read = async () => (await scaler.readMany?.(names.map(open.named), open.context)) ?? [];
    const before = await read();
    await server.send('WAIT', '1', '5000');

    await server.stop();
    const during = await read();
    await eventually(async () => {
      const counts = await read().catch(() => []);
      return counts.length > 0 && counts.every(count => count === 1);
    });

    expect(before).toEqual(names.map(() => 1));
    const failed = during.filter(count => count instanceof Fault);
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.length).toBeLessThan(names.length);
    expect(during.filter(count => typeof count === 'number')).toEqual(
      names.slice(failed.length).map(() => 1),
    );
    await server.restart();
  });
});
