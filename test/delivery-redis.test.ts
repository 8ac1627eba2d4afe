import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import { silentLog } from '../src/base/log.ts';
import { type DeliveryRun, startDelivery } from '../src/engine/deliver/delivery.ts';
import type { DeliverySource } from '../src/engine/deliver/source.ts';
import type { BoundRead } from '../src/scaler/bind.ts';
import type { Scaler } from '../src/scaler/define.ts';
import type { Delivery } from '../src/scaler/delivery.ts';
import redis from '../src/scalers/redis.ts';
import redisStreams from '../src/scalers/redis-streams.ts';
import { type Around, type ModelWorld, modelWorld, scaledJob, straight } from './delivery-model.ts';
import { type RedisServer, redisInstalled, startRedis } from './redis.ts';
import { mustBind, openContext } from './scaler-contract.ts';

interface Kind {
  scaler: Scaler;
  params: Record<string, string>;
  send(server: RedisServer, text: string): Promise<unknown>;
  /** The text a Job was given. */
  textOf(data: string): string;
  /** As if every claim had ended. */
  pass(server: RedisServer): Promise<void>;
  /** How much is not settled, and what was dead-lettered. */
  left(server: RedisServer): Promise<number>;
  poison(server: RedisServer): Promise<string[]>;
}

const list: Kind = {
  scaler: redis as unknown as Scaler,
  params: { listName: 'tasks' },
  send: (server, text) => server.send('LPUSH', 'tasks', text),
  textOf: data => data,
  async pass(server) {
    const until = (await server.send('ZRANGE', 'tasks:eventide-until', '0', '-1')) as Buffer[];
    for (const id of until) await server.send('ZADD', 'tasks:eventide-until', '0', id);
  },
  async left(server) {
    const waiting = await server.send('LLEN', 'tasks');
    const claimed = await server.send('ZCARD', 'tasks:eventide-until');
    return Number(waiting) + Number(claimed);
  },
  poison: async server => ((await server.send('LRANGE', 'tasks-poison', '0', '-1')) as Buffer[]).map(String),
};

const stream: Kind = {
  scaler: redisStreams as unknown as Scaler,
  params: { stream: 'tasks', consumerGroup: 'jobs', lagCount: '1' },
  send: (server, text) => server.send('XADD', 'tasks', '*', 'text', text),
  textOf: data => JSON.parse(data).text,
  async pass(server) {
    // Before the first claim there is no group.
    const held = (await server.send('XPENDING', 'tasks', 'jobs', '-', '+', '1000').catch(() => [])) as [
      Buffer,
      Buffer,
    ][];
    for (const [id, consumer] of held) {
      await server.send('XCLAIM', 'tasks', 'jobs', consumer, '0', id, 'IDLE', '60000', 'JUSTID');
    }
  },
  async left(server) {
    const [group] = (await server.send('XINFO', 'GROUPS', 'tasks')) as (Buffer | number)[][];
    const [pending, lag] = [group?.[5], group?.at(-1)];
    return Number(pending) + Number(lag);
  },
  async poison(server) {
    const entries = (await server.send('XRANGE', 'tasks-poison', '-', '+')) as [Buffer, Buffer[]][];
    return entries.map(([, fields]) => String(fields[1]));
  },
};

const verbs = ['claim', 'extend', 'acknowledge', 'release', 'deadLetter'] as const;

/** The delivery of a scaler with something around each of its calls. */
function watched(delivery: Delivery<unknown, unknown>, around: Around): Delivery<unknown, unknown> {
  const wrapped = verbs.map(verb => {
    const call = delivery[verb] as (...args: unknown[]) => Promise<unknown>;
    return [verb, (...args: unknown[]) => around(verb, () => call(...args)).then(answer => answer)];
  });
  return { ...delivery, ...Object.fromEntries(wrapped) };
}

describe.skipIf(!redisInstalled).each([
  ['list', list],
  ['stream', stream],
])('a %s of a real server', (_title, kind) => {
  let server: RedisServer;

  beforeAll(async () => {
    server = await startRedis();
  });

  beforeEach(() => server.send('FLUSHALL'));

  afterAll(() => server[Symbol.asyncDispose]());

  /** One process of ours, with a connection of its own. */
  async function start(world: ModelWorld, around: Around = straight) {
    const params = { ...kind.params, address: server.address };
    const bound = mustBind(kind.scaler, { params });
    const scaler = {
      ...bound.scaler,
      deliver: watched(bound.scaler.deliver as Delivery<unknown, unknown>, around),
    };
    const trigger: BoundRead = { ...bound, scaler };
    const { signal } = new AbortController();
    const conn = await scaler.open(trigger.params, openContext(signal));
    const cluster = { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) };
    const source: DeliverySource = {
      trigger,
      use: (work, limit) => work({ conn, signal: limit, now: Date.now(), namespace: 'shop', cluster }),
    };
    const workload = scaledJob({
      maxReplicaCount: 100,
      delivery: { as: 'env', batchSize: 1, maxAttempts: 1 },
    });
    const deps = { world: world.port(around), clock: systemClock, log: silentLog };
    const run = startDelivery(workload, [source], deps);
    run.resume(await world.port().listJobs(workload, signal));
    world.onChange = job => run.jobChanged(job);
    return { run, fill: () => run.fill(signal), close: () => scaler.close(conn) };
  }

  const textsOf = (world: ModelWorld) =>
    [...world.jobs.values()].map(({ request }) => kind.textOf(request.env['KEDA_TASK_DATA'] ?? '')).sort();

  function finishAll(world: ModelWorld): void {
    for (const { name, request } of world.jobs.values()) {
      const bad = kind.textOf(request.env['KEDA_TASK_DATA'] ?? '') === 'bad';
      world.finish(name, bad ? 'failed' : 'succeeded');
    }
  }

  const settled = (run: DeliveryRun) =>
    vi.waitFor(
      () => expect(run.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 }),
      10_000,
    );

  it('hands every message to one Job, across a restart, and the bad one to the dead letters', async () => {
    const texts = [...Array.from({ length: 70 }, (_, n) => `task ${n}`), 'bad'];
    for (const text of texts) await kind.send(server, text);
    const world = modelWorld(systemClock);
    const first = await start(world);

    const created = await first.fill();
    await first.run[Symbol.asyncDispose]();
    await first.close();
    const second = await start(world);
    finishAll(world);
    await settled(second.run);

    expect(created).toBe(71);
    expect(textsOf(world)).toEqual([...texts].sort());
    expect(await kind.left(server)).toBe(0);
    expect(await kind.poison(server)).toEqual(['bad']);
    await second.run[Symbol.asyncDispose]();
    await second.close();
  });

  const crashes = ['claim', 'createJob', 'updateTask', 'acknowledge', 'deadLetter'].flatMap(call => [
    [call, 'before'] as const,
    [call, 'after'] as const,
  ]);

  it.each(crashes)(
    'loses and repeats nothing where a process dies at %s, %s it is carried out',
    async (fatal, when) => {
      const texts = ['one', 'two', 'three', 'bad'];
      for (const text of texts) await kind.send(server, text);
      const world = modelWorld(systemClock);
      let died = false;
      // A dead process says nothing more, and hears nothing.
      const dying: Around = async (name, call) => {
        const fatalNow = name === fatal && !died;
        if (fatalNow && when === 'after') await call();
        died ||= fatalNow;
        return died ? await new Promise<never>(() => {}) : await call();
      };
      const first = await start(world, dying);
      void first.fill();
      await vi.waitFor(() => {
        finishAll(world);
        expect(died).toBe(true);
      }, 10_000);
      await first.close();

      const second = await start(world);
      await vi.waitFor(async () => {
        await kind.pass(server);
        await second.fill();
        finishAll(world);
        expect(await kind.left(server)).toBe(0);
      }, 10_000);
      await settled(second.run);

      expect(textsOf(world)).toEqual([...texts].sort());
      expect(world.violations).toEqual([]);
      expect(await kind.poison(server)).toEqual(['bad']);
      await second.run[Symbol.asyncDispose]();
      await second.close();
    },
  );
});
