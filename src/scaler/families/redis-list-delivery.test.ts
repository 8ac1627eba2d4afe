import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type RedisGroup,
  type RedisServer,
  redisInstalled,
  startCluster,
  startRedis,
} from '../../../test/redis.ts';
import { faultFrom, mustBind, openContext } from '../../../test/scaler-contract.ts';
import { Fault } from '../../base/errors.ts';
import redis from '../../scalers/redis.ts';
import redisCluster from '../../scalers/redis-cluster.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, DeadMessage } from '../delivery.ts';
import type { RedisClient } from './redis.ts';
import { listDelivery as deliver } from './redis-list-delivery.ts';
import type { RedisList } from './redis-lists.ts';

const { signal } = new AbortController();
const bodyOf = (claim: Claim | undefined) => Buffer.from(claim?.body ?? []).toString('utf8');
const dead = (receipt = ''): DeadMessage => ({
  receipt,
  body: undefined,
  messageId: receipt.split(' ')[0] ?? '',
  attempts: 5,
  why: 'it failed',
});

function contextOf(conn: RedisClient): ReadContext<RedisClient> {
  const cluster = { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) };
  return { conn, signal, now: Date.now(), namespace: 'shop', cluster };
}

describe.skipIf(!redisInstalled)('delivery of a list, against a real server', () => {
  let server: RedisServer;
  let list: RedisList;
  let context: ReadContext<RedisClient>;

  beforeAll(async () => {
    server = await startRedis();
    const params = { address: server.address, listName: 'orders' };
    list = mustBind(redis, { params }).params as RedisList;
    context = contextOf(await redis.open(list, openContext(signal)));
  });

  beforeEach(() => server.send('FLUSHALL'));

  afterAll(async () => {
    await redis.close(context.conn);
    await server[Symbol.asyncDispose]();
  });

  const push = (...entries: (string | Uint8Array)[]) => server.send('LPUSH', 'orders', ...entries);
  const claim = (most = 10) => deliver.claim(list, context, most);
  const texts = async (key: string) =>
    ((await server.send('LRANGE', key, '0', '-1')) as Buffer[]).map(String);

  /** As if a minute had gone by: the ends of all claims are moved into the past. */
  async function pass(ms: number): Promise<void> {
    const until = (await server.send('ZRANGE', 'orders:eventide-until', '0', '-1')) as Buffer[];
    for (const id of until) await server.send('ZINCRBY', 'orders:eventide-until', `${-ms}`, id);
  }

  it('takes the oldest of what LPUSH put in first, and what it takes is not in the list any more', async () => {
    await push('one', 'two', 'three');

    const claims = await claim(2);

    expect(claims.map(bodyOf)).toEqual(['one', 'two']);
    expect(await texts('orders')).toEqual(['three']);
    expect(await redis.read(list, context)).toBe(1);
  });

  it('knows equal entries apart', async () => {
    await push('same', 'same', 'same');

    const claims = await claim();
    await deliver.acknowledge(list, context, claims[1]?.receipt ?? '');
    await pass(60_000);
    const again = await claim();

    expect(new Set(claims.map(({ messageId }) => messageId)).size).toBe(3);
    expect(again.map(({ messageId }) => messageId).sort()).toEqual(
      [claims[0]?.messageId, claims[2]?.messageId].sort(),
    );
  });

  it.each([
    ['bytes that are no text', Buffer.from([0xff, 0x00, 0x0d, 0x0a, 0xfe])],
    ['emoji and other scripts', Buffer.from('🌙 sunset · 日没 · غروب')],
    ['an empty entry', Buffer.from('')],
    ['a mebibyte', Buffer.alloc(1024 * 1024, 'x')],
  ])('delivers %s as it was sent, and dead-letters it as such', async (_title, entry) => {
    await push(entry);

    const [claimed] = await claim();
    await deliver.deadLetter(list, context, dead(claimed?.receipt));

    expect(Buffer.from(claimed?.body ?? [])).toEqual(entry);
    expect(await server.send('LPOS', 'orders-poison', entry)).toBe(0);
    expect(await server.send('KEYS', '*')).toEqual([Buffer.from('orders-poison')]);
  });

  it('claims nothing where there is nothing, and no more than asked for', async () => {
    expect(await claim()).toEqual([]);
    await push('one', 'two');
    expect(await claim(0)).toEqual([]);
    expect(await claim(1)).toHaveLength(1);
  });

  it('claims 1,000 entries, each of them once, however many ask at the same time', async () => {
    const entries = Array.from({ length: 1_000 }, (_, index) => `entry ${index}`);
    await push(...entries);
    await using other = await redis.open(list, openContext(signal));

    const claims = await Promise.all([claim(400), deliver.claim(list, contextOf(other), 400), claim(400)]);

    expect(claims.flat().map(bodyOf).sort()).toEqual(entries.sort());
    expect(new Set(claims.flat().map(({ messageId }) => messageId)).size).toBe(1_000);
  });

  it('does not bring more at once than it can hold', async () => {
    for (let index = 0; index < 10; index += 1) await push(Buffer.alloc(4 * 1024 * 1024));

    const claims = [await claim(), await claim(), await claim(), await claim()];

    expect(claims.map(({ length }) => length)).toEqual([4, 4, 2, 0]);
  });

  it('says how often an entry was handed out, and until when it is ours', async () => {
    await push('one');

    const [first] = await claim();
    await pass(60_000);
    const [second] = await claim();

    expect(first).toMatchObject({ deliveryCount: 1, lockedUntil: context.now + deliver.lockMs });
    expect(second).toMatchObject({ deliveryCount: 2, messageId: first?.messageId });
    expect(bodyOf(second)).toBe('one');
  });

  it('leaves a claim alone until it ends', async () => {
    await push('one');
    await claim();

    await pass(59_000);
    const early = await claim();
    await pass(1_000);

    expect(early).toEqual([]);
    expect(await claim()).toHaveLength(1);
  });

  it('extends, and acknowledges also over another connection', async () => {
    await push('one');
    const [claimed] = await claim();
    await pass(50_000);

    const extended = await deliver.extend(list, { ...context, now: 1_000 }, claimed?.receipt ?? '');
    await pass(59_000);
    const meanwhile = await claim();

    await using later = await redis.open(list, openContext(signal));
    expect(extended).toMatchObject({ lockedUntil: 1_000 + deliver.lockMs });
    expect(meanwhile).toEqual([]);
    await deliver.acknowledge(list, contextOf(later), extended.receipt);
    expect(await server.send('KEYS', '*')).toEqual([]);
  });

  it('releases at once without a delay, and hides as long as the delay says', async () => {
    await push('one');
    const [first] = await claim();

    await deliver.release(list, context, first?.receipt ?? '', 0);
    const [second] = await claim();
    await deliver.release(list, context, second?.receipt ?? '', 600_000);
    await pass(599_000);
    const early = await claim();
    await pass(1_000);
    const [third] = await claim();

    expect(second).toMatchObject({ messageId: first?.messageId, deliveryCount: 2 });
    expect(early).toEqual([]);
    expect(third).toMatchObject({ messageId: first?.messageId, deliveryCount: 3 });
  });

  it.each([
    ['extended', (receipt: string) => deliver.extend(list, context, receipt)],
    ['acknowledged', (receipt: string) => deliver.acknowledge(list, context, receipt)],
    ['released', (receipt: string) => deliver.release(list, context, receipt, 1_000)],
    ['dead-lettered', (receipt: string) => deliver.deadLetter(list, context, dead(receipt))],
  ])('says that a message is lost where one that another has taken up is %s', async (_title, settle) => {
    await push('one');
    const [claimed] = await claim();
    await pass(60_000);
    const [taken] = await claim();

    const fault = await faultFrom(settle(claimed?.receipt ?? ''));

    expect(fault).toMatchObject({ code: 'MESSAGE_LOST', message: expect.stringContaining('orders') });
    await deliver.acknowledge(list, context, taken?.receipt ?? '');
    expect(await server.send('KEYS', '*')).toEqual([]);
  });

  it('takes an acknowledgement twice: the answer to the first may have been lost', async () => {
    await push('one');
    const [claimed] = await claim();

    await deliver.acknowledge(list, context, claimed?.receipt ?? '');
    await deliver.acknowledge(list, context, claimed?.receipt ?? '');

    expect(await claim()).toEqual([]);
  });

  it('says so where the key is no list', async () => {
    await server.send('SADD', 'orders', 'one');

    expect(await faultFrom(claim())).toMatchObject({ code: 'SOURCE_FAILED' });
  });

  it('names a list by its place, whoever comes in', () => {
    const named = (auth: Record<string, string>, databaseIndex = '0') => {
      const params = { address: 'a:1', listName: 'orders', databaseIndex };
      return deliver.queueId(mustBind(redis, { params, auth }).params as RedisList);
    };

    expect(named({})).toBe('a:1/0/orders');
    expect(named({ password: 'x' })).toBe(named({}));
    expect(named({}, '1')).not.toBe(named({}));
  });
});

describe.skipIf(!redisInstalled)('delivery of a list in a real cluster', () => {
  let cluster: RedisGroup;

  beforeAll(async () => {
    cluster = await startCluster();
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  async function opened(listName: string) {
    const params = { addresses: cluster.addresses, listName };
    const list = mustBind(redisCluster, { params }).params as RedisList;
    const conn = await redisCluster.open(list, openContext(signal));
    return { list, context: contextOf(conn), [Symbol.asyncDispose]: () => redisCluster.close(conn) };
  }

  it.each([
    ['orders', '{orders}-poison'],
    ['{shop}:orders', '{shop}:orders-poison'],
  ])('keeps what belongs to %s beside it', async (listName, poison) => {
    await using open = await opened(listName);
    const { list, context } = open;
    const command = ['LPUSH', listName, 'one', 'two'];
    await context.conn.run([{ key: listName, command }], { signal });

    const [one, two] = await deliver.claim(list, context, 5);
    await deliver.acknowledge(list, context, one?.receipt ?? '');
    await deliver.deadLetter(list, context, dead(two?.receipt));

    const [left] = await context.conn.run([{ key: poison, command: ['LRANGE', poison, '0', '-1'] }], {
      signal,
    });
    expect(left).toEqual([Buffer.from('two')]);
  });

  it('says that no key can lie beside a list with half a hash tag', async () => {
    await using open = await opened('a}b');

    expect(await faultFrom(deliver.claim(open.list, open.context, 1))).toMatchObject({
      code: 'PARAM_INVALID',
    });
  });
});
