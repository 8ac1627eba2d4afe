import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  eventually,
  type RedisSentinels,
  redisInstalled,
  sayingRedis,
  startSentinels,
} from '../../test/redis.ts';
import { faultFrom, mustBind, openContext, readOnce, scalerContract } from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { RedisClient } from '../scaler/families/redis.ts';
import type { RedisList } from '../scaler/families/redis-lists.ts';
import scaler from './redis-sentinel.ts';

const auth = { password: 'password-of-data', sentinelPassword: 'password-of-sentinels' };

describe.skipIf(!redisInstalled)('redis-sentinel, against three real ones', () => {
  let group: RedisSentinels;

  beforeAll(async () => {
    group = await startSentinels(auth);
  });

  afterAll(() => group[Symbol.asyncDispose]());

  const bound = (params: Record<string, string> = {}, own: Record<string, string> = auth) => {
    const { addresses } = group;
    const all = { addresses, sentinelMaster: 'mymaster', listName: 'orders', ...params };
    return mustBind(scaler, { params: all, auth: own });
  };

  scalerContract(scaler, {
    async serve() {
      await group.master.send('DEL', 'orders');
      return {
        params: { addresses: group.addresses },
        async fill(count) {
          for (let index = 0; index < count; index += 1) await group.master.send('LPUSH', 'orders', 'entry');
        },
        stop: () => group.stop(),
        restart: () => group.restart(),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    protocol: 'tcp',
    params: { listName: 'orders', sentinelMaster: 'mymaster' },
    auth,
    alsoRequired: ['address'],
    expect: 3,
    wrong: () => ({ auth: { ...auth, password: 'quite wrong' } }),
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

  it.each([
    ['the sentinels refuse the password', {}, { ...auth, sentinelPassword: 'wrong' }, 'SOURCE_REFUSED'],
    ['the master refuses the password', {}, { ...auth, password: 'wrong' }, 'SOURCE_REFUSED'],
    ['no sentinel knows the master', { sentinelMaster: 'other' }, auth, 'SOURCE_NOT_FOUND'],
    ['no master is named', { sentinelMaster: '' }, auth, 'PARAM_INVALID'],
  ])('says that %s', async (_title, params, own, code) => {
    const fault = await faultFrom(readOnce(bound(params, own)));

    expect(fault.code).toBe(code);
    expect(fault.message).not.toMatch(/password-of/);
  });

  it('asks the next sentinel where one is gone', async () => {
    await group.master.send('DEL', 'orders');

    expect(await readOnce(bound({ addresses: `127.0.0.1:1,${group.addresses}` }))).toBe(0);
  });

  it('asks sentinels only for the way: one connection is left, to the master', async () => {
    const { signal } = new AbortController();
    const conn = await scaler.open(bound().params as RedisList, openContext(signal));

    await eventually(
      async () => (await group.servers[0]?.clients())?.includes('eventide-for-default/app') === false,
    );
    const clients = await group.master.clients();
    await scaler.close(conn);

    expect(clients.filter(name => name === 'eventide-for-default/app')).toHaveLength(1);
  });

  it('counts at the new master after the old one died, and never at a replica', async () => {
    const { master, replica } = group;
    await master.send('DEL', 'orders');
    await master.send('LPUSH', 'orders', 'a', 'b');
    await master.send('WAIT', '1', '5000');
    const { signal } = new AbortController();
    const { params } = bound();
    const conn = await scaler.open(params as RedisList, openContext(signal));
    const context: ReadContext<RedisClient> = {
      conn,
      signal,
      now: 0,
      namespace: 'shop',
      cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
    };
    const read = () => scaler.read(params as RedisList, context);
    const before = await read();

    await master.stop();
    const during = await faultFrom(read());
    await eventually(async () => (await read().catch(() => undefined)) === 2);
    await replica.send('LPUSH', 'orders', 'c');
    const after = await read();
    await scaler.close(conn);

    expect([before, after]).toEqual([2, 3]);
    expect(during.code).toBe('SOURCE_UNREACHABLE');
    expect(String(await replica.send('INFO', 'replication'))).toContain('role:master');
  });
});
