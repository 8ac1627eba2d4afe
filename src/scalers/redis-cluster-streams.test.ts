import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisCluster, redisInstalled, sayingRedis, startCluster } from '../../test/redis.ts';
import { mustBind, readOnce, scalerContract } from '../../test/scaler-contract.ts';
import scaler from './redis-cluster-streams.ts';

describe.skipIf(!redisInstalled)('redis-cluster-streams, against a real one of six nodes', () => {
  let group: RedisCluster;

  beforeAll(async () => {
    group = await startCluster({ config: ['appendonly yes'] });
  });

  afterAll(() => group[Symbol.asyncDispose]());

  /** Sends to whichever node takes it. */
  async function send(...command: string[]): Promise<void> {
    const sent = await Promise.all(
      group.servers.map(server =>
        server.send(...command).then(
          () => true,
          () => false,
        ),
      ),
    );
    if (!sent.includes(true)) throw new Error(`nobody took ${command.join(' ')}`);
  }

  scalerContract(scaler, {
    async serve() {
      await group.agreed();
      const stream = `orders-${randomUUID()}`;
      return {
        params: { addresses: group.addresses, stream },
        async fill(count) {
          for (let index = 0; index < count; index += 1) await send('XADD', stream, '*', 'id', `${index}`);
        },
        stop: () => group.stop(),
        restart: () => group.restart(),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    protocol: 'tcp',
    params: { stream: 'orders' },
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
    const params = { addresses: group.addresses, stream: 'parcels', consumerGroup: 'workers' };

    const lag = await readOnce(mustBind(scaler, { params: { ...params, lagCount: '5' } }));
    const pending = await readOnce(mustBind(scaler, { params }));

    expect([lag, pending]).toEqual([2, 1]);
  });
});
