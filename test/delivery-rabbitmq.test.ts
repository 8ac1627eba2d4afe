import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Options } from 'amqplib';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import { silentLog } from '../src/base/log.ts';
import { startDelivery } from '../src/engine/deliver/delivery.ts';
import type { DeliverySource } from '../src/engine/deliver/source.ts';
import type { BoundRead } from '../src/scaler/bind.ts';
import type { ReadContext } from '../src/scaler/context.ts';
import type { Delivery } from '../src/scaler/delivery.ts';
import rabbitmq from '../src/scalers/rabbitmq.ts';
import { type Around, type ModelWorld, modelWorld, scaledJob, straight } from './delivery-model.ts';
import { type RabbitServer, rabbitInstalled, startRabbit } from './rabbitmq.ts';
import { eventually } from './redis.ts';
import { faultFrom, mustBind, openContext } from './scaler-contract.ts';

type Context = ReadContext<unknown>;
type AnyDelivery = Delivery<unknown, unknown>;

const verbs = ['claim', 'extend', 'acknowledge', 'release', 'deadLetter'] as const;
const delivery = rabbitmq.deliver as unknown as AnyDelivery;
const { signal } = new AbortController();

/** The delivery with something around each of its calls. */
function watched(around: Around): AnyDelivery {
  const wrapped = verbs.map(verb => {
    const call = delivery[verb] as (...args: unknown[]) => Promise<unknown>;
    return [verb, (...args: unknown[]) => around(verb, () => call(...args)).then(answer => answer)];
  });
  return { ...delivery, ...Object.fromEntries(wrapped) };
}

const contextOf = (conn: unknown, limit = signal): Context => ({
  conn,
  signal: limit,
  now: Date.now(),
  namespace: 'shop',
  cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
});

interface Begin {
  around?: Around;
  maxReplicaCount?: number;
  maxAttempts?: number;
  params?: Record<string, string>;
}

/** One process of ours, with connections of its own. */
async function start(server: RabbitServer, world: ModelWorld, begin: Begin = {}) {
  const { around = straight, maxReplicaCount = 100, maxAttempts = 1, params = {} } = begin;
  const bound = mustBind(rabbitmq, { params: { host: server.amqp, queueName: 'tasks', ...params } });
  const scaler = { ...bound.scaler, deliver: watched(around) };
  const trigger: BoundRead = { ...bound, scaler };
  const conn = await scaler.open(trigger.params, openContext(signal));
  const source: DeliverySource = { trigger, use: (work, limit) => work(contextOf(conn, limit)) };
  const workload = scaledJob({ maxReplicaCount, delivery: { as: 'env', batchSize: 1, maxAttempts } });
  const deps = { world: world.port(around), clock: systemClock, log: silentLog };
  const run = startDelivery(workload, [source], deps);
  run.resume(await world.port().listJobs(workload, signal));
  world.onChange = job => run.jobChanged(job);
  return {
    run,
    fill: () => run.fill(signal),
    close: () => scaler.close(conn),
    async end() {
      await run[Symbol.asyncDispose]();
      await scaler.close(conn);
    },
  };
}

const textsOf = (world: ModelWorld) =>
  [...world.jobs.values()].map(({ request }) => request.env['KEDA_TASK_DATA'] ?? '').sort();

function finishAll(world: ModelWorld): void {
  for (const { name, request } of world.jobs.values()) {
    world.finish(name, request.env['KEDA_TASK_DATA'] === 'bad' ? 'failed' : 'succeeded');
  }
}

/** Messages that wait, or are in somebody's hands. */
async function left(server: RabbitServer, queue = 'tasks'): Promise<number> {
  const { messages } = (await server.manage('GET', `queues/%2F/${queue}`)) as { messages?: number };
  return messages ?? Number.NaN;
}

const emptied = (server: RabbitServer) =>
  vi.waitFor(async () => expect(await left(server)).toBe(0), { timeout: 15_000, interval: 100 });

async function loseConnections(server: RabbitServer): Promise<void> {
  const all = (await server.manage('GET', 'connections')) as {
    name: string;
    client_properties: { connection_name: string };
  }[];
  const ours = all.filter(each => each.client_properties.connection_name.startsWith('eventide delivers'));
  for (const { name } of ours) await server.manage('DELETE', `connections/${encodeURIComponent(name)}`);
  expect(ours).toHaveLength(1);
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
    server = await startRabbit();
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

  describe.each(kinds)('%s', (_title, kind) => {
    beforeEach(() => afresh(kind.queue));

    it('go to one Job each, across a restart, and the bad one to the dead letters', async () => {
      const texts = [...Array.from({ length: 70 }, (_, n) => `task ${n}`), 'bad'];
      await sent(texts, kind);
      const world = modelWorld(systemClock);
      const first = await start(server, world);

      const created = await first.fill();
      await first.end();
      const second = await start(server, world);
      const again = await second.fill();
      finishAll(world);
      await emptied(server);
      await vi.waitFor(() => expect(second.run.counts()).toMatchObject({ settling: 0 }), 10_000);

      expect([created, again]).toEqual([71, 0]);
      expect(textsOf(world)).toEqual([...texts].sort());
      expect((await taken('tasks-poison'))?.content.toString()).toBe('bad');
      await second.end();
    });

    it('belong to their Jobs again after the connection was lost', async () => {
      const texts = Array.from({ length: 20 }, () => 'equal texts');
      await sent(texts, kind);
      const world = modelWorld(systemClock);
      const process = await start(server, world);
      await process.fill();
      await eventually(async () =>
        (await server.connections()).some(({ name }) => name.includes('delivers')),
      );

      await loseConnections(server);
      await eventually(async () => (await server.channel.checkQueue('tasks')).messageCount === 20);
      const again = await process.fill();
      finishAll(world);
      await emptied(server);

      expect(again).toBe(0);
      expect(world.jobs.size).toBe(20);
      expect(process.run.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 });
      await process.end();
    });

    it('belong to their Jobs again after the broker was started again', async () => {
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
      finishAll(world);
      await emptied(server);

      expect(world.jobs.size).toBe(3);
      expect(process.run.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 });
      await process.end();
    }, 60_000);

    const crashes = ['claim', 'createJob', 'updateTask', 'acknowledge', 'deadLetter'].flatMap(call => [
      [call, 'before'] as const,
      [call, 'after'] as const,
    ]);

    it.each(crashes)(
      'are neither lost nor repeated where a process dies at %s, %s it is carried out',
      async (fatal, when) => {
        const texts = ['one', 'two', 'two', 'bad'];
        await sent(texts, kind);
        const world = modelWorld(systemClock);
        let died = false;
        // A dead process says nothing more, and hears nothing.
        const dying: Around = async (name, call) => {
          const fatalNow = name === fatal && !died;
          if (fatalNow && when === 'after') await call();
          died ||= fatalNow;
          return died ? await new Promise<never>(() => {}) : await call();
        };
        const first = await start(server, world, { around: dying });
        void first.fill();
        await vi.waitFor(() => {
          finishAll(world);
          expect(died).toBe(true);
        }, 15_000);
        await first.close();

        const second = await start(server, world);
        await vi.waitFor(
          async () => {
            await second.fill();
            finishAll(world);
            expect((await server.channel.checkQueue('tasks')).messageCount).toBe(0);
            expect(second.run.counts()).toMatchObject({ unfinished: 0, waiting: 0, settling: 0 });
          },
          { timeout: 20_000 },
        );
        await emptied(server);

        expect(textsOf(world)).toEqual([...texts].sort());
        expect(world.violations).toEqual([]);
        expect((await taken('tasks-poison'))?.content.toString()).toBe('bad');
        // The one that dies may have sent its copy, and not said yet that the message is settled.
        const more = await taken('tasks-poison');
        expect([undefined, 'bad']).toContain(more?.content.toString());
        await second.end();
      },
      60_000,
    );
  });

  describe('one by one', () => {
    const plain: Kind = { queue: { durable: true }, idOf: named };

    beforeEach(() => afresh(plain.queue));

    async function opened(params: Record<string, string> = {}) {
      const bound = mustBind(rabbitmq, { params: { host: server.amqp, queueName: 'tasks', ...params } });
      const conn = await bound.scaler.open(bound.params, openContext(signal));
      return {
        context: contextOf(conn),
        params: bound.params,
        claim: (most: number) => delivery.claim(bound.params, contextOf(conn), most),
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

    it('are lost with the connection, and with any receipt that is not of this process', async () => {
      await sent(['one'], plain);
      await using open = await opened();
      const [one] = await open.claim(1);
      await eventually(async () =>
        (await server.connections()).some(({ name }) => name.includes('delivers')),
      );
      await loseConnections(server);
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
      const world = modelWorld(systemClock);

      const fault = await faultFrom(start(server, world, { params: { host: server.http } }));

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
    const process = await start(server, world, { maxReplicaCount: 2 });
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
