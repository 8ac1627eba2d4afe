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
import redisClusterStreams from '../../scalers/redis-cluster-streams.ts';
import redisStreams from '../../scalers/redis-streams.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, DeadMessage } from '../delivery.ts';
import type { RedisClient } from './redis.ts';
import { streamDelivery as deliver } from './redis-stream-delivery.ts';
import type { RedisStream } from './redis-streams.ts';

const { signal } = new AbortController();
const bodyOf = (claim: Claim | undefined) => JSON.parse(Buffer.from(claim?.body ?? []).toString('utf8'));
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

describe.skipIf(!redisInstalled)('delivery of a stream, against a real server', () => {
  let server: RedisServer;
  let stream: RedisStream;
  let context: ReadContext<RedisClient>;

  beforeAll(async () => {
    server = await startRedis();
    const params = { address: server.address, stream: 'orders', consumerGroup: 'jobs', lagCount: '1' };
    stream = mustBind(redisStreams, { params }).params as RedisStream;
    context = contextOf(await redisStreams.open(stream, openContext(signal)));
  });

  beforeEach(() => server.send('FLUSHALL'));

  afterAll(async () => {
    await redisStreams.close(context.conn);
    await server[Symbol.asyncDispose]();
  });

  async function add(...ids: string[]): Promise<void> {
    for (const id of ids) await server.send('XADD', 'orders', '*', 'id', id);
  }

  const claim = (most = 10) => deliver.claim(stream, context, most);
  const idsOf = (claims: readonly Claim[]) => claims.map(each => bodyOf(each)['id']);
  const pending = async () =>
    (await redisStreams.readMany?.([{ ...stream, measure: 'pending' }], context))?.[0];

  /** As if time had gone by: entries are told that they have been held for longer, and pauses that they end sooner. */
  async function pass(ms: number): Promise<void> {
    const held = (await server.send('XPENDING', 'orders', 'jobs', '-', '+', '1000')) as [
      Buffer,
      Buffer,
      number,
    ][];
    for (const [id, consumer, idle] of held) {
      await server.send('XCLAIM', 'orders', 'jobs', consumer, '0', id, 'IDLE', `${idle + ms}`, 'JUSTID');
    }
    const pauses = (await server.send('ZRANGE', 'orders:eventide', '0', '-1')) as Buffer[];
    for (const id of pauses) await server.send('ZINCRBY', 'orders:eventide', `${-ms}`, id);
  }

  it('makes the group, and begins with what was there before', async () => {
    await add('one', 'two');

    const claims = await claim(1);

    expect(idsOf(claims)).toEqual(['one']);
    expect(await redisStreams.read(stream, context)).toBe(1);
    expect(await pending()).toBe(1);
  });

  it('claims nothing of a stream that is missing, and makes none', async () => {
    expect(await claim()).toEqual([]);
    expect(await server.send('EXISTS', 'orders')).toBe(0);
    expect(await claim(0)).toEqual([]);
  });

  it('begins where a group that is there already has come to', async () => {
    await add('one');
    await server.send('XGROUP', 'CREATE', 'orders', 'jobs', '$');
    await add('two');

    expect(idsOf(await claim())).toEqual(['two']);
  });

  it.each([
    ['fields', ['a', '1', 'b', 'zwei'], { a: '1', b: 'zwei' }],
    ['a field that occurs more than once', ['a', '1', 'a', '2'], { a: ['1', '2'] }],
    ['emoji and quotes', ['ü"', '🌙 "quoted"'], { 'ü"': '🌙 "quoted"' }],
    ['bytes that are no text', ['a', Buffer.from([0xff, 0x0d, 0x0a])], { a: { base64: '/w0K' } }],
    ['a name that objects have already', ['__proto__', '1'], JSON.parse('{"__proto__":"1"}')],
  ])('delivers %s as a JSON object', async (_title, fields, body) => {
    await server.send('XADD', 'orders', '*', ...fields);

    const [claimed] = await claim();

    expect(bodyOf(claimed)).toEqual(body);
    expect(Object.keys(bodyOf(claimed))).toEqual(Object.keys(body));
  });

  it('says who the message is, when it was sent and how often it was handed out', async () => {
    const id = String(await server.send('XADD', 'orders', '*', 'id', 'one'));
    const [first] = await claim();
    await pass(60_000);

    const [second] = await claim();

    const sentAt = Number(id.split('-')[0]);
    expect(first).toMatchObject({ messageId: id, deliveryCount: 1, sentAt });
    expect(second).toMatchObject({ messageId: id, deliveryCount: 2, sentAt });
    expect(second?.lockedUntil).toBe(context.now + deliver.lockMs);
  });

  it('takes no number of the sender for a time', async () => {
    await server.send('XADD', 'orders', '7-1', 'id', 'one');

    expect((await claim())[0]).not.toHaveProperty('sentAt');
  });

  it('claims 1,000 entries, each of them once, however many ask at the same time', async () => {
    const ids = Array.from({ length: 1_000 }, (_, index) => `${index}`);
    await Promise.all(ids.map(id => add(id)));
    await using other = await redisStreams.open(stream, openContext(signal));

    const claims: Claim[] = [];
    for (let round = 0; round < 5; round += 1) {
      const both = [claim(1_000), deliver.claim(stream, contextOf(other), 1_000)];
      claims.push(...(await Promise.all(both)).flat());
    }

    expect(idsOf(claims).sort()).toEqual(ids.sort());
  });

  it('leaves a claim alone until it ends, and what other consumers hold for good', async () => {
    await add('one', 'two');
    await claim(1);
    await server.send('XREADGROUP', 'GROUP', 'jobs', 'somebody', 'COUNT', '1', 'STREAMS', 'orders', '>');

    await pass(59_000);
    const early = await claim();
    await pass(10_000);

    expect(early).toEqual([]);
    expect(idsOf(await claim())).toEqual(['one']);
  });

  it('extends, and acknowledges also over another connection', async () => {
    await add('one');
    const [claimed] = await claim();
    await pass(50_000);

    const extended = await deliver.extend(stream, { ...context, now: 1_000 }, claimed?.receipt ?? '');
    await pass(59_000);
    const meanwhile = await claim();

    await using later = await redisStreams.open(stream, openContext(signal));
    expect(extended).toMatchObject({ lockedUntil: 1_000 + deliver.lockMs });
    expect(meanwhile).toEqual([]);
    await deliver.acknowledge(stream, contextOf(later), extended.receipt);
    expect(await pending()).toBe(0);
    expect(await server.send('XLEN', 'orders')).toBe(1);
  });

  it('releases at once without a delay, and hides as long as the delay says', async () => {
    await add('one');
    const [first] = await claim();
    await deliver.release(stream, context, first?.receipt ?? '', 0);
    const [second] = await claim();
    await deliver.release(stream, context, second?.receipt ?? '', 30_000);
    await pass(29_000);

    const early = await claim();
    await pass(1_000);
    const [third] = await claim();

    expect(early).toEqual([]);
    expect([second, third].map(each => each?.deliveryCount)).toEqual([2, 3]);
    expect(new Set([first, second, third].map(each => each?.messageId)).size).toBe(1);
  });

  it('hides for longer than a claim where the delay says so, and keeps no note of it afterwards', async () => {
    await add('one');
    const [first] = await claim();
    await deliver.release(stream, context, first?.receipt ?? '', 150_000);
    const early: Claim[] = [];
    for (let round = 0; round < 14; round += 1) {
      await pass(10_000);
      early.push(...(await claim()));
    }

    await pass(10_000);
    const [again] = await claim();

    expect(early).toEqual([]);
    expect(again).toMatchObject({ messageId: first?.messageId, deliveryCount: 2 });
    expect(await server.send('EXISTS', 'orders:eventide')).toBe(0);
  });

  it('dead-letters with the fields of the entry and why it failed', async () => {
    await server.send('XADD', 'orders', '*', 'a', '1', 'b', Buffer.from([0xff]));
    const [claimed] = await claim();

    await deliver.deadLetter(stream, context, dead(claimed?.receipt));

    const poison = (await server.send('XRANGE', 'orders-poison', '-', '+')) as [unknown, Buffer[]][];
    expect(poison.map(([, fields]) => fields)).toEqual([
      [
        ...['a', '1', 'b'].map(text => Buffer.from(text)),
        Buffer.from([0xff]),
        ...[
          'eventide-id',
          claimed?.messageId ?? '',
          'eventide-attempts',
          '5',
          'eventide-why',
          'it failed',
        ].map(text => Buffer.from(text)),
      ],
    ]);
    expect(await pending()).toBe(0);
  });

  it.each([
    ['extended', (receipt: string) => deliver.extend(stream, context, receipt)],
    ['acknowledged', (receipt: string) => deliver.acknowledge(stream, context, receipt)],
    ['released', (receipt: string) => deliver.release(stream, context, receipt, 1_000)],
    ['dead-lettered', (receipt: string) => deliver.deadLetter(stream, context, dead(receipt))],
  ])('says that a message is lost where one that another has taken up is %s', async (_title, settle) => {
    await add('one');
    const [claimed] = await claim();
    await pass(60_000);
    await claim();

    const fault = await faultFrom(settle(claimed?.receipt ?? ''));

    expect(fault).toMatchObject({ code: 'MESSAGE_LOST', message: expect.stringContaining('orders') });
    expect(await pending()).toBe(1);
    expect(await server.send('EXISTS', 'orders-poison')).toBe(0);
  });

  it('takes an acknowledgement twice: the answer to the first may have been lost', async () => {
    await add('one');
    const [claimed] = await claim();

    await deliver.acknowledge(stream, context, claimed?.receipt ?? '');
    await deliver.acknowledge(stream, context, claimed?.receipt ?? '');

    expect(await claim()).toEqual([]);
  });

  it('forgets an entry that was deleted while it was held', async () => {
    await add('one', 'two');
    const [claimed] = await claim(1);
    await server.send('XDEL', 'orders', claimed?.messageId ?? '');
    await pass(60_000);

    expect(idsOf(await claim())).toEqual(['two']);
    expect(await pending()).toBe(1);
  });

  it('says that it needs a group', () => {
    const params = { address: server.address, stream: 'orders' };
    const without = mustBind(redisStreams, { params }).params as RedisStream;

    expect(() => deliver.queueId(without)).toThrow('without a consumerGroup');
  });

  it('names a queue by stream and group', () => {
    expect(deliver.queueId(stream)).toBe(`${server.address}/0/orders/jobs`);
  });
});

describe.skipIf(!redisInstalled)('delivery of a stream in a real cluster', () => {
  let cluster: RedisGroup;

  beforeAll(async () => {
    cluster = await startCluster();
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  it('keeps what belongs to the stream beside it', async () => {
    const params = { addresses: cluster.addresses, stream: 'orders', consumerGroup: 'jobs' };
    const stream = mustBind(redisClusterStreams, { params }).params as RedisStream;
    await using conn = await redisClusterStreams.open(stream, openContext(signal));
    const context = contextOf(conn);
    await conn.run([{ key: 'orders', command: ['XADD', 'orders', '*', 'a', '1'] }], { signal });

    const [claimed] = await deliver.claim(stream, context, 5);
    await deliver.release(stream, context, claimed?.receipt ?? '', 0);
    const [again] = await deliver.claim(stream, context, 5);
    await deliver.deadLetter(stream, context, dead(again?.receipt));

    const key = '{orders}-poison';
    expect(await conn.run([{ key, command: ['XLEN', key] }], { signal })).toEqual([1]);
  });
});
