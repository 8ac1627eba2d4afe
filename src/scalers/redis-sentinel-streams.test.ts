import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisSentinels, redisInstalled, sayingRedis, startSentinels } from '../../test/redis.ts';
import { mustBind, readOnce, scalerContract } from '../../test/scaler-contract.ts';
import scaler from './redis-sentinel-streams.ts';

describe.skipIf(!redisInstalled)('redis-sentinel-streams, against three real ones', () => {
  let group: RedisSentinels;

  beforeAll(async () => {
    group = await startSentinels();
  });

  afterAll(() => group[Symbol.asyncDispose]());

  const send = (...command: string[]) => group.master.send(...command);

  scalerContract(scaler, {
    async serve() {
      await send('DEL', 'orders');
      return {
        params: { addresses: group.addresses },
        async fill(count) {
          for (let index = 0; index < count; index += 1) await send('XADD', 'orders', '*', 'id', `${index}`);
        },
        stop: () => group.stop(),
        restart: () => group.restart(),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    protocol: 'tcp',
    params: { stream: 'orders', sentinelMaster: 'mymaster' },
    alsoRequired: ['address'],
    expect: 3,
    wrong: () => ({ auth: { username: 'nobody', password: 'quite wrong' } }),
    missing: () => ({ params: { stream: 'nowhere' } }),
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

  it('counts the lag and the pending entries of a group', async () => {
    for (const id of ['1', '2', '3']) await send('XADD', 'parcels', '*', 'id', id);
    await send('XGROUP', 'CREATE', 'parcels', 'workers', '0');
    await send('XREADGROUP', 'GROUP', 'workers', 'one', 'COUNT', '1', 'STREAMS', 'parcels', '>');
    const params = {
      addresses: group.addresses,
      stream: 'parcels',
      consumerGroup: 'workers',
      sentinelMaster: 'mymaster',
    };

    const lag = await readOnce(mustBind(scaler, { params: { ...params, lagCount: '5' } }));
    const pending = await readOnce(mustBind(scaler, { params }));

    expect([lag, pending]).toEqual([2, 1]);
  });
});
