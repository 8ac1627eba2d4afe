import { type ManualClock, manualClock } from '../src/base/clock.ts';
import { silentLog } from '../src/base/log.ts';
import { type DeliveryRun, type Settlement, startDelivery } from '../src/engine/deliver/delivery.ts';
import type { ScaledJob } from '../src/spec/workload.ts';
import {
  type Around,
  type ModelJob,
  type ModelQueue,
  type ModelWorld,
  modelQueue,
  modelSource,
  modelWorld,
  scaledJob,
  straight,
} from './delivery-model.ts';

/** How a Job goes: after how long it ends, and how; undefined for one that runs until a test ends it. */
export type Script = (job: ModelJob) => { afterMs: number; state: 'succeeded' | 'failed' } | undefined;

/** One process of ours: it polls, hears of Jobs, and cleans up what no one needs, sparing what is protected. */
export interface Process {
  readonly run: DeliveryRun;
  readonly signal: AbortSignal;
  fill(): Promise<number>;
  /** Deletes every finished Job that is not protected: history limits of zero. */
  clean(): void;
}

export interface Simulation {
  readonly clock: ManualClock;
  readonly queue: ModelQueue;
  readonly queues: readonly ModelQueue[];
  readonly world: ModelWorld;
  readonly workload: ScaledJob;
  readonly settlements: Settlement[];
  script: Script;
  /** Starts a process; the one before it is killed. */
  start(around?: Around): Promise<Process>;
  /** Kills the process there is. */
  kill(): void;
  /** The ids of the messages a Job carries. */
  messagesOf(job: ModelJob): string[];
}

/** A source, a world and a clock that outlive every process. */
export function simulate(
  over: Partial<ScaledJob> = {},
  queueNames: readonly string[] = ['orders'],
): Simulation {
  const clock = manualClock();
  const queues = queueNames.map(name => modelQueue(clock, name));
  const [queue] = queues;
  if (queue === undefined) throw new Error('a simulation needs a queue');
  const world = modelWorld(clock);
  const workload = scaledJob(over);
  const settlements: Settlement[] = [];
  let lives = 0;
  const simulation: Simulation = {
    clock,
    queue,
    queues,
    world,
    workload,
    settlements,
    script: () => undefined,
    kill() {
      lives += 1;
      world.onChange = () => {};
      world.onDelete = () => {};
    },
    messagesOf: job => (job.task?.messages ?? []).map(({ id }) => id),
    async start(outer = straight) {
      lives += 1;
      const life = lives;
      // What a process that was killed still has in hand never reaches anyone, nor does an answer reach it.
      const around: Around = async (name, call) => {
        const alive = () => life === lives;
        const never = new Promise<never>(() => {});
        if (!alive()) return await never;
        const answer = outer(name, () => {
          if (!alive()) throw new Error('killed');
          return call();
        });
        const [settled] = await Promise.allSettled([answer]);
        return alive() && settled.status === 'fulfilled' ? settled.value : await (alive() ? answer : never);
      };
      const run = startDelivery(
        workload,
        queues.map(one => modelSource(one, clock, around)),
        {
          world: world.port(around),
          clock,
          log: silentLog,
          random: () => 0.5,
          onSettled: settlement => settlements.push(settlement),
        },
      );
      const { signal } = new AbortController();
      const fill = () => run.fill(signal);
      let listed = false;
      world.onChange = job => {
        run.jobChanged(job);
        if (listed && job.finishedAt !== undefined) void fill();
      };
      world.onDelete = name => run.jobDeleted(name);
      run.resume(await world.port(around).listJobs(workload, signal));
      listed = true;
      return {
        run,
        signal,
        fill,
        clean() {
          for (const job of [...world.jobs.values()])
            if (job.finishedAt !== undefined && !run.isProtected(job)) world.remove(job.name);
        },
      };
    },
  };
  world.onCreate = job => {
    const plan = simulation.script(job);
    if (plan === undefined) return;
    clock.after(0, () => world.start(job.name));
    clock.after(plan.afterMs, () => world.finish(job.name, plan.state));
  };
  for (const one of queues) {
    one.onSettle = (verb, id) => {
      if (verb === 'acknowledge' && !world.succeeded.includes(id)) {
        world.violations.push(`${id} was acknowledged though no Job of it succeeded`);
      }
    };
  }
  return simulation;
}
