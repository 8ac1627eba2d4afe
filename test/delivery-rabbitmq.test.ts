import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Options } from 'amqplib';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import type { Scaler } from '../src/scaler/define.ts';
import type { Delivery } from '../src/scaler/delivery.ts';
import rabbitmq from '../src/scalers/rabbitmq.ts';
import { deliveryContract, startProcess } from './delivery-contract.ts';
import { modelWorld } from './delivery-model.ts';
import { type RabbitServer, rabbitInstalled, startRabbit } from './rabbitmq.ts';
import { eventually } from './redis.ts';
import { faultFrom, mustBind, openContext, readContext } from './scaler-contract.ts';

const scaler = rabbitmq as unknown as Scaler;
const delivery = rabbitmq.deliver as unknown as Delivery<unknown, unknown>;
const { signal } = new AbortController();

const tasksOf = ({ amqp }: RabbitServer) => ({
  scaler,
  given: () => ({ params: { host: amqp, queueName: 'tasks' } }),
});

/** One process of ours that delivers what is in `tasks`. */
const start = (server: RabbitServer, world = modelWorld(systemClock), maxReplicaCount = 100) =>
  startProcess(tasksOf(server), world, { maxReplicaCount });

/** Messages that wait, or are in somebody's hands: the totals are ahead of the statistics by a second. */
async function left(server: RabbitServer, queue = 'tasks'): Promise<number> {
  const query = 'queues/%2F?disable_stats=true&enable_queue_totals=true';
  const queues = (await server.manage('GET', query)) as { name: string; messages?: number }[];
  return queues.find(({ name }) => name === queue)?.messages ?? Number.NaN;
}

const emptied = (server: RabbitServer) =>
  vi.waitFor(async () => expect(await left(server)).toBe(0), { timeout: 15_000, interval: 100 });

/** Ends all connections that are not of a test. */
async function loseConnections(server: RabbitServer): Promise<number> {
  const all = (await server.manage('GET', 'connections')) as {
    name: string;
    client_properties?: { connection_name?: string };
  }[];
  const ours = all.filter(each => each.client_properties?.connection_name !== 'test');
  for (const { name } of ours) {
    // One that is closing already is not found.
    await server.manage('DELETE', `connections/${encodeURIComponent(name)}`).catch(() => undefined);
  }
  return ours.length;
}

interface Kind {
  queue: Options.AssertQueue;
  idOf(index: number): Options.Publish;
}

const named = (index: number) => ({ messageId: `id-${index}` });
const kinds: [string, Kind][] = [
  ['messages with ids', { queue: { durable: true }, idOf: named }],
  ['messages without ids', { queue: { durable: true }, idOf: () => ({}) }],
  ['a quorum queue', { queue: { durable: true, arguments: { 'x-queue-type': 'quorum' } }, idOf: () => ({}) }],
];

describe.skipIf(!rabbitInstalled)('messages of a real broker', () => {
  let server: RabbitServer;

  beforeAll(async () => {
    // A quorum queue counts its messages as often as that.
    server = await startRabbit([], '[{rabbit, [{quorum_tick_interval, 100}]}].');
  }, 60_000);

  afterAll(() => server[Symbol.asyncDispose]());

  async function sent(texts: readonly string[], { queue, idOf }: Kind): Promise<void> {
    for (const [index, text] of texts.entries()) {
      server.channel.sendToQueue('tasks', Buffer.from(text), { persistent: true, ...idOf(index) });
    }
    await eventually(
      async () => (await server.channel.assertQueue('tasks', queue)).messageCount === texts.length,
    );
  }

  async function afresh(queue: Options.AssertQueue): Promise<void> {
    for (const name of ['tasks', 'tasks-poison', 'dead']) await server.channel.deleteQueue(name);
    await server.channel.assertQueue('tasks', queue);
  }

  const taken = async (queue: string) => {
    const message = await server.channel.get(queue, { noAck: true });
    return message === false ? undefined : message;
  };

  let sendings = 0;
  let generation = 0;
  const queue = () => `tasks-${generation}`;

  describe.each(kinds)('%s', (_title, kind) => {
    deliveryContract({
      scaler,
      async empty() {
        generation += 1;
        await server.channel.assertQueue(queue(), kind.queue);
      },
      given: () => ({ params: { host: server.amqp, queueName: queue() } }),
      async send(text) {
        sendings += 1;
        server.channel.sendToQueue(queue(), Buffer.from(text), { persistent: true, ...kind.idOf(sendings) });
      },
      pass: () => loseConnections(server),
      left: () => left(server, queue()),
      async poison() {
        const { messageCount } = await server.channel.assertQueue(`${queue()}-poison`, { durable: true });
        const texts: string[] = [];
        while (texts.length < messageCount) {
          texts.push(String((await taken(`${queue()}-poison`))?.content));
        }
        return texts;
      },
      copiesDeadLetters: true,
      forgets: true,
    });

    it('belong to their Jobs again after the broker was started again', async () => {
      await afresh(kind.queue);
      await sent(['equal', 'equal', 'other'], kind);
      const world = modelWorld(systemClock);
      const process = await start(server, world);
      await process.fill();

      await server.restart();
      await vi.waitFor(
        async () => {
          await process.fill();
          expect((await server.channel.checkQueue('tasks')).messageCount).toBe(0);
        },
        { timeout: 20_000, interval: 200 },
      );
      for (const { name } of world.jobs.values()) world.finish(name, 'succeeded');
      await emptied(server);

      expect(world.jobs.size).toBe(3);
      expect(process.run.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 });
      await process.end();
    }, 60_000);
  });

  describe('one by one', () => {
    const plain: Kind = { queue: { durable: true }, idOf: named };

    beforeEach(() => afresh(plain.queue));

    async function opened(params: Record<string, string> = {}) {
      const bound = mustBind(rabbitmq, { params: { host: server.amqp, queueName: 'tasks', ...params } });
      const conn = await bound.scaler.open(bound.params, openContext(signal));
      const context = readContext(conn, signal);
      return {
        context,
        params: bound.params,
        claim: (most: number) => delivery.claim(bound.params, context, most),
        [Symbol.asyncDispose]: () => bound.scaler.close(conn),
      };
    }

    it('are taken as many as are wanted, and no more', async () => {
      await sent(
        Array.from({ length: 30 }, (_, n) => `task ${n}`),
        plain,
      );
      await using open = await opened();

      const claims = await open.claim(7);

      expect(claims.map(({ messageId }) => messageId)).toEqual(
        Array.from({ length: 7 }, (_, n) => `id-${n}`),
      );
      expect((await server.channel.checkQueue('tasks')).messageCount).toBe(23);
    });

    it('say when they were sent and how often they were handed out', async () => {
      await server.channel.sendToQueue('tasks', Buffer.from('x'), {
        messageId: 'a',
        timestamp: 1_700_000_000,
      });
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 1);
      await using open = await opened();

      const [first] = await open.claim(1);
      await delivery.release(open.params, open.context, first?.receipt ?? '', 0);
      const [second] = await open.claim(1);

      expect(first).toMatchObject({ messageId: 'a', sentAt: 1_700_000_000_000, deliveryCount: 1 });
      expect(second).toMatchObject({ messageId: 'a', deliveryCount: 2 });
    });

    it('come whole, however large they are', async () => {
      const body = Buffer.alloc(1_000_000, 'abcdefghij');
      server.channel.sendToQueue('tasks', body, { messageId: 'large' });
      server.channel.sendToQueue('tasks', Buffer.alloc(0), { messageId: 'empty' });
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 2);
      await using open = await opened();

      const claims = await open.claim(2);

      expect(Buffer.from(claims[0]?.body ?? []).equals(body)).toBe(true);
      expect(claims[1]?.body).toHaveLength(0);
    });

    it('wait after a failure without holding up the others', async () => {
      await sent(['one', 'two'], plain);
      await using open = await opened();
      const [one] = await open.claim(1);

      await delivery.release(open.params, open.context, one?.receipt ?? '', 400);
      const meanwhile = await open.claim(5);
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 1);
      const afterwards = await open.claim(5);

      expect(meanwhile.map(({ messageId }) => messageId)).toEqual(['id-1']);
      expect(afterwards.map(({ messageId }) => messageId)).toEqual(['id-0']);
    });

    it('are one where they have the same id, and are settled together', async () => {
      for (const text of ['a', 'a', 'b']) {
        server.channel.sendToQueue('tasks', Buffer.from(text), { messageId: text });
      }
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 3);
      await using open = await opened();

      const claims = await open.claim(5);
      for (const { receipt } of claims) await delivery.acknowledge(open.params, open.context, receipt);

      expect(claims.map(({ messageId }) => messageId)).toEqual(['a', 'b']);
      await emptied(server);
    });

    it('are not taken for equal ones without an id that were acknowledged before a crash', async () => {
      const world = modelWorld(systemClock);
      const nameless: Kind = { queue: plain.queue, idOf: () => ({}) };
      await server.channel.assertQueue('tasks-poison', { durable: true });
      await sent(['equal'], nameless);
      const dying = await startProcess(tasksOf(server), world, {
        dies: { at: 'updateTask', when: 'before' },
      });
      await dying.fill();
      for (const { name } of world.jobs.values()) world.finish(name, 'succeeded');
      await eventually(async () => dying.isDead());
      await dying.kill();
      const process = await start(server, world);
      await sent(['equal'], nameless);
      await process.fill();

      await eventually(async () => (await loseConnections(server)) > 0);
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 1);
      await process.fill();
      for (const { name } of world.jobs.values()) world.finish(name, 'failed');
      await eventually(async () => (await taken('tasks-poison')) !== undefined);

      expect([...world.jobs.values()].map(({ state }) => state)).toEqual(['succeeded', 'failed']);
      await process.end();
    });

    it('are lost with the connection, and with any receipt that is not of this process', async () => {
      await sent(['one'], plain);
      await using open = await opened();
      const [one] = await open.claim(1);
      await eventually(async () => (await loseConnections(server)) > 0);
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 1);

      for (const receipt of [one?.receipt ?? '', 'another.1', 'nonsense']) {
        const fault = await faultFrom(delivery.extend(open.params, open.context, receipt));
        expect(fault.code).toBe('MESSAGE_LOST');
      }
    });

    it('stay with us where another queue of the same connection is missing', async () => {
      await sent(['one'], plain);
      await using open = await opened();
      const [one] = await open.claim(1);
      const missing = mustBind(rabbitmq, { params: { host: server.amqp, queueName: 'missing' } }).params;

      const fault = await faultFrom(delivery.claim(missing, open.context, 1));

      expect(fault.code).toBe('SOURCE_NOT_FOUND');
      await delivery.acknowledge(open.params, open.context, one?.receipt ?? '');
      await emptied(server);
    });

    it('go back where nobody wants to have them any more', async () => {
      await sent(['one', 'two'], plain);
      await using open = await opened();
      const stop = new AbortController();

      const claiming = delivery.claim(open.params, { ...open.context, signal: stop.signal }, 2);
      stop.abort(new Fault('CANCELLED', 'no longer wanted'));

      expect((await faultFrom(claiming)).code).toBe('CANCELLED');
      await eventually(async () => (await open.claim(2)).length === 2);
    });

    it('are copied to the poison queue with all that belongs to them, and nothing that would lead them astray', async () => {
      server.channel.sendToQueue('tasks', Buffer.from('bad'), {
        messageId: 'a',
        contentType: 'text/plain',
        priority: 3,
        expiration: '60000',
        userId: 'guest',
        CC: ['elsewhere'],
        headers: { tenant: 'shop', nested: { list: [1, 'two', true, 2.5] }, big: 2 ** 40 },
      });
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 1);
      await using open = await opened();
      const [bad] = await open.claim(1);
      const message = { receipt: bad?.receipt ?? '', messageId: 'a', attempts: 5, why: 'it failed' };

      await delivery.deadLetter(open.params, open.context, { ...message, body: bad?.body });
      const copy = await taken('tasks-poison');

      expect(copy?.content.toString()).toBe('bad');
      expect(copy?.properties).toMatchObject({
        messageId: 'a',
        contentType: 'text/plain',
        priority: 3,
        deliveryMode: 2,
        expiration: undefined,
        userId: undefined,
      });
      expect(copy?.properties.headers).toEqual({
        tenant: 'shop',
        nested: { list: [1, 'two', true, 2.5] },
        big: 2 ** 40,
        'x-eventide-queue': 'tasks',
        'x-eventide-attempts': 5,
        'x-eventide-why': 'it failed',
      });
      await emptied(server);
    });

    it('are put into a poison queue that is there already, of whatever kind', async () => {
      const { channel } = server;
      await channel.assertQueue('other', { durable: true });
      await channel.assertQueue('other-poison', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
      channel.sendToQueue('other', Buffer.from('bad'));
      await eventually(async () => (await channel.checkQueue('other')).messageCount === 1);
      await using open = await opened({ queueName: 'other' });
      const [bad] = await open.claim(1);
      const message = { receipt: bad?.receipt ?? '', messageId: 'a', attempts: 5, why: 'it failed' };

      await delivery.deadLetter(open.params, open.context, { ...message, body: bad?.body });

      await eventually(async () => (await taken('other-poison')) !== undefined);
    });

    it('are rejected to the dead-letter exchange where that is asked for', async () => {
      await server.channel.deleteQueue('tasks');
      const queue = { durable: true, deadLetterExchange: '', deadLetterRoutingKey: 'dead' };
      await server.channel.assertQueue('dead', { durable: true });
      await server.channel.assertQueue('tasks', queue);
      await sent(['bad'], { queue, idOf: named });
      await using open = await opened({ deadLetter: 'exchange' });
      const [bad] = await open.claim(1);
      const message = { receipt: bad?.receipt ?? '', messageId: 'a', attempts: 5, why: 'it failed' };

      await delivery.deadLetter(open.params, open.context, { ...message, body: bad?.body });
      let dead = await taken('dead');
      await eventually(async () => {
        dead ??= await taken('dead');
        return dead !== undefined;
      });

      expect(dead?.properties.headers?.['x-death']).toMatchObject([{ queue: 'tasks', reason: 'rejected' }]);
    });

    it('say what is in the way where there is no poison queue and none may be made', async () => {
      await server.manage('PUT', 'users/reader', { password: 'reader', tags: '' });
      await server.manage('PUT', 'permissions/%2F/reader', { configure: '', write: '', read: '.*' });
      await sent(['bad'], plain);
      await using open = await opened({ host: server.amqp.replace('guest:guest', 'reader:reader') });
      const [bad] = await open.claim(1);
      const message = { receipt: bad?.receipt ?? '', messageId: 'a', attempts: 5, why: 'it failed' };

      const fault = await faultFrom(
        delivery.deadLetter(open.params, open.context, { ...message, body: bad?.body }),
      );

      expect(fault.code).toBe('SOURCE_FAILED');
      expect(fault.message).toContain('"tasks-poison"');
      expect(fault.message).toContain("access to queue 'tasks-poison' in vhost '/' refused");
      await delivery.extend(open.params, open.context, message.receipt);
    });

    it('can be counted and settled while a broker without memory takes none', async () => {
      await sent(['one', 'bad'], plain);
      await using open = await opened();
      const [one, bad] = await open.claim(2);
      const message = { receipt: bad?.receipt ?? '', messageId: 'a', attempts: 5, why: 'it failed' };
      const control = (...args: string[]) => promisify(execFile)(server.control, args, { env: server.env });
      await control('set_vm_memory_high_watermark', 'absolute', '1');

      const fault = await faultFrom(
        delivery.deadLetter(open.params, open.context, { ...message, body: bad?.body }),
      );
      await delivery.acknowledge(open.params, open.context, one?.receipt ?? '');
      const count = await rabbitmq.read(open.params as never, open.context as never);
      await control('set_vm_memory_high_watermark', '0.4');
      await delivery.deadLetter(open.params, open.context, { ...message, body: bad?.body });

      expect(fault).toMatchObject({
        code: 'SOURCE_FAILED',
        message: expect.stringContaining('low on memory'),
      });
      expect(count).toBe(0);
      await eventually(async () => (await taken('tasks-poison')) !== undefined);
      await emptied(server);
    }, 60_000);

    it('cannot be had over the management API, which is said at once', async () => {
      const given = () => ({ params: { host: server.http, queueName: 'tasks' } });

      const fault = await faultFrom(startProcess({ scaler, given }, modelWorld(systemClock)));

      expect(fault).toMatchObject({
        code: 'NOT_SUPPORTED',
        message: expect.stringContaining('amqp or amqps URL'),
      });
    });
  });
});

describe.skipIf(!rabbitInstalled)('a broker that waits a second for an acknowledgement', () => {
  it('gets back the message of a Job that runs for longer, and hands it to no other', async () => {
    await using server = await startRabbit(
      ['consumer_timeout = 1000'],
      '[{rabbit, [{channel_tick_interval, 1000}]}].',
    );
    await server.channel.assertQueue('tasks', { durable: true });
    for (const text of ['long', 'long']) server.channel.sendToQueue('tasks', Buffer.from(text));
    await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 2);
    const world = modelWorld(systemClock);
    // Every slot is taken by the Jobs that run for too long.
    const process = await start(server, world, 2);
    await process.fill();

    await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 2);
    const full = await process.fill();
    for (const { name } of world.jobs.values()) {
      world.finish(name, 'succeeded');
      await process.fill();
    }
    await vi.waitFor(
      async () => {
        await process.fill();
        expect(process.run.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 });
      },
      { timeout: 15_000, interval: 100 },
    );
    await emptied(server);

    expect(full).toBe(0);
    expect(world.jobs.size).toBe(2);
    await process.end();
  }, 90_000);
});
