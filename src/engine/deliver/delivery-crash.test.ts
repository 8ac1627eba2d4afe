import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Around, straight } from '../../../test/delivery-model.ts';
import { type Process, type Simulation, simulate } from '../../../test/delivery-simulation.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { Fault, never } from '../../base/errors.ts';
import type { DeliverySpec } from '../../spec/workload.ts';

type Moment = 'before it' | 'after it';

/** A process that is killed at its n-th call to the source or the world: before it was carried out, or after. */
function dyingAt(step: number, moment: Moment, die: () => void): { around: Around; steps: () => number } {
  let steps = 0;
  const around: Around = async (_name, call) => {
    steps += 1;
    if (steps !== step) return call();
    if (moment === 'after it') call();
    die();
    return await new Promise<never>(() => {});
  };
  return { around, steps: () => steps };
}

const good = ['g1', 'g2', 'g3', 'g4'];

/** Good messages, one that fails once, and one that always fails; Jobs end by themselves. */
function workToDo(spec: Partial<DeliverySpec> = {}): Simulation {
  const delivery: DeliverySpec = { as: 'env', batchSize: 1, maxAttempts: 3, ...spec };
  const sim = simulate({ maxReplicaCount: 3, delivery });
  sim.script = job => {
    const ids = sim.messagesOf(job);
    const fails = ids.includes('bad') || (ids.includes('flaky') && !sim.world.failed.includes('flaky'));
    return { afterMs: ids.includes('g2') ? 75_000 : 2000, state: fails ? 'failed' : 'succeeded' };
  };
  for (const id of [...good, 'flaky', 'bad']) sim.queue.send(id);
  return sim;
}

/** Polls as an engine does, with history limits of zero, until the queue is empty and all Jobs are gone. */
async function work(sim: Simulation, process: () => Process | undefined, forMs: number): Promise<void> {
  const end = sim.clock.elapsed() + forMs;
  while (sim.clock.elapsed() < end && (sim.queue.waiting > 0 || sim.world.jobs.size > 0)) {
    void process()?.fill();
    await sim.clock.advance(1000);
    process()?.clean();
  }
}

/** Everything from the first claim to the last settlement, with one death on the way. @returns the calls made */
async function liveDieAndLiveAgain(sim: Simulation, step: number, moment: Moment): Promise<number> {
  let current: Process | undefined;
  const mortal = dyingAt(step, moment, () => {
    sim.kill();
    current = undefined;
    sim.clock.after(3000, () => {
      void sim.start().then(process => {
        current = process;
      });
    });
  });
  void sim.start(mortal.around).then(process => {
    current = process;
  });
  await work(sim, () => current, 15 * 60_000);
  return mortal.steps();
}

describe.each([1, 3])('a process that is killed, with up to %d messages per Job', batchSize => {
  it('has every message done once, wherever it is killed', async () => {
    const calls = await liveDieAndLiveAgain(workToDo({ batchSize }), Number.POSITIVE_INFINITY, 'after it');
    expect(calls).toBeGreaterThan(25);

    for (let step = 1; step <= calls; step += 1) {
      for (const moment of ['before it', 'after it'] as const) {
        const sim = workToDo({ batchSize });

        await liveDieAndLiveAgain(sim, step, moment);

        const where = `killed at call ${step}, ${moment}`;
        expect(sim.world.violations, where).toEqual([]);
        expect(sim.world.succeeded.sort(), where).toEqual(['flaky', ...good].sort());
        expect(sim.queue.acknowledged.sort(), where).toEqual(['flaky', ...good].sort());
        expect(
          sim.queue.dead.map(({ id }) => id),
          where,
        ).toEqual(['bad']);
        expect(
          sim.world.failed.filter(id => id === 'bad'),
          where,
        ).toHaveLength(3);
        expect(sim.queue.waiting, where).toBe(0);
      }
    }
  });
});

type Deed =
  | { deed: 'wait'; ms: number }
  | { deed: 'send'; count: number }
  | { deed: 'end'; pick: number; state: 'succeeded' | 'failed' }
  | { deed: 'delete by hand'; pick: number }
  | { deed: 'fill' }
  | { deed: 'clean' }
  | { deed: 'kill' }
  | { deed: 'shut down' }
  | { deed: 'let go'; pick: number }
  | { deed: 'fail'; call: string; moment: Moment }
  | { deed: 'slow'; call: string; moment: Moment };

const calls = [
  'claim',
  'extend',
  'acknowledge',
  'release',
  'deadLetter',
  'createJob',
  'updateTask',
  'listJobs',
];
const pick = fc.nat({ max: 20 });
const deeds: fc.Arbitrary<Deed[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        deed: fc.constant('wait' as const),
        ms: fc.constantFrom(0, 500, 8000, 40_000, 70_000),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ deed: fc.constant('send' as const), count: fc.integer({ min: 1, max: 4 }) }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        deed: fc.constant('end' as const),
        pick,
        state: fc.constantFrom('succeeded' as const, 'failed' as const),
      }),
    },
    { weight: 1, arbitrary: fc.record({ deed: fc.constant('delete by hand' as const), pick }) },
    { weight: 6, arbitrary: fc.constant({ deed: 'fill' as const }) },
    { weight: 2, arbitrary: fc.constant({ deed: 'clean' as const }) },
    { weight: 2, arbitrary: fc.constant({ deed: 'kill' as const }) },
    { weight: 1, arbitrary: fc.constant({ deed: 'shut down' as const }) },
    { weight: 2, arbitrary: fc.record({ deed: fc.constant('let go' as const), pick }) },
    {
      weight: 4,
      arbitrary: fc.record({
        deed: fc.constant('fail' as const),
        call: fc.constantFrom(...calls),
        moment: fc.constantFrom('before it' as const, 'after it' as const),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        deed: fc.constant('slow' as const),
        call: fc.constantFrom(...calls),
        moment: fc.constantFrom('before it' as const, 'after it' as const),
      }),
    },
  ),
  { minLength: 5, maxLength: 60 },
);

/** A source and a world that fail, or are slow, when told to: once, before or after the call was carried out. */
function unreliable(clock: Clock) {
  const slow = new Map<string, Moment>();
  const failures = new Map<string, Moment>();
  const around: Around = async (name, call) => {
    const moment = failures.get(name);
    const delay = slow.get(name);
    failures.delete(name);
    slow.delete(name);
    if (delay === 'before it') await sleep(clock, 9000);
    if (moment === 'before it') throw new Fault('SOURCE_FAILED', `${name} was refused`);
    const answer = await straight(name, call);
    if (delay === 'after it') await sleep(clock, 9000);
    if (moment === 'after it') throw new Fault('SOURCE_TIMEOUT', `the answer to ${name} was lost`);
    return answer;
  };
  return { around, failures, slow };
}

async function play(sim: Simulation, all: readonly Deed[]): Promise<string[]> {
  const { around, failures, slow } = unreliable(sim.clock);
  const sent: string[] = [];
  const unfinished = () => [...sim.world.jobs.values()].filter(job => job.finishedAt === undefined);
  const choose = <T>(from: readonly T[], index: number) => from[index % Math.max(1, from.length)];
  let process = await sim.start(around);
  for (const deed of all) {
    switch (deed.deed) {
      case 'wait':
        await sim.clock.advance(deed.ms);
        break;
      case 'send':
        for (let n = 0; n < deed.count; n += 1) {
          sent.push(`m${sent.length}`);
          sim.queue.send(sent.at(-1) ?? '');
        }
        break;
      case 'end':
        sim.world.finish(choose(unfinished(), deed.pick)?.name ?? '', deed.state);
        break;
      case 'delete by hand':
        sim.world.remove(choose(unfinished(), deed.pick)?.name ?? '');
        break;
      case 'fill':
        void process.fill();
        await sim.clock.advance(0);
        break;
      case 'clean':
        process.clean();
        break;
      case 'kill':
      case 'shut down':
        if (deed.deed === 'shut down') void process.run[Symbol.asyncDispose]();
        await sim.clock.advance(deed.deed === 'kill' ? 0 : 6000);
        failures.delete('listJobs');
        slow.delete('listJobs');
        process = await sim.start(around);
        break;
      case 'let go':
        sim.queue.letGo(choose(sent, deed.pick) ?? '');
        break;
      case 'fail':
        failures.set(deed.call, deed.moment);
        break;
      case 'slow':
        slow.set(deed.call, deed.moment);
        break;
      default:
        never(deed);
    }
  }
  failures.clear();
  slow.clear();
  // From now on all goes well, for long enough that whatever was lost has come back.
  sim.script = () => ({ afterMs: 1000, state: 'succeeded' });
  for (const job of unfinished()) sim.world.finish(job.name, 'succeeded');
  for (let minute = 0; minute < 30 && sim.queue.waiting > 0; minute += 1) {
    void process.fill();
    await sim.clock.advance(60_000);
    process.clean();
  }
  return sent;
}

describe('whatever happens', () => {
  it.each([1, 3])(
    'loses no message, runs none beside itself or again, and settles all (up to %d per Job)',
    async batchSize => {
      await fc.assert(
        fc.asyncProperty(deeds, async all => {
          const sim = simulate({ maxReplicaCount: 3, delivery: { as: 'env', batchSize, maxAttempts: 2 } });

          const sent = await play(sim, all);

          const { succeeded, failed, violations } = sim.world;
          const dead = new Set(sim.queue.dead.map(({ id }) => id));
          expect(violations).toEqual([]);
          expect(sim.queue.waiting).toBe(0);
          for (const id of sent) {
            expect(succeeded.filter(one => one === id).length, id).toBe(dead.has(id) ? 0 : 1);
            if (dead.has(id)) expect(failed.filter(one => one === id).length, id).toBe(2);
          }
        }),
        { numRuns: 500 },
      );
    },
  );
});
