import { randomUUID } from 'node:crypto';
import process from 'node:process';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import { silentLog } from '../src/base/log.ts';
import { type DeliveryRun, startDelivery } from '../src/engine/deliver/delivery.ts';
import type { DeliverySource } from '../src/engine/deliver/source.ts';
import type { BoundRead } from '../src/scaler/bind.ts';
import type { ReadContext } from '../src/scaler/context.ts';
import type { Claim, Delivery } from '../src/scaler/delivery.ts';
import kafkaScaler from '../src/scalers/kafka.ts';
import { type Around, type ModelWorld, modelWorld, scaledJob, straight } from './delivery-model.ts';
import { type Kafka, kafkaInstalled, startKafka } from './kafka/server.ts';
import { faultFrom, mustBind, openContext } from './scaler-contract.ts';

const { signal } = new AbortController();
const verbs = ['claim', 'extend', 'acknowledge', 'release', 'deadLetter'] as const;
const cluster = { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) };

/** The delivery with something around each of its calls. */
function watched(delivery: Delivery<unknown, unknown>, around: Around): Delivery<unknown, unknown> {
  const wrapped = verbs.map(verb => {
    const call = delivery[verb] as (...args: unknown[]) => Promise<unknown>;
    return [verb, (...args: unknown[]) => around(verb, () => call(...args)).then(answer => answer)];
  });
  return { ...delivery, ...Object.fromEntries(wrapped) };
}

describe.skipIf(!kafkaInstalled)('topics of a real broker', () => {
  let kafka: Kafka;
  let topic: string;
  let consumerGroup: string;

  beforeAll(async () => {
    kafka = await startKafka();
  }, 60_000);

  afterAll(() => kafka[Symbol.asyncDispose]());

  beforeEach(async () => {
    topic = `tasks-${randomUUID().slice(0, 8)}`;
    consumerGroup = `jobs-${randomUUID().slice(0, 8)}`;
    await kafka.tool('create', topic, 3);
  });

  const bound = (more: Record<string, string> = {}) => {
    const params = { bootstrapServers: kafka.address.plaintext, topic, consumerGroup };
    return mustBind(kafkaScaler, { params: { ...params, offsetResetPolicy: 'earliest', ...more } });
  };

  const send = (partition: number, ...texts: string[]) =>
    kafka.tool('produce', topic, partition, 1, ...texts);

  /** The delivery by itself, over a connection of its own. */
  async function opened(more: Record<string, string> = {}) {
    const { scaler, params } = bound(more);
    const conn = await scaler.open(params, openContext(signal));
    const deliver = scaler.deliver as Delivery<unknown, unknown>;
    const context = (now = Date.now()): ReadContext<unknown> => ({
      conn,
      signal,
      now,
      namespace: 'shop',
      cluster,
    });
    const texts = (claims: Claim[]) => claims.map(({ body }) => Buffer.from(body).toString());
    return {
      claim: async (most: number, now?: number) => await deliver.claim(params, context(now), most),
      texts: async (most: number, now?: number) =>
        texts(await deliver.claim(params, context(now), most)).sort(),
      acknowledge: ({ receipt }: Claim) => deliver.acknowledge(params, context(), receipt),
      extend: ({ receipt }: Claim) => deliver.extend(params, context(), receipt),
      release: ({ receipt }: Claim, delayMs: number) => deliver.release(params, context(), receipt, delayMs),
      deadLetter: ({ receipt, messageId }: Claim, body?: Uint8Array) =>
        deliver.deadLetter(params, context(), {
          receipt,
          messageId,
          body,
          attempts: 5,
          why: 'its job failed',
        }),
      [Symbol.asyncDispose]: () => scaler.close(conn),
    };
  }

  /** One process of ours, with a connection of its own. */
  async function start(world: ModelWorld, around: Around = straight) {
    const plain = bound();
    const deliver = watched(plain.scaler.deliver as Delivery<unknown, unknown>, around);
    const trigger: BoundRead = { ...plain, scaler: { ...plain.scaler, deliver } };
    const conn = await trigger.scaler.open(trigger.params, openContext(signal));
    const source: DeliverySource = {
      trigger,
      use: (work, limit) => work({ conn, signal: limit, now: Date.now(), namespace: 'shop', cluster }),
    };
    const workload = scaledJob({
      maxReplicaCount: 100,
      delivery: { as: 'env', batchSize: 1, maxAttempts: 1 },
    });
    const run = startDelivery(workload, [source], {
      world: world.port(around),
      clock: systemClock,
      log: silentLog,
    });
    run.resume(await world.port().listJobs(workload, signal));
    world.onChange = job => run.jobChanged(job);
    return { run, fill: () => run.fill(signal), close: () => trigger.scaler.close(conn) };
  }

  const textsOf = (world: ModelWorld) =>
    [...world.jobs.values()].map(({ request }) => request.env['KEDA_TASK_DATA'] ?? '').sort();

  function finishAll(world: ModelWorld): void {
    for (const { name, request } of world.jobs.values()) {
      world.finish(name, request.env['KEDA_TASK_DATA'] === 'bad' ? 'failed' : 'succeeded');
    }
  }

  const settled = (run: DeliveryRun) =>
    vi.waitFor(
      () => expect(run.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 }),
      15_000,
    );

  const committed = () => kafka.tool('committed', consumerGroup);
  const shown = (...offsets: number[]) =>
    `{${offsets.map((offset, partition) => `${topic}-${partition}=${offset}`).join(', ')}}`;

  it('hands every message to one Job, across a restart, and the bad one to the dead letters', async () => {
    const texts = [...Array.from({ length: 69 }, (_, n) => `task ${n}`), 'bad'];
    for (const [partition, part] of [texts.slice(0, 30), texts.slice(30, 35), texts.slice(35)].entries()) {
      await send(partition, ...part);
    }
    const world = modelWorld(systemClock);
    const first = await start(world);

    let created = 0;
    // The first group of a cluster waits for the topic that offsets are kept in, and nothing is claimed until then.
    await vi.waitFor(async () => {
      created += await first.fill();
      expect(created).toBe(70);
    }, 25_000);
    await first.run[Symbol.asyncDispose]();
    await first.close();
    const second = await start(world);
    finishAll(world);
    await settled(second.run);
    const again = await second.fill();

    expect([created, again]).toEqual([70, 0]);
    expect(textsOf(world)).toEqual(texts.sort());
    expect(await committed()).toBe(shown(30, 5, 35));
    expect(await kafka.tool('values', `${topic}-dlt`, 1)).toBe('bad');
    await second.run[Symbol.asyncDispose]();
    await second.close();
  }, 60_000);

  const crashes = ['claim', 'createJob', 'updateTask', 'acknowledge', 'deadLetter'].flatMap(call => [
    [call, 'before'] as const,
    [call, 'after'] as const,
  ]);

  it.each(crashes)(
    'loses and repeats nothing where a process dies at %s, %s it is carried out',
    async (fatal, when) => {
      const texts = ['one', 'two', 'three', 'bad'];
      await send(0, ...texts.slice(0, 2));
      await send(1, ...texts.slice(2));
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
      }, 25_000);
      await first.close();

      const second = await start(world);
      await vi.waitFor(async () => {
        await second.fill();
        finishAll(world);
        expect(await committed()).toBe(shown(2, 2, 0));
      }, 25_000);
      await settled(second.run);

      expect(textsOf(world)).toEqual([...texts].sort());
      expect(world.violations).toEqual([]);
      expect(await kafka.tool('values', `${topic}-dlt`, 1)).toBe('bad');
      await second.run[Symbol.asyncDispose]();
      await second.close();
    },
    60_000,
  );

  it('begins where it is told to, and keeps to it', async () => {
    await send(0, 'old');
    await using late = await opened({ offsetResetPolicy: 'latest' });

    const before = await late.texts(9);
    await send(0, 'new');

    expect([before, await committed()]).toEqual([[], shown(1, 0, 0)]);
    await using other = await opened({ offsetResetPolicy: 'earliest' });
    expect(await other.texts(9)).toEqual(['new']);
  });

  it('claims as many as it is asked for, each once, from all partitions', async () => {
    for (const partition of [0, 1, 2]) await send(partition, 'a', 'b', 'c', 'd');
    await using queue = await opened();

    const claims = [await queue.claim(5), await queue.claim(5), await queue.claim(5)];

    expect(claims.map(({ length }) => length)).toEqual([5, 5, 2]);
    expect(new Set(claims.flat().map(({ messageId }) => messageId)).size).toBe(12);
  });

  it('keeps what is done beyond one that is not, across a crash', async () => {
    await send(0, 'slow', 'one', 'two', 'three');
    {
      await using queue = await opened();
      const [, ...others] = await queue.claim(9);
      for (const claim of others.filter(({ receipt }) => !receipt.endsWith('/2')))
        await queue.acknowledge(claim);
    }

    await using queue = await opened();

    expect(await committed()).toBe(shown(0, 0, 0));
    expect(await queue.texts(9)).toEqual(['slow', 'two']);
  });

  it('hands out again what was given back, after its pause, and what nobody held on to', async () => {
    await send(0, 'a', 'b');
    await using queue = await opened();
    const now = Date.now();
    const [a, b] = await queue.claim(9, now);
    if (a === undefined || b === undefined) throw new Error('there are two');

    await queue.release(a, 5000);
    const soon = await queue.texts(9, now + 1000);
    const [later] = await queue.claim(9, now + 10_000);
    await queue.extend(b);

    expect(soon).toEqual([]);
    expect(later).toMatchObject({ messageId: a.messageId, deliveryCount: 2 });
    expect(await queue.texts(9, now + 59_000)).toEqual([]);
    expect(await queue.texts(9, now + 200_000)).toEqual(['a', 'b']);
  });

  it('says that a message is lost whose claim means nothing any more', async () => {
    await send(0, 'a');
    await using queue = await opened();
    const [a] = await queue.claim(1);
    if (a === undefined) throw new Error('there is one');

    await queue.acknowledge(a);
    await queue.acknowledge(a);

    expect(await faultFrom(queue.extend(a))).toMatchObject({ code: 'MESSAGE_LOST' });
    expect(await faultFrom(queue.release(a, 0))).toMatchObject({ code: 'MESSAGE_LOST' });
  });

  it('claims nothing while somebody else is in the group', async () => {
    await send(0, 'a');
    await using queue = await opened();
    const [a] = await queue.claim(1);
    if (a === undefined) throw new Error('there is one');
    await kafka.tool('join', consumerGroup, topic, 'classic');

    const faults = [await faultFrom(queue.claim(1)), await faultFrom(queue.acknowledge(a))];
    await kafka.tool('leave', consumerGroup);
    await queue.acknowledge(a);

    for (const fault of faults) {
      expect([fault.code, fault.message]).toEqual(['SOURCE_REFUSED', expect.stringContaining('for itself')]);
    }
    expect(await committed()).toBe(shown(1, 0, 0));
  });

  it('goes on from where the group was set back to', async () => {
    await send(0, 'a', 'b', 'c');
    await using queue = await opened();
    for (const claim of await queue.claim(9)) await queue.acknowledge(claim);

    await kafka.tool('commit', consumerGroup, topic, '0=1');

    expect(await queue.texts(9)).toEqual(['b', 'c']);
  });

  it('goes on from where Kafka has deleted to', async () => {
    await send(0, 'a', 'b', 'c');
    await using queue = await opened();
    const [a] = await queue.claim(1);
    if (a === undefined) throw new Error('there is one');

    await kafka.tool('trim', topic, 2);
    const texts = await queue.texts(9);
    await queue.deadLetter(a, Buffer.from('a'));

    expect(texts).toEqual(['c']);
    expect(await kafka.tool('values', `${topic}-dlt`, 1)).toBe('a');
  });

  it('sends a dead letter with its key and headers, and where it came from', async () => {
    await kafka.tool('compressed', 'none', topic, 'broken');
    await using queue = await opened();
    const [claim] = await queue.claim(1);
    if (claim === undefined) throw new Error('there is one');

    await queue.deadLetter(claim);

    expect((await kafka.tool('headers', `${topic}-dlt`)).split('\t')).toEqual([
      'trace=7',
      `eventide-original-topic=${topic}`,
      'eventide-original-partition=0',
      'eventide-original-offset=0',
      'eventide-attempts=5',
      'eventide-reason=its job failed',
    ]);
    expect(await committed()).toBe(shown(1, 0, 0));
  });

  const many = Array.from({ length: 500 }, (_, n) => `message ${n % 7} of the many, ${n}`);

  it.each(['none', 'gzip', 'snappy', 'lz4'])('reads what producers compress with %s', async codec => {
    await kafka.tool('compressed', codec, topic, ...many);
    await using queue = await opened();

    expect(await queue.texts(1000)).toEqual([...many].sort());
  });

  it('reads what producers compress with zstd where Node can, and says so where it cannot', async () => {
    await kafka.tool('compressed', 'zstd', topic, 'a');
    await using queue = await opened();
    const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

    const outcome = await queue.texts(9).catch((thrown: unknown) => thrown);

    const can = major > 22 || (major === 22 && minor >= 15);
    if (can) expect(outcome).toEqual(['a']);
    else expect(outcome).toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('zstd') });
  });

  it('leaves out what a transaction has given up, and its marks', async () => {
    await kafka.tool('transact', `${topic}-1`, 'commit', topic, 'kept one', 'kept two');
    await kafka.tool('transact', `${topic}-2`, 'abort', topic, 'given up');
    await kafka.tool('transact', `${topic}-2`, 'commit', topic, 'kept three');
    await using queue = await opened();

    const claims = await queue.claim(9);
    for (const claim of claims) await queue.acknowledge(claim);

    expect(claims.map(({ body }) => Buffer.from(body).toString())).toEqual([
      'kept one',
      'kept two',
      'kept three',
    ]);
    expect(await committed()).toBe(shown(7, 0, 0));
  });

  it('needs to know the topic', async () => {
    await using queue = await opened({ topic: '' });

    expect(await faultFrom(queue.claim(1))).toMatchObject({ code: 'NOT_SUPPORTED' });
  });
});
