import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type RedisServer, redisInstalled, sayingRedis, startRedis } from '../../test/redis.ts';
import { faultFrom, mustBind, openContext, readOnce, scalerContract } from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { RedisStream } from '../scaler/families/redis-streams.ts';
import scaler from './redis-streams.ts';

const group = { consumerGroup: 'workers' };
const lag = { ...group, lagCount: '5' };

describe.skipIf(!redisInstalled)('redis-streams, against a real server', () => {
  let redis: RedisServer;

  beforeAll(async () => {
    redis = await startRedis({ config: ['appendonly yes'] });
  });

  afterAll(() => redis[Symbol.asyncDispose]());

  beforeEach(() => redis.send('DEL', 'orders'));

  const bound = (params: Record<string, string>, stream = 'orders') =>
    mustBind(scaler, { params: { address: redis.address, stream, ...params } });

  async function add(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) await redis.send('XADD', 'orders', '*', 'id', `${index}`);
  }

  const makeGroup = (from = '0') => redis.send('XGROUP', 'CREATE', 'orders', 'workers', from);
  const take = (count: number) =>
    redis.send(
      ...['XREADGROUP', 'GROUP', 'workers', 'one', 'COUNT', `${count}`, 'STREAMS', 'orders', '>'],
    ) as Promise<[[string, [Buffer, unknown][]]]>;

  scalerContract(scaler, {
    async serve() {
      return {
        params: { address: redis.address },
        fill: add,
        stop: () => redis.stop(),
        restart: () => redis.restart(),
        clients: () => redis.clients(),
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
      return { ...server, params: { address: server.address } };
    },
    at: ({ url, host, port }) => ({
      params: { address: `${host}:${port}`, ...(url.startsWith('https') ? { enableTLS: 'true' } : {}) },
    }),
  });

  it('counts all entries without a group, acknowledged ones too', async () => {
    await add(4);
    await makeGroup();
    await take(2);

    expect(await readOnce(bound({}))).toBe(4);
    expect(await readOnce(bound({}, 'missing'))).toBe(0);
  });

  it('counts what a group was handed and has not acknowledged', async () => {
    await add(4);
    await makeGroup();
    const none = await readOnce(bound(group));
    const [[, entries]] = await take(3);
    await redis.send('XACK', 'orders', 'workers', entries[0]?.[0] ?? '');

    expect([none, await readOnce(bound(group))]).toEqual([0, 2]);
  });

  it.each([
    ['of a group that is missing', async () => await add(1)],
    ['of a stream that is missing', async () => {}],
  ])('does not take the pending entries %s for none', async (_title, prepare) => {
    await prepare();

    expect(await faultFrom(readOnce(bound(group)))).toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });

  it('counts what a group was not handed yet', async () => {
    await add(5);
    await makeGroup();
    await redis.send('XGROUP', 'CREATE', 'orders', 'others', '$');
    await take(2);

    expect(await readOnce(bound(lag))).toBe(3);
  });

  it('takes a stream that is missing for no lag, and a group that is missing for one that has read nothing', async () => {
    const missing = await readOnce(bound(lag));
    await add(3);

    expect([missing, await readOnce(bound(lag))]).toEqual([0, 3]);
  });

  it('counts one by one where the server has lost count', async () => {
    await add(6);
    const ids = (await redis.send('XRANGE', 'orders', '-', '+')) as [Buffer, unknown][];
    await makeGroup(ids[1]?.[0].toString());
    await redis.send('XDEL', 'orders', ids[4]?.[0] ?? '');
    const facts = (await redis.send('XINFO', 'GROUPS', 'orders')) as unknown[][];
    const held = facts[0]?.at(-1);

    expect(held).toBe(null);
    expect(await readOnce(bound(lag))).toBe(3);
  });

  it('counts as 0 what Redis gives as 0, after all was read', async () => {
    await add(2);
    await makeGroup();
    await take(2);

    expect(await readOnce(bound(lag))).toBe(0);
  });

  it('counts many at once, each in its own way', async () => {
    await add(4);
    await makeGroup();
    await take(1);
    await redis.send('SET', 'text', 'x');
    const all = [
      bound({}),
      bound(group),
      bound(lag),
      bound({}, 'text'),
      bound(lag, 'text'),
      bound(lag, 'no'),
    ];
    const { signal } = new AbortController();
    const conn = await scaler.open(all[0]?.params as RedisStream, openContext(signal));

    const counts = await scaler.readMany?.(
      all.map(({ params }) => params as RedisStream),
      {
        conn,
        signal,
        now: 0,
        namespace: 'shop',
        cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
      },
    );
    await scaler.close(conn);

    expect(counts).toEqual([4, 1, 3, expect.any(Fault), expect.any(Fault), 0]);
  });

  it.each([
    ['the lag', lag],
    ['pending entries', group],
    ['the length', {}],
  ])('says that %s of a text cannot be counted', async (_title, params) => {
    await redis.send('SET', 'text', 'x');

    expect(await faultFrom(readOnce(bound(params, 'text')))).toMatchObject({ code: 'SOURCE_FAILED' });
  });
});

describe('parameters of redis-streams', () => {
  const bound = (params: Record<string, string>) =>
    mustBind(scaler, { params: { address: 'a:1', stream: 'a.b', ...params } });

  it.each([
    ['streamLength without a group', {}, 5, 'waiting and in flight'],
    ['its own streamLength', { streamLength: '7', lagCount: '3' }, 7, 'waiting and in flight'],
    ['pendingEntriesCount with a group', group, 5, 'waiting and in flight'],
    [
      'pendingEntriesCount where the lag is 0',
      { ...group, lagCount: '0', pendingEntriesCount: '8' },
      8,
      undefined,
    ],
    ['lagCount with a group', { ...lag, pendingEntriesCount: '8', streamLength: '7' }, 5, 'waiting'],
  ])('has %s as its target', (_title, params, value, counts) => {
    const { target, params: resolved } = bound(params);

    expect(target).toEqual({ type: 'AverageValue', value });
    if (counts !== undefined) expect(scaler.countsFor(resolved as RedisStream)).toBe(counts);
  });

  it('has KEDA’s metric name and activation', () => {
    expect(bound({ activationLagCount: '4' })).toMatchObject({
      metricName: 's0-redis-streams-a-b',
      activation: 4,
    });
  });

  it('shares a reading among triggers that count the same', () => {
    const keys = [bound(lag), bound({ ...lag, lagCount: '9' }), bound(group), bound({})];

    expect(keys[0]?.readingKey).toBe(keys[1]?.readingKey);
    expect(new Set(keys.map(({ readingKey }) => readingKey)).size).toBe(3);
  });
});
