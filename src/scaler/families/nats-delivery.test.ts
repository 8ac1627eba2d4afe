import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type NatsServer, natsInstalled, startNats } from '../../../test/nats.ts';
import { faultFrom, mustBind, openContext, readContext } from '../../../test/scaler-contract.ts';
import { Secret } from '../../base/secret.ts';
import scaler from '../../scalers/nats-jetstream.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, DeadMessage } from '../delivery.ts';
import type { NatsConnection } from './nats-access.ts';
import { jetStreamDelivery as deliver, type JetStreamQueue } from './nats-delivery.ts';

const { signal } = new AbortController();
const bodyOf = (claim: Claim | undefined) => Buffer.from(claim?.body ?? []).toString('utf8');
const receiptOf = (claim: Claim | undefined) => claim?.receipt ?? '';
const dead = (claim: Claim | undefined, over: Partial<DeadMessage> = {}): DeadMessage => ({
  receipt: receiptOf(claim),
  body: claim?.body,
  messageId: claim?.messageId ?? '',
  attempts: 5,
  why: 'it failed\r\nbadly',
  ...over,
});

describe.skipIf(!natsInstalled)('delivery of JetStream, against a real server', () => {
  let server: NatsServer;
  let conn: NatsConnection;
  let queue: JetStreamQueue;
  let generation = 0;

  const queueAt = (params: Record<string, string> = {}) => {
    const place = { natsServerMonitoringEndpoint: server.monitoring, account: '$G' };
    const names = { stream: `S${generation}`, consumer: 'jobs' };
    return mustBind(scaler, { params: { ...place, ...names, ...params } }).params as JetStreamQueue;
  };
  const contextOf = (over: Partial<ReadContext<NatsConnection>> = {}): ReadContext<NatsConnection> => ({
    ...readContext(conn, signal),
    ...over,
  });
  const context = () => contextOf();

  const makeConsumer = (over: Record<string, unknown> = {}, stream = `S${generation}`) => {
    const config = { durable_name: 'jobs', ack_policy: 'explicit', ...over };
    return server.api(`CONSUMER.DURABLE.CREATE.${stream}.jobs`, { stream_name: stream, config });
  };
  async function makeStream(over: Record<string, unknown> = {}): Promise<void> {
    const name = `S${generation}`;
    await server.api(`STREAM.CREATE.${name}`, { name, subjects: [`s${generation}.>`], ...over });
  }

  beforeAll(async () => {
    server = await startNats();
  });

  beforeEach(async () => {
    generation += 1;
    await makeStream();
    await makeConsumer();
    queue = queueAt();
    await conn?.[Symbol.asyncDispose]();
    conn = await scaler.open(queue as never, openContext(signal));
  });

  afterAll(async () => {
    await conn?.[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  const send = (...texts: (string | Uint8Array)[]) =>
    texts.reduce<Promise<unknown>>(
      (before, text) => before.then(() => server.publish(`s${generation}.new`, text)),
      Promise.resolve(),
    );
  const claim = (most = 10) => deliver.claim(queue, context(), most);
  const giveBack = () => server.giveBack(`S${generation}`, 'jobs');
  const counts = async () => {
    const info = await server.look(`CONSUMER.INFO.S${generation}.jobs`);
    return [info['num_pending'], info['num_ack_pending']];
  };

  it('takes messages in the order of the stream, and counts them as before', async () => {
    await send('one', 'two', 'three');

    const claims = await claim(2);

    expect(claims.map(bodyOf)).toEqual(['one', 'two']);
    expect(await counts()).toEqual([1, 2]);
    expect(await scaler.read(queue as never, context())).toBe(3);
  });

  it.each([
    ['bytes that are no text', Buffer.from([0xff, 0x00, 0x0d, 0x0a, 0xfe])],
    ['emoji and other scripts', Buffer.from('🌙 sunset · 日没 · غروب')],
    ['an empty message', Buffer.from('')],
    ['the largest message', Buffer.alloc(1024 * 1024, 'x')],
  ])('delivers %s as it was sent', async (_title, message) => {
    await send(message);

    const [claimed] = await claim();

    expect(message.equals(claimed?.body ?? Buffer.from('nothing'))).toBe(true);
  });

  it('claims nothing where there is nothing, and no more than asked for', async () => {
    expect(await claim()).toEqual([]);
    await send('one', 'two');
    expect(await claim(0)).toEqual([]);
    expect(await claim(1)).toHaveLength(1);
    expect(await claim()).toHaveLength(1);
    expect(await claim()).toEqual([]);
  });

  it('claims 1,000 messages, each of them once, however many ask at the same time', async () => {
    const texts = Array.from({ length: 1_000 }, (_, index) => `message ${index}`);
    await send(...texts);
    await using other = await scaler.open(queue as never, openContext(signal));
    const claims: Claim[] = [];
    const takeAll = async (from: NatsConnection) => {
      for (let got = 1; got > 0; ) {
        const taken = await deliver.claim(queue, contextOf({ conn: from }), 400);
        got = taken.length;
        claims.push(...taken);
      }
    };

    await Promise.all([takeAll(conn), takeAll(other), takeAll(conn)]);

    expect(claims.map(bodyOf).sort()).toEqual(texts.sort());
    expect(new Set(claims.map(({ messageId }) => messageId)).size).toBe(1_000);
  }, 60_000);

  it('does not bring more at once than it can hold', async () => {
    for (let index = 0; index < 20; index += 1) await send(Buffer.alloc(1024 * 1024 - 100));

    const [first, second] = [await claim(20), await claim(20)];

    expect(first.length).toBeGreaterThan(10);
    expect(first.length).toBeLessThan(17);
    expect(first.length + second.length).toBe(20);
  });

  it('has no more claims than the consumer allows', async () => {
    await server.api(`CONSUMER.DELETE.S${generation}.jobs`);
    await makeConsumer({ max_ack_pending: 2, max_expires: 50_000_000, max_bytes: 1_000_000 });
    await send('one', 'two', 'three');

    const claims = await claim();
    const none = await claim();
    for (const { receipt } of claims) await deliver.release(queue, context(), receipt, 0);
    const again = await claim();
    await deliver.acknowledge(queue, context(), receiptOf(again[0]));

    expect(claims.map(bodyOf)).toEqual(['one', 'two']);
    expect(none).toEqual([]);
    expect(again.map(bodyOf)).toEqual(['one', 'two']);
    expect((await claim()).map(bodyOf)).toEqual(['three']);
  });

  it('says how often a message was handed out, when it was sent and until when it is ours', async () => {
    const before = Date.now();
    await send('one');

    const [first] = await claim();
    await giveBack();
    const [second] = await claim();

    expect(first).toMatchObject({ deliveryCount: 1, lockedUntil: context().now + 30_000 });
    expect(second).toMatchObject({ deliveryCount: 2, messageId: first?.messageId, sentAt: first?.sentAt });
    expect(first?.sentAt).toBeGreaterThanOrEqual(before - 1);
    expect(first?.sentAt).toBeLessThanOrEqual(Date.now() + 1);
  });

  it('knows a message of a stream that was made anew from the one before it', async () => {
    await send('one');
    const [first] = await claim();
    await server.api(`STREAM.DELETE.S${generation}`);
    await makeStream();
    await makeConsumer();
    await send('two');

    const [second] = await claim();

    expect(second?.messageId.split('-')[0]).toBe(first?.messageId.split('-')[0]);
    expect(second?.messageId).not.toBe(first?.messageId);
  });

  it('holds a message for as long as it says that work is in progress', async () => {
    await server.api(`CONSUMER.DELETE.S${generation}.jobs`);
    await makeConsumer({ ack_wait: 5_000_000_000 });
    await send('one');
    const [claimed] = await claim();
    await new Promise(resolve => setTimeout(resolve, 2_500));

    const extendedAt = Date.now();
    const { receipt, lockedUntil } = await deliver.extend(queue, context(), receiptOf(claimed));
    let again: Claim[] = [];
    while (again.length === 0) again = await claim();

    expect(receipt).toBe(claimed?.receipt);
    expect(lockedUntil).toBe(context().now + 5_000);
    expect(Date.now() - extendedAt).toBeGreaterThan(4_500);
    expect(again[0]?.messageId).toBe(claimed?.messageId);
  }, 30_000);

  it('goes by the waits that are set for each delivery', async () => {
    await server.api(`CONSUMER.DELETE.S${generation}.jobs`);
    await makeConsumer({ backoff: [6_000_000_000, 20_000_000_000], max_deliver: 10 });
    await send('one');
    const waits: number[] = [];

    for (let delivery = 0; delivery < 3; delivery += 1) {
      const [claimed] = await claim();
      waits.push((claimed?.lockedUntil ?? 0) - context().now);
      await giveBack();
    }

    expect(waits).toEqual([6_000, 20_000, 20_000]);
  });

  it('forgets what was acknowledged, also where the first answer was lost, and by any process', async () => {
    await send('one', 'two');
    const [one] = await claim(1);
    await using other = await scaler.open(queue as never, openContext(signal));

    await deliver.acknowledge(queue, contextOf({ conn: other }), receiptOf(one));
    await deliver.acknowledge(queue, context(), receiptOf(one));

    expect(await counts()).toEqual([1, 0]);
    expect((await claim()).map(bodyOf)).toEqual(['two']);
  });

  it('gives a message back at once or after a pause', async () => {
    await send('one', 'two');
    const [one, two] = await claim();

    await deliver.release(queue, context(), receiptOf(one), 0);
    await deliver.release(queue, context(), receiptOf(two), 1_000);
    const [now, later] = [await claim(), [] as Claim[]];
    while (later.length === 0) later.push(...(await claim()));

    expect(now.map(bodyOf)).toEqual(['one']);
    expect(later.map(bodyOf)).toEqual(['two']);
    expect(later[0]?.deliveryCount).toBe(2);
  });

  it('copies what cannot be processed to a stream that it makes, once, and ends it', async () => {
    await server.publish(`s${generation}.new`, 'bad', [
      ['Color', 'red'],
      ['Nats-Msg-Id', 'sent once'],
    ]);
    const [claimed] = await claim();

    await deliver.deadLetter(queue, context(), dead(claimed, { body: undefined }));
    await deliver.deadLetter(queue, context(), dead(claimed));
    const [letter, ...more] = await server.stored(`S${generation}-poison`);

    expect(more).toEqual([]);
    expect(letter?.data.toString()).toBe('bad');
    const lines = letter?.headers.trim().split('\r\n') ?? [];
    expect(lines).toEqual([
      'NATS/1.0',
      'Color: red',
      `Eventide-Id: ${claimed?.messageId}`,
      `Eventide-Subject: s${generation}.new`,
      'Eventide-Attempts: 5',
      'Eventide-Why: it failed badly',
      `Nats-Msg-Id: S${generation}/jobs/${claimed?.messageId}`,
      `Nats-Expected-Stream: S${generation}-poison`,
    ]);
    expect(await counts()).toEqual([0, 0]);
  });

  it('copies it to the subject it is told, where a stream takes that', async () => {
    const to = `dead${generation}.s`;
    const told = queueAt({ deadLetterSubject: to });
    await send('bad');
    const [claimed] = await claim();

    const fault = await faultFrom(deliver.deadLetter(told, context(), dead(claimed)));
    await server.api(`STREAM.CREATE.D${generation}`, {
      name: `D${generation}`,
      subjects: [`dead${generation}.*`],
    });
    await deliver.deadLetter(told, context(), dead(claimed));

    expect(fault).toMatchObject({
      code: 'SOURCE_NOT_FOUND',
      message: `dead letters on "${to}": no stream takes this subject`,
    });
    expect((await server.stored(`D${generation}`)).map(({ data }) => data.toString())).toEqual(['bad']);
    expect(await counts()).toEqual([0, 0]);
  });

  it('does not put it back to where it came from', async () => {
    const told = queueAt({ deadLetterSubject: `s${generation}.dead` });
    await send('bad');
    const [claimed] = await claim();

    const fault = await faultFrom(deliver.deadLetter(told, context(), dead(claimed)));

    expect(fault).toMatchObject({ code: 'PARAM_INVALID' });
    expect(fault.message).toContain(`would go back to stream "S${generation}"`);
    expect(await counts()).toEqual([0, 1]);
  });

  it.each([
    ['copies what it was given', Buffer.from('bad'), ['bad']],
    ['ends it all the same', undefined, []],
  ])('%s where the stream has the message no more', async (_title, body, letters) => {
    await send('bad');
    const [claimed] = await claim();
    await server.api(`STREAM.MSG.DELETE.S${generation}`, { seq: 1 });

    await deliver.deadLetter(queue, context(), dead(claimed, { body }));

    const stored = await server.stored(`S${generation}-poison`);
    expect(stored.map(({ data }) => data.toString())).toEqual(letters);
    expect(await counts()).toEqual([0, 0]);
  });

  it('dead-letters what the consumer would never hand out again', async () => {
    await server.api(`CONSUMER.DELETE.S${generation}.jobs`);
    await makeConsumer({ max_deliver: 2 });
    await send('bad');
    const [first] = await claim();
    await deliver.release(queue, context(), receiptOf(first), 0);
    const [second] = await claim();

    await deliver.release(queue, context(), receiptOf(second), 0);

    const [letter] = await server.stored(`S${generation}-poison`);
    expect(letter?.data.toString()).toBe('bad');
    expect(letter?.headers).toContain('Eventide-Why: the consumer hands no message out more than 2 times');
    expect(await claim()).toEqual([]);
  });

  it.each([
    ['acknowledges all before it', { ack_policy: 'all' }, 'its ack_policy is all, and must be explicit'],
    ['acknowledges nothing', { ack_policy: 'none' }, 'its ack_policy is none, and must be explicit'],
    ['pushes', { deliver_subject: 'to.me' }, 'it is a push consumer, and must be a pull consumer'],
    ['is impatient', { ack_wait: 2_000_000_000 }, 'its ack_wait and each backoff must be at least 5 s'],
  ])('refuses a consumer that %s', async (_title, config, why) => {
    await server.api(`CONSUMER.DELETE.S${generation}.jobs`);
    await makeConsumer(config);

    expect(await faultFrom(claim())).toMatchObject({
      code: 'NOT_SUPPORTED',
      message: `messages of consumer "jobs" of stream "S${generation}" cannot be delivered: ${why}`,
    });
  });

  it('notices that the consumer is gone, and lets go of its messages', async () => {
    await send('one');
    const [claimed] = await claim();
    await server.api(`CONSUMER.DELETE.S${generation}.jobs`);

    for (const settle of [
      deliver.acknowledge(queue, context(), receiptOf(claimed)),
      deliver.release(queue, context(), receiptOf(claimed), 0),
      deliver.extend(queue, context(), receiptOf(claimed)),
    ]) {
      const fault = await faultFrom(settle);
      expect(['MESSAGE_LOST', 'SOURCE_NOT_FOUND']).toContain(fault.code);
    }
    expect(await faultFrom(claim())).toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });

  it.each(['a.b', 'a>', '*', 'a b'])(
    'does not ask for consumer "%s", which is somewhere else',
    async consumer => {
      const fault = await faultFrom(deliver.claim(queueAt({ consumer }), context(), 1));

      expect(fault.code).toBe('PARAM_INVALID');
    },
  );

  it('goes on after the server was restarted, with what it had claimed', async () => {
    await send('one', 'two');
    const [one] = await claim(1);
    await server.stop();
    const fault = await faultFrom(claim());
    await server.restart();

    await deliver.acknowledge(queue, context(), receiptOf(one));

    expect(fault.code).toBe('SOURCE_UNREACHABLE');
    expect((await claim()).map(bodyOf)).toEqual(['two']);
  });

  it('asks over one connection, which says whose it is', async () => {
    await Promise.all([claim(), claim(), claim()]);

    expect(await server.clients()).toEqual(['eventide for default/app']);
  });
});

it.skipIf(!natsInstalled)('logs in where clients connect, as it is told', async () => {
  await using server = await startNats({
    config: ['authorization { user: shop, password: "s3cret word" }'],
    entry: { username: 'shop', password: new Secret('s3cret word') },
  });
  await server.api('STREAM.CREATE.S', { name: 'S', subjects: ['s'] });
  const config = { durable_name: 'jobs', ack_policy: 'explicit' };
  await server.api('CONSUMER.DURABLE.CREATE.S.jobs', { stream_name: 'S', config });
  await server.publish('s', 'one');
  const bindWith = (password: string) =>
    mustBind(scaler, {
      params: {
        natsServerMonitoringEndpoint: server.monitoring,
        natsServerEndpoint: `nats://127.0.0.1:1, nats://${server.host}:${server.port}`,
        account: '$G',
        stream: 'S',
        consumer: 'jobs',
      },
      auth: { username: 'shop', password },
    });
  const claimWith = async (password: string) => {
    const { params } = bindWith(password);
    await using conn = await scaler.open(params as never, openContext(signal));
    return await deliver.claim(params as JetStreamQueue, readContext(conn, signal), 1);
  };

  expect((await claimWith('s3cret word')).map(bodyOf)).toEqual(['one']);
  const fault = await faultFrom(claimWith('another word'));
  expect(fault.code).toBe('SOURCE_REFUSED');
  expect(fault.message).not.toContain('another word');
  expect(bindWith('one').connectionKey).not.toBe(bindWith('two').connectionKey);
});
