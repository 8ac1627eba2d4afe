import { beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
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
  /** The text that was sent, of what a Job is given; that is the text itself unless said otherwise. */
  textOf?(data: string): string;
  /** As if every claim had ended; those that were ever made are given. */
  pass(receipts: readonly Receipt[]): Promise<unknown>;
  /** How many messages are not settled. */
  left(): Promise<number>;
  /** The texts that were dead-lettered. */
  poison(): Promise<string[]>;
  /** The source copies dead letters and deletes the message then: a process that dies in between leaves two copies. */
  copiesDeadLetters?: boolean;
  /**
   * The source does not tell a message that is gone from one that somebody else holds: where a process dies before it
   * has heard of an acknowledgement, the next one waits for the message in vain.
   */
  forgets?: boolean;
}

const verbs = ['claim', 'extend', 'acknowledge', 'release', 'deadLetter'] as const;

/** The delivery of a scaler with something around each of its calls, and every claim and extension noted. */
function watched(
  delivery: Delivery<unknown, unknown>,
  around: Around,
  note: (held: { receipt: Receipt; messageId?: string }) => void,
): Delivery<unknown, unknown> {
  const wrapped = verbs.map(verb => {
    const call = async (...args: unknown[]) => {
      const answer = await (delivery[verb] as (...given: unknown[]) => Promise<unknown>)(...args);
      if (verb === 'claim') for (const claim of answer as Claim[]) note(claim);
      if (verb === 'extend') note(answer as { receipt: Receipt });
      return answer;
    };
    return [verb, (...args: unknown[]) => around(verb, () => call(...args)).then(answer => answer)];
  });
  return { ...delivery, ...Object.fromEntries(wrapped) };
}

interface ProcessOptions {
  maxAttempts?: number;
  maxReplicaCount?: number;
  around?: Around;
  /** It dies at the first call of this name. */
  dies?: { at: string; when: 'before' | 'after' };
  /** Told of every claim and every extension. */
  note?(held: { receipt: Receipt; messageId?: string }): unknown;
}

type DeliveryProcess = Awaited<ReturnType<typeof startProcess>>;

/** One process of ours that delivers from a queue, with a connection of its own. */
export async function startProcess(
  { scaler: plain, given }: Pick<DeliveredQueue, 'scaler' | 'given'>,
  world: ModelWorld,
  { maxAttempts = 1, maxReplicaCount = 100, around = straight, dies, note = () => {} }: ProcessOptions = {},
) {
  let dead = false;
  // A dead process says nothing more, and hears nothing.
  const mortal: Around = async (name, call) => {
    const dying = !dead && name === dies?.at;
    if (!dead && (!dying || dies?.when === 'after')) {
      const [outcome] = await Promise.allSettled([around(name, call)]);
      dead ||= dying;
      if (!dead && outcome.status === 'rejected') throw outcome.reason;
      if (!dead && outcome.status === 'fulfilled') return outcome.value;
    }
    dead ||= dying;
    return await new Promise<never>(() => {});
  };
  const bound = mustBind(plain, given());
  const deliver = watched(bound.scaler.deliver as Delivery<unknown, unknown>, mortal, note);
  const scaler = { ...bound.scaler, deliver };
  const trigger: BoundRead = { ...bound, scaler };
  const { signal } = new AbortController();
  const conn = await scaler.open(trigger.params, openContext(signal));
  const source: DeliverySource = {
    trigger,
    use: (work, limit) => work({ ...readContext(conn, limit), now: Date.now(), namespace: 'shop' }),
  };
  const workload = scaledJob({ maxReplicaCount, delivery: { as: 'env', batchSize: 1, maxAttempts } });
  const deps = { world: world.port(mortal), clock: systemClock, log: silentLog };
  const run = startDelivery(workload, [source], deps);
  run.resume(await world.port().listJobs(workload, signal));
  world.onChange = job => run.jobChanged(job);
  world.onDelete = name => run.jobDeleted(name);
  return {
    run,
    fill: () => run.fill(signal),
    isDead: () => dead,
    /** What it did not say until now it never will. */
    async kill() {
      dead = true;
      world.onChange = () => {};
      world.onDelete = () => {};
      await scaler.close(conn);
    },
    async end() {
      await run[Symbol.asyncDispose]();
      await scaler.close(conn);
    },
  };
}

const patience = { timeout: 15_000, interval: 50 };

/**
 * The cases that the delivery of every source passes, together with the engine: each message becomes one Job, whatever
 * process of ours dies at whatever call.
 */
export function deliveryContract(queue: DeliveredQueue): void {
  const receipts: Receipt[] = [];
  const { textOf = data => data } = queue;

  const start = (world: ModelWorld, options: ProcessOptions = {}) =>
    startProcess(queue, world, {
      ...options,
      note(held) {
        receipts.push(held.receipt);
        options.note?.(held);
      },
    });

  const textOfJob = ({ request }: { request: { env: Record<string, string> } }) =>
    textOf(request.env['KEDA_TASK_DATA'] ?? '');

  const textsOf = (world: ModelWorld) => [...world.jobs.values()].map(textOfJob).sort();

  function finish(world: ModelWorld, which: (text: string) => boolean = () => true): void {
    for (const job of world.jobs.values()) {
      const text = textOfJob(job);
      if (which(text)) world.finish(job.name, text === 'bad' ? 'failed' : 'succeeded');
    }
  }

  async function send(texts: readonly string[]): Promise<void> {
    for (const text of texts) await queue.send(text);
    await vi.waitFor(async () => expect(await queue.left()).toBe(texts.length), patience);
  }

  /** @param unheard a process may have died that acknowledged, and did not hear that it had */
  const settled = (run: DeliveryRun, unheard = false) =>
    vi.waitFor(() => {
      const { returning, ...others } = run.counts();
      expect(others).toEqual({ unfinished: 0, waiting: 0, settling: 0 });
      if (!(unheard && queue.forgets)) expect(returning).toBe(0);
    }, patience);

  /** Lets every claim end, so that nobody waits for that; but none that is being settled at this moment. */
  async function pass(run: DeliveryRun): Promise<void> {
    if (run.counts().settling === 0) await queue.pass(receipts);
  }

  /** Goes on until nothing is left, with Jobs that end at once and claims that end before they could be extended. */
  async function finishAll(
    world: ModelWorld,
    { run, fill }: DeliveryProcess,
    unheard = false,
  ): Promise<void> {
    await vi.waitFor(async () => {
      await pass(run);
      await fill();
      finish(world);
      expect(await queue.left()).toBe(0);
    }, patience);
    await settled(run, unheard);
  }

  describe('with the engine', () => {
    beforeEach(async () => {
      receipts.length = 0;
      await queue.empty();
    });

    it('hands every message to one Job, across a restart, and the bad one to the dead letters', async () => {
      const texts = [...Array.from({ length: 70 }, (_, n) => `task ${n}`), 'bad'];
      await send(texts);
      const world = modelWorld(systemClock);
      const first = await start(world, { maxReplicaCount: 40 });

      const created = await first.fill();
      await first.end();
      const second = await start(world, { maxReplicaCount: 40 });
      await vi.waitFor(async () => {
        finish(world);
        // What it takes to dead-letter may have been lost with the first process: then the message comes back.
        await second.fill();
        expect(await queue.left()).toBe(0);
      }, patience);
      await settled(second.run);

      expect(created).toBe(40);
      expect(textsOf(world)).toEqual([...texts].sort());
      expect(await queue.poison()).toEqual(['bad']);
      await second.end();
    });

    it('tries a message again whose Job failed, and dead-letters it after the last attempt', async () => {
      await send(['one', 'bad']);
      const world = modelWorld(systemClock);
      const process = await start(world, { maxAttempts: 3 });

      await finishAll(world, process);

      expect(textsOf(world)).toEqual(['bad', 'bad', 'bad', 'one']);
      expect(world.violations).toEqual([]);
      expect(await queue.poison()).toEqual(['bad']);
      await process.end();
    });

    it('knows a message that is handed out again while its Job runs, or has succeeded, and runs it no more', async () => {
      const texts = ['running', 'running', 'succeeded', 'succeeded'];
      await send(texts);
      const world = modelWorld(systemClock);
      const first = await start(world);
      await first.fill();
      await first.kill();
      finish(world, text => text === 'succeeded');
      const ids = [...world.jobs.values()].map(({ task }) => task?.messages[0]?.id);
      const handedOut = new Set<string>();
      let extensions = 0;

      const second = await start(world, {
        maxAttempts: 3,
        note: ({ messageId }) => messageId !== undefined && handedOut.add(messageId),
        async around(name, call) {
          const late = handedOut.size < texts.length && (name === 'extend' || name === 'acknowledge');
          if (!late) return await call();
          // Of some claims nobody says that they are lost.
          extensions += name === 'extend' ? 1 : 0;
          const code = name === 'extend' && extensions % 2 === 0 ? 'SOURCE_UNREACHABLE' : 'MESSAGE_LOST';
          throw new Fault(code, 'no claim of the dead process can be used');
        },
      });
      await vi.waitFor(async () => {
        await pass(second.run);
        await second.fill();
        expect([...handedOut]).toEqual(expect.arrayContaining(ids));
      }, patience);
      await finishAll(world, second);

      expect(new Set(ids).size).toBe(4);
      expect(textsOf(world)).toEqual(texts);
      expect(world.violations).toEqual([]);
      expect(await queue.poison()).toEqual([]);
      await second.end();
    });

    it('gives a message back whose Job is deleted by hand, so that it gets another one', async () => {
      await send(['one', 'two']);
      const world = modelWorld(systemClock);
      const process = await start(world);
      await process.fill();

      for (const { name } of [...world.jobs.values()]) world.remove(name);
      await vi.waitFor(async () => {
        await process.fill();
        expect(textsOf(world)).toEqual(['one', 'two']);
      }, patience);
      await finishAll(world, process);

      expect(textsOf(world)).toEqual(['one', 'two']);
      expect(await queue.poison()).toEqual([]);
      await process.end();
    });

    it.each(['before', 'after'] as const)(
      'loses none of them where a process dies %s it gives them back',
      async when => {
        await send(['one', 'two']);
        const world = modelWorld(systemClock);
        const first = await start(world, { dies: { at: 'release', when } });
        await first.fill();
        for (const { name } of [...world.jobs.values()]) world.remove(name);
        await vi.waitFor(() => expect(first.isDead()).toBe(true), patience);
        await first.kill();

        const second = await start(world);
        await finishAll(world, second);

        expect(textsOf(world)).toEqual(['one', 'two']);
        expect(await queue.poison()).toEqual([]);
        await second.end();
      },
    );

    const calls = ['claim', 'createJob', 'updateTask', 'extend', 'acknowledge', 'release', 'deadLetter'];
    const crashes = calls.flatMap(call => [[call, 'before'] as const, [call, 'after'] as const]);

    it.each(crashes)(
      'loses and repeats nothing where a process dies at %s, %s it is carried out',
      async (at, when) => {
        const texts = ['one', 'two', 'two', 'bad'];
        await send(texts);
        const world = modelWorld(systemClock);
        // A Job that fails is tried again only where its message may be released.
        const maxAttempts = at === 'release' ? 2 : 1;
        if (at === 'extend') {
          // A process extends at once what it takes up from another that died while the Jobs ran.
          const earlier = await start(world);
          await earlier.fill();
          await earlier.kill();
        }
        const first = await start(world, { dies: { at, when }, maxAttempts });
        void first.fill();
        await vi.waitFor(() => {
          if (at !== 'extend') finish(world);
          expect(first.isDead()).toBe(true);
        }, patience);
        await first.kill();

        const second = await start(world, { maxAttempts });
        await finishAll(world, second, true);

        expect(textsOf(world)).toEqual([...texts, ...(at === 'release' ? ['bad'] : [])].sort());
        expect(world.violations).toEqual([]);
        const letters = await queue.poison();
        expect(queue.copiesDeadLetters ? [...new Set(letters)] : letters).toEqual(['bad']);
        await second.end();
      },
    );
  });
}
