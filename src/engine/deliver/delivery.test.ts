import { describe, expect, it } from 'vitest';
import { modelSource, type straight } from '../../../test/delivery-model.ts';
import { simulate } from '../../../test/delivery-simulation.ts';
import { sleep } from '../../base/clock.ts';
import { Fault } from '../../base/errors.ts';
import { silentLog } from '../../base/log.ts';
import { startDelivery } from './delivery.ts';
import { keepMs } from './ledger.ts';

const only = <T>(items: Iterable<T>): T => {
  const [item, ...more] = items;
  if (item === undefined || more.length > 0)
    throw new Error(`expected one item, got ${more.length + (item === undefined ? 0 : 1)}`);
  return item;
};

/** Fails a call a number of times before it goes through. */
function failing(name: string, times: number, fault = new Fault('SOURCE_FAILED', 'not now')) {
  let left = times;
  const calls: string[] = [];
  const around: typeof straight = async (called, call) => {
    calls.push(called);
    if (called === name && left > 0) {
      left -= 1;
      throw fault;
    }
    return call();
  };
  return { around, calls };
}

describe('a message that succeeds', () => {
  it('becomes one Job with its data, and is acknowledged after the Job has succeeded', async () => {
    const sim = simulate();
    sim.queue.send('m1', 'hello');
    const process = await sim.start();

    const created = await process.fill();
    const job = only(sim.world.jobs.values());
    const before = [...sim.queue.acknowledged];
    sim.world.finish(job.name, 'succeeded');
    await sim.clock.advance(0);

    expect(created).toBe(1);
    expect(job.name).toMatch(/^tasks-[0-9a-f]{16}-1$/);
    expect(job.request.env).toMatchObject({
      KEDA_TASK_DATA: 'hello',
      KEDA_TASK_ID: 'm1',
      KEDA_TASK_ATTEMPT: '1',
    });
    expect(before).toEqual([]);
    expect(sim.queue.acknowledged).toEqual(['m1']);
    expect(sim.world.jobs.get(job.name)?.task?.settled).toBe('acknowledged');
    expect(sim.settlements).toEqual([{ job: job.name, attempt: 1, messages: 1, outcome: 'acknowledged' }]);
  });

  it('is held for as long as its Job runs, with the newest receipt kept with the Job', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start();
    await process.fill();
    const job = only(sim.world.jobs.values());

    await sim.clock.advance(30 * 60_000);
    await process.fill();
    sim.world.finish(job.name, 'succeeded');
    await sim.clock.advance(0);

    expect(sim.world.jobs.size).toBe(1);
    expect(sim.queue.acknowledged).toEqual(['m1']);
  });

  it('is extended about half way through its lock, on one timer for all', async () => {
    const sim = simulate();
    const { around, calls } = failing('nothing', 0);
    for (const id of ['a', 'b', 'c']) sim.queue.send(id);
    const process = await sim.start(around);
    await process.fill();

    await sim.clock.advance(23_000);
    const early = calls.filter(call => call === 'extend').length;
    await sim.clock.advance(14_000);

    expect(early).toBe(0);
    expect(calls.filter(call => call === 'extend')).toHaveLength(3);
  });

  it('waits for an extension that is under way before it is acknowledged, since the receipt changes', async () => {
    const sim = simulate();
    let answer = () => {};
    const process = await sim.start(async (name, call) => {
      const result = call();
      if (name === 'extend') await new Promise<void>(resolve => (answer = () => resolve()));
      return result;
    });
    sim.queue.send('m1');
    await process.fill();
    await sim.clock.advance(31_000);

    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    await sim.clock.advance(0);
    const before = [...sim.queue.acknowledged];
    answer();
    await sim.clock.advance(0);

    expect(before).toEqual([]);
    expect(sim.queue.acknowledged).toEqual(['m1']);
  });

  it('is acknowledged again and again until the source takes it, its Job kept meanwhile', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start(failing('acknowledge', 6).around);
    await process.fill();
    const { name } = only(sim.world.jobs.values());
    sim.world.finish(name, 'succeeded');
    await sim.clock.advance(2000);

    process.clean();
    const kept = sim.world.jobs.has(name);
    await sim.clock.advance(60_000);
    process.clean();

    expect(kept).toBe(true);
    expect(sim.queue.acknowledged).toEqual(['m1']);
    expect(sim.world.jobs.size).toBe(0);
  });

  it('does not run again when the source hands it out twice', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start();
    await process.fill();
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    await sim.clock.advance(0);

    sim.queue.send('m1');
    await process.fill();
    await sim.clock.advance(0);

    expect(sim.world.jobs.size).toBe(1);
    expect(sim.queue.acknowledged).toEqual(['m1', 'm1']);
  });
});

describe('a message that fails', () => {
  it('is tried again after a pause that grows, and dead-lettered with its body after the last attempt', async () => {
    const sim = simulate();
    sim.script = () => ({ afterMs: 1000, state: 'failed' });
    sim.queue.send('bad', 'the body');
    const process = await sim.start();
    const createdAt: number[] = [];
    const { onCreate } = sim.world;
    sim.world.onCreate = job => {
      createdAt.push(sim.clock.elapsed());
      onCreate(job);
    };

    for (let second = 0; second < 60; second += 1) {
      await process.fill();
      process.clean();
      await sim.clock.advance(1000);
    }

    expect(createdAt).toEqual([0, 9000, 25_000]);
    expect(sim.queue.dead).toEqual([{ id: 'bad', body: 'the body', attempts: 3 }]);
    expect(sim.settlements.map(({ attempt, outcome }) => [attempt, outcome])).toEqual([
      [1, 'released'],
      [2, 'released'],
      [3, 'dead-lettered'],
    ]);
    process.clean();
    expect(sim.world.jobs.size).toBe(0);
  });

  it('keeps its failed Job until the next attempt exists, or for a day', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start();
    await process.fill();
    const first = only(sim.world.jobs.values());
    sim.world.finish(first.name, 'failed');
    await sim.clock.advance(0);

    const whileReleased = process.run.isProtected(first);
    await sim.clock.advance(10_000);
    await process.fill();
    const withNext = process.run.isProtected(first);

    expect([whileReleased, withNext]).toEqual([true, false]);
    const second = only([...sim.world.jobs.values()].filter(job => job !== first));
    expect(second.request.env['KEDA_TASK_ATTEMPT']).toBe('2');
    sim.world.finish(second.name, 'failed');
    await sim.clock.advance(0);
    expect(process.run.isProtected(second)).toBe(true);
    sim.clock.jump(keepMs + 1);
    expect(process.run.isProtected(second)).toBe(false);
  });

  it('is tried anew when somebody puts it back after it was dead-lettered', async () => {
    const sim = simulate({ delivery: { as: 'env', batchSize: 1, maxAttempts: 1 } });
    sim.queue.send('m1');
    const process = await sim.start();
    await process.fill();
    sim.world.finish(only(sim.world.jobs.values()).name, 'failed');
    await sim.clock.advance(0);

    sim.queue.send('m1');
    await process.fill();

    expect(sim.queue.dead).toHaveLength(1);
    expect([...sim.world.jobs.values()].map(job => job.task?.attempt)).toEqual([1, 2]);
  });

  it('does not count as failed when only we were restarted', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    for (let life = 0; life < 5; life += 1) {
      const process = await sim.start(async (name, call) =>
        name === 'createJob' ? new Promise(() => {}) : call(),
      );
      void process.fill();
      await sim.clock.advance(0);
      sim.kill();
      await sim.clock.advance(61_000);
    }

    const process = await sim.start();
    await process.fill();

    expect(only(sim.world.jobs.values()).task?.attempt).toBe(1);
  });
});

describe('a claim that is lost', () => {
  it('is taken up again with the new receipt while its Job runs', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start();
    await process.fill();
    const { name } = only(sim.world.jobs.values());

    sim.queue.letGo('m1');
    const created = await process.fill();
    await sim.clock.advance(10 * 60_000);
    sim.world.finish(name, 'succeeded');
    await sim.clock.advance(0);

    expect(created).toBe(0);
    expect(sim.world.jobs.size).toBe(1);
    expect(sim.queue.acknowledged).toEqual(['m1']);
  });

  it('is acknowledged when it comes back after its Job succeeded, the Job kept until then', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const lost = failing('acknowledge', 1, new Fault('MESSAGE_LOST', 'gone'));
    const process = await sim.start(lost.around);
    await process.fill();
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    await sim.clock.advance(0);
    process.clean();
    const { returning } = process.run.counts();

    await sim.clock.advance(60_000);
    await process.fill();
    await sim.clock.advance(0);
    process.clean();

    expect(returning).toBe(1);
    expect(sim.queue.acknowledged).toEqual(['m1']);
    expect(sim.world.succeeded).toEqual(['m1']);
    expect(sim.world.jobs.size).toBe(0);
  });

  it('is acknowledged at once with the new receipt, whatever the answer about the old one', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    let slow = true;
    const process = await sim.start(async (name, call) => {
      if (name === 'acknowledge' && slow) {
        slow = false;
        await sleep(sim.clock, 9000);
      }
      return call();
    });
    await process.fill();
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    await sim.clock.advance(1000);

    sim.queue.letGo('m1');
    await process.fill();
    await sim.clock.advance(8000);

    expect(sim.queue.acknowledged).toEqual(['m1']);
  });

  it('keeps the receipt it came back with when an older extension is answered late', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    let slow = true;
    const process = await sim.start(async (name, call) => {
      const answer = call();
      if (name === 'extend' && slow) {
        slow = false;
        await sleep(sim.clock, 9000);
      }
      return answer;
    });
    await process.fill();
    await sim.clock.advance(31_000);

    sim.queue.letGo('m1');
    await process.fill();
    await sim.clock.advance(8000);
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    await sim.clock.advance(0);

    expect(sim.queue.acknowledged).toEqual(['m1']);
  });

  it('is waited for no longer than a day', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start(failing('acknowledge', 1, new Fault('MESSAGE_LOST', 'gone')).around);
    await process.fill();
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');

    await sim.clock.advance(keepMs + 1000);
    process.clean();

    expect(sim.settlements.map(({ outcome }) => outcome)).toEqual(['lost']);
    expect(sim.world.jobs.size).toBe(0);
  });

  it('survives a source that is away for longer than the lock', async () => {
    const sim = simulate();
    let away = false;
    const process = await sim.start(async (name, call) => {
      if (away && name !== 'updateTask') throw new Fault('SOURCE_UNREACHABLE', 'away');
      return call();
    });
    sim.queue.send('m1');
    await process.fill();

    away = true;
    await sim.clock.advance(90_000);
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    await sim.clock.advance(30_000);
    away = false;
    await sim.clock.advance(60_000);

    expect(sim.queue.acknowledged).toEqual(['m1']);
    expect(sim.world.jobs.size).toBe(1);
  });
});

describe('a Job that cannot be created', () => {
  it('is tried again while the message is held', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start(failing('createJob', 12, new Fault('WORLD_FAILED', 'no room')).around);

    const created = await process.fill();
    await sim.clock.advance(10 * 60_000);

    expect(created).toBe(0);
    expect(only(sim.world.jobs.values()).task?.attempt).toBe(1);
    expect(process.run.counts().unfinished).toBe(1);
  });

  it('has the receipt kept with it that changed while it was being created', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start(async (name, call) => {
      if (name === 'createJob') await sleep(sim.clock, 35_000);
      return call();
    });
    void process.fill();
    await sim.clock.advance(36_000);

    const next = await sim.start();
    await sim.clock.advance(0);

    expect(next.run.counts()).toMatchObject({ unfinished: 1, returning: 0 });
  });

  it('is not created twice when the answer to the first request was lost', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    let lost = false;
    const process = await sim.start(async (name, call) => {
      const result = call();
      if (name !== 'createJob' || lost) return result;
      lost = true;
      throw new Fault('WORLD_FAILED', 'no answer');
    });
    await process.fill();
    const { name } = only(sim.world.jobs.values());
    // A change that nobody told us of: the list is asked when the Job turns out to exist.
    const { onChange } = sim.world;
    sim.world.onChange = () => {};
    sim.world.finish(name, 'succeeded');
    sim.world.onChange = onChange;

    await sim.clock.advance(5000);

    expect(sim.world.jobs.size).toBe(1);
    expect(sim.queue.acknowledged).toEqual(['m1']);
  });
});

describe('a Job that is deleted by hand', () => {
  it('gives its message back, without counting an attempt', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start();
    await process.fill();

    sim.world.remove(only(sim.world.jobs.values()).name);
    await sim.clock.advance(0);
    const counts = process.run.counts();
    await process.fill();

    expect(counts).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 });
    expect(only(sim.world.jobs.values()).task?.attempt).toBe(1);
  });
});

describe('what is remembered', () => {
  it('is no more than the world has Jobs for', async () => {
    const sim = simulate();
    sim.script = job => ({ afterMs: 1000, state: job.task?.attempt === 1 ? 'failed' : 'succeeded' });
    const process = await sim.start();
    for (let second = 0; second < 60; second += 1) {
      if (second < 20) sim.queue.send(`m${second}`);
      await process.fill();
      await sim.clock.advance(1000);
      process.clean();
    }

    sim.queue.send('m1');
    await process.fill();

    // Nobody knows any more that this one was done: to the ledger it is new.
    expect(sim.queue.acknowledged).toHaveLength(20);
    expect(only(sim.world.jobs.values()).task?.attempt).toBe(1);
  });
});

describe('slots', () => {
  it('never has more unfinished Jobs than maxReplicaCount, and refills as Jobs end', async () => {
    const sim = simulate({ maxReplicaCount: 3 });
    sim.script = () => ({ afterMs: 1000, state: 'succeeded' });
    for (let n = 0; n < 20; n += 1) sim.queue.send(`m${n}`);
    let most = 0;
    const { onCreate } = sim.world;
    sim.world.onCreate = job => {
      onCreate(job);
      most = Math.max(most, [...sim.world.jobs.values()].filter(one => one.finishedAt === undefined).length);
    };
    const process = await sim.start();

    await process.fill();
    await sim.clock.advance(8000);

    expect(most).toBe(3);
    expect(sim.queue.acknowledged).toHaveLength(20);
  });

  it('counts Jobs that carry no message', async () => {
    const sim = simulate({ maxReplicaCount: 2 });
    await sim.world.port().createJob(sim.workload, { name: 'plain', env: {} }, AbortSignal.timeout(1000));
    for (const id of ['a', 'b', 'c']) sim.queue.send(id);
    const process = await sim.start();

    const created = await process.fill();
    sim.world.finish('plain', 'succeeded');
    await process.fill();

    expect(created).toBe(1);
    expect(sim.world.jobs.size).toBe(3);
  });

  it('are shared fairly among the sources, and go to one alone when the others have nothing', async () => {
    const sim = simulate({ maxReplicaCount: 9 }, ['a', 'b', 'c']);
    const [a, b, c] = sim.queues;
    for (let n = 0; n < 20; n += 1) {
      a?.send(`a${n}`);
      b?.send(`b${n}`);
    }
    c?.send('c0');
    const process = await sim.start();

    await process.fill();

    const ids = [...sim.world.jobs.values()].flatMap(sim.messagesOf);
    const from = (name: string) => ids.filter(id => id.startsWith(name)).length;
    expect(ids).toHaveLength(9);
    expect(from('a')).toBeGreaterThanOrEqual(3);
    expect(from('b')).toBeGreaterThanOrEqual(3);
    expect(from('c')).toBe(1);
  });

  it('lets many calls to fill share one claim', async () => {
    const sim = simulate({ maxReplicaCount: 50 });
    for (let n = 0; n < 5; n += 1) sim.queue.send(`m${n}`);
    const { around, calls } = failing('nothing', 0);
    const process = await sim.start(around);

    const created = await Promise.all(Array.from({ length: 20 }, () => process.fill()));

    // The first finds five and then none, the shared next one finds none.
    expect(calls.filter(call => call === 'claim')).toHaveLength(3);
    expect(created[0]).toBe(5);
  });

  it('refuses to fill before it knows the Jobs there are', async () => {
    const sim = simulate();
    const run = startDelivery(sim.workload, [], {
      world: sim.world.port(),
      clock: sim.clock,
      log: silentLog,
    });

    await expect(run.fill(new AbortController().signal)).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  it('refuses a source that has no claims', () => {
    const sim = simulate();
    const source = modelSource(sim.queue, sim.clock);
    const { deliver: _, ...scaler } = source.trigger.scaler;
    const without = { ...source, trigger: { ...source.trigger, scaler } };

    const start = () =>
      startDelivery(sim.workload, [without], { world: sim.world.port(), clock: sim.clock, log: silentLog });

    expect(start).toThrowError(expect.objectContaining({ code: 'NOT_SUPPORTED' }));
  });
});

describe('batches', () => {
  const batched = { delivery: { as: 'env' as const, batchSize: 3, maxAttempts: 3 }, maxReplicaCount: 2 };

  it('hands up to batchSize messages to a Job, and settles all with it', async () => {
    const sim = simulate(batched);
    sim.script = () => ({ afterMs: 1000, state: 'succeeded' });
    for (const id of ['a', 'b', 'c', 'd']) sim.queue.send(id);
    const process = await sim.start();

    await process.fill();
    const data = [...sim.world.jobs.values()].map(job => job.request.env['KEDA_TASK_DATA']);
    await sim.clock.advance(1000);

    expect(data).toEqual(['["a","b","c"]', '["d"]']);
    expect(sim.queue.acknowledged.sort()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('tries the messages of a failed batch one by one, within the slots', async () => {
    const sim = simulate(batched);
    sim.script = job => ({
      afterMs: 1000,
      state: sim.messagesOf(job).includes('bad') ? 'failed' : 'succeeded',
    });
    for (const id of ['a', 'bad', 'c']) sim.queue.send(id);
    const process = await sim.start();
    let most = 0;
    for (let second = 0; second < 120; second += 1) {
      await process.fill();
      most = Math.max(most, [...sim.world.jobs.values()].filter(job => job.finishedAt === undefined).length);
      await sim.clock.advance(1000);
      process.clean();
    }

    expect(most).toBe(2);
    expect(sim.queue.acknowledged.sort()).toEqual(['a', 'c']);
    expect(sim.queue.dead.map(({ id, attempts }) => [id, attempts])).toEqual([['bad', 3]]);
    expect(sim.world.violations).toEqual([]);
  });

  it('re-attaches and acknowledges each message by itself when a batch comes back in other groups', async () => {
    const sim = simulate(batched);
    for (const id of ['a', 'b', 'c']) sim.queue.send(id);
    await (await sim.start()).fill();
    const { name } = only(sim.world.jobs.values());
    // A crash; the lock of one ends at once, those of the others after the Job has succeeded.
    const second = await sim.start(async (call, work) => {
      if (call === 'extend') throw new Fault('MESSAGE_LOST', 'the receipt was not the newest');
      return work();
    });
    sim.queue.letGo('b');
    await second.fill();
    const running = sim.world.jobs.size;
    sim.world.finish(name, 'succeeded');
    await sim.clock.advance(0);
    sim.queue.send('d');

    await sim.clock.advance(61_000);
    await second.fill();
    await sim.clock.advance(0);

    expect(running).toBe(1);
    expect(sim.queue.acknowledged.sort()).toEqual(['a', 'b', 'c']);
    expect([...sim.world.jobs.values()].map(sim.messagesOf)).toEqual([['a', 'b', 'c'], ['d']]);
  });
});

describe('after a restart', () => {
  it('extends the claims of Jobs that run at once, and goes on', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    await (await sim.start()).fill();
    const { around, calls } = failing('nothing', 0);

    const process = await sim.start(around);
    await sim.clock.advance(0);
    const atOnce = calls.filter(call => call === 'extend').length;
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    await sim.clock.advance(0);

    expect(atOnce).toBe(1);
    expect(process.run.counts().unfinished).toBe(0);
    expect(sim.queue.acknowledged).toEqual(['m1']);
  });

  it('settles what finished meanwhile', async () => {
    const sim = simulate();
    for (const id of ['good', 'bad']) sim.queue.send(id);
    await (await sim.start()).fill();
    sim.kill();
    for (const job of sim.world.jobs.values()) {
      sim.world.finish(job.name, sim.messagesOf(job).includes('good') ? 'succeeded' : 'failed');
    }

    await sim.start();
    await sim.clock.advance(0);

    expect([...sim.world.jobs.values()].map(job => job.task?.settled).sort()).toEqual([
      'acknowledged',
      'released',
    ]);
    expect(sim.queue.acknowledged).toEqual(['good']);
  });

  it('does not release for an older Job what a newer one has', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    await (await sim.start()).fill();
    const [first] = sim.world.jobs.values();
    sim.world.finish(first?.name ?? '', 'failed');
    await sim.clock.advance(10_000);
    await (await sim.start()).fill();
    // The release was not kept with the first Job before the crash.
    if (first?.task !== undefined) delete first.task.settled;
    const { around, calls } = failing('nothing', 0);

    await sim.start(around);
    await sim.clock.advance(0);

    expect(sim.world.jobs.size).toBe(2);
    expect(calls).not.toContain('release');
    expect(first?.task?.settled).toBe('lost');
  });

  it('leaves Jobs alone whose trigger is no longer there, and lets them go when they end', async () => {
    const sim = simulate();
    for (const id of ['a', 'b']) sim.queue.send(id);
    await (await sim.start()).fill();
    sim.kill();
    const run = startDelivery(sim.workload, [], {
      world: sim.world.port(),
      clock: sim.clock,
      log: silentLog,
    });
    sim.world.onChange = job => run.jobChanged(job);
    const [one, other] = [...sim.world.jobs.keys()];

    run.resume([...sim.world.jobs.values()]);
    const { unfinished } = run.counts();
    sim.world.finish(one ?? '', 'failed');
    sim.world.finish(other ?? '', 'succeeded');
    await sim.clock.advance(0);
    const soon = [one, other].map(name => sim.world.jobs.get(name ?? '')?.task?.settled);
    await sim.clock.advance(keepMs);

    expect(unfinished).toBe(2);
    expect(soon).toEqual(['lost', undefined]);
    expect(sim.world.jobs.get(other ?? '')?.task?.settled).toBe('lost');
  });
});

describe('shutting down', () => {
  it('gives back what has no Job and leaves what runs', async () => {
    const sim = simulate();
    const process = await sim.start(failing('createJob', 1, new Fault('WORLD_FAILED', 'no room')).around);
    sim.queue.send('homeless');
    await process.fill();
    sim.queue.send('runs');
    await process.fill();

    await process.run[Symbol.asyncDispose]();
    await process.run[Symbol.asyncDispose]();
    await sim.clock.advance(59_000);
    const next = await sim.start();
    const created = await next.fill();

    // The one that was given back is there at once, and the claim of the other still holds.
    expect(created).toBe(1);
    expect([...sim.world.jobs.values()].flatMap(sim.messagesOf).sort()).toEqual(['homeless', 'runs']);
  });

  it('gives back what a claim brings that was under way', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    let answer = () => {};
    const process = await sim.start(async (name, call) => {
      const result = call();
      if (name === 'claim') await new Promise<void>(resolve => (answer = resolve));
      return result;
    });
    const filling = process.fill();
    await sim.clock.advance(0);

    const closing = process.run[Symbol.asyncDispose]();
    answer();
    await closing;

    expect(await filling).toBe(0);
    expect(sim.world.jobs.size).toBe(0);
    expect(await (await sim.start()).fill()).toBe(1);
  });

  it('waits a few seconds for a call that hangs, and no longer', async () => {
    const sim = simulate();
    sim.queue.send('m1');
    const process = await sim.start(async (name, call) =>
      name === 'acknowledge' ? new Promise(() => {}) : call(),
    );
    await process.fill();
    sim.world.finish(only(sim.world.jobs.values()).name, 'succeeded');
    let closed = false;

    const closing = process.run[Symbol.asyncDispose]().then(() => {
      closed = true;
    });
    await sim.clock.advance(4000);
    const early = closed;
    await sim.clock.advance(1000);
    await closing;

    expect(early).toBe(false);
  });
});
