import { beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { silentLog } from '../src/base/log.ts';
import { type DeliveryRun, startDelivery } from '../src/engine/deliver/delivery.ts';
import type { DeliverySource } from '../src/engine/deliver/source.ts';
import type { BoundRead } from '../src/scaler/bind.ts';
import type { Scaler } from '../src/scaler/define.ts';
import type { Claim, Delivery, Receipt } from '../src/scaler/delivery.ts';
import { type Around, type ModelWorld, modelWorld, scaledJob, straight } from './delivery-model.ts';
import { type Given, mustBind, openContext, readContext } from './scaler-contract.ts';

/** A queue at a real server that messages are delivered from. */
export interface DeliveredQueue {
  scaler: Scaler;
  /** Makes the queue anew, with nothing in it. */
  empty(): Promise<void>;
  /** The trigger on it. */
  given(): Given;
  send(text: string): Promise<unknown>;
  /** As if every claim had ended; those that were ever made are given. */
  pass(receipts: readonly Receipt[]): Promise<void>;
  /** How many messages are not settled. */
  left(): Promise<number>;
  /** The texts that were dead-lettered. */
  poison(): Promise<string[]>;
  /** The source copies dead letters and deletes the message then: a process that dies in between leaves two copies. */
  copiesDeadLetters?: boolean;
}

const verbs = ['claim', 'extend', 'acknowledge', 'release', 'deadLetter'] as const;

/** The delivery of a scaler with something around each of its calls, and every receipt noted. */
function watched(
  delivery: Delivery<unknown, unknown>,
  around: Around,
  receipts: Receipt[],
): Delivery<unknown, unknown> {
  const wrapped = verbs.map(verb => {
    const call = async (...args: unknown[]) => {
      const answer = await (delivery[verb] as (...given: unknown[]) => Promise<unknown>)(...args);
      if (verb === 'claim') receipts.push(...(answer as Claim[]).map(({ receipt }) => receipt));
      if (verb === 'extend') receipts.push((answer as { receipt: Receipt }).receipt);
      return answer;
    };
    return [verb, (...args: unknown[]) => around(verb, () => call(...args)).then(answer => answer)];
  });
  return { ...delivery, ...Object.fromEntries(wrapped) };
}

/**
 * The cases that the delivery of every source passes, together with the engine: each message becomes one Job, whatever
 * process of ours dies at whatever call.
 */
export function deliveryContract(queue: DeliveredQueue): void {
  const receipts: Receipt[] = [];

  /** One process of ours, with a connection of its own. */
  async function start(world: ModelWorld, around: Around = straight, maxAttempts = 1) {
    const bound = mustBind(queue.scaler, queue.given());
    const deliver = watched(bound.scaler.deliver as Delivery<unknown, unknown>, around, receipts);
    const scaler = { ...bound.scaler, deliver };
    const trigger: BoundRead = { ...bound, scaler };
    const { signal } = new AbortController();
    const conn = await scaler.open(trigger.params, openContext(signal));
    const source: DeliverySource = {
      trigger,
      use: (work, limit) => work({ ...readContext(conn, limit), now: Date.now(), namespace: 'shop' }),
    };
    const delivery = { as: 'env', batchSize: 1, maxAttempts } as const;
    const workload = scaledJob({ maxReplicaCount: 100, delivery });
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

  const patience = { timeout: 15_000, interval: 50 };
  const settled = (run: DeliveryRun) =>
    vi.waitFor(
      () => expect(run.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 }),
      patience,
    );

  /** Lets every claim end, so that nobody waits for that; but none that is being settled at this moment. */
  async function pass(run: DeliveryRun): Promise<void> {
    if (run.counts().settling === 0) await queue.pass(receipts);
  }

  describe('with the engine', () => {
    beforeEach(async () => {
      receipts.length = 0;
      await queue.empty();
    });

    it('hands every message to one Job, across a restart, and the bad one to the dead letters', async () => {
      const texts = [...Array.from({ length: 70 }, (_, n) => `task ${n}`), 'bad'];
      for (const text of texts) await queue.send(text);
      const world = modelWorld(systemClock);
      const first = await start(world);

      const created = await first.fill();
      await first.end();
      const second = await start(world);
      await vi.waitFor(async () => {
        finishAll(world);
        // What it takes to dead-letter may have been lost with the first process: then the message comes back.
        await second.fill();
        expect(await queue.left()).toBe(0);
      }, patience);
      await settled(second.run);

      expect(created).toBe(71);
      expect(textsOf(world)).toEqual([...texts].sort());
      expect(await queue.poison()).toEqual(['bad']);
      await second.end();
    });

    it('tries a message again whose Job failed, and dead-letters it after the last attempt', async () => {
      for (const text of ['one', 'bad']) await queue.send(text);
      const world = modelWorld(systemClock);
      const { run, fill, end } = await start(world, straight, 3);

      await vi.waitFor(async () => {
        await fill();
        finishAll(world);
        await pass(run);
        expect(await queue.poison()).toEqual(['bad']);
      }, patience);
      await settled(run);

      expect(textsOf(world)).toEqual(['bad', 'bad', 'bad', 'one']);
      expect(world.violations).toEqual([]);
      expect(await queue.left()).toBe(0);
      await end();
    });

    const crashes = ['claim', 'createJob', 'updateTask', 'acknowledge', 'deadLetter'].flatMap(call => [
      [call, 'before'] as const,
      [call, 'after'] as const,
    ]);

    it.each(crashes)(
      'loses and repeats nothing where a process dies at %s, %s it is carried out',
      async (fatal, when) => {
        const texts = ['one', 'two', 'three', 'bad'];
        for (const text of texts) await queue.send(text);
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
        }, patience);
        await first.close();

        const second = await start(world);
        await vi.waitFor(async () => {
          await pass(second.run);
          await second.fill();
          finishAll(world);
          expect(await queue.left()).toBe(0);
        }, patience);
        await settled(second.run);

        expect(textsOf(world)).toEqual([...texts].sort());
        expect(world.violations).toEqual([]);
        const letters = await queue.poison();
        expect(queue.copiesDeadLetters ? [...new Set(letters)] : letters).toEqual(['bad']);
        await second.end();
      },
    );
  });
}
