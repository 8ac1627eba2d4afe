import { faultOf } from '../base/errors.ts';
import type { JobDecision } from '../decide/jobs.ts';
import type { ScaleDecision } from '../decide/replicas.ts';
import type { ScaledJob, ScaledObject } from '../spec/workload.ts';
import type { Job, Report, World } from './ports.ts';

/** How long a change may take, in milliseconds. */
const changeMs = 30_000;

/**
 * Does what was decided about a ScaledObject.
 *
 * @throws what the world throws
 */
export async function applyReplicas(
  world: World,
  workload: ScaledObject,
  decision: ScaleDecision,
): Promise<void> {
  // A change that was begun is finished even while everything else stops, so it has a deadline of its own.
  if (decision.kind === 'scale')
    await world.setReplicas(workload, decision.to, AbortSignal.timeout(changeMs));
}

/**
 * Creates the Jobs that were decided on. All are tried, whatever becomes of the others.
 *
 * @returns undefined where there was nothing to create
 */
export async function applyJobs(
  world: World,
  workload: ScaledJob,
  decision: JobDecision,
): Promise<Report['created']> {
  if (decision.kind === 'hold') return undefined;
  const signal = AbortSignal.timeout(changeMs);
  const created = await Promise.allSettled(
    Array.from({ length: decision.count }, () => world.createJob(workload, { env: {} }, signal)),
  );
  const failures = created.flatMap(each =>
    each.status === 'rejected' ? [faultOf(each.reason, 'WORLD_FAILED')] : [],
  );
  return { count: decision.count, failures };
}

/** Deletions of one ScaledJob's Jobs at a time: a long history must go without holding up what is urgent. */
const deletionsAtOnce = 4;

/** What the history limits are applied to. */
export interface History {
  jobs: Iterable<Job>;
  /** Whether a Job must stay all the same. */
  isProtected(job: Job): boolean;
  onDeleted(name: string): void;
  /** Begins no further deletion once it is aborted. */
  stop: AbortSignal;
}

/**
 * Deletes finished Jobs beyond the history limits, the oldest first; those that are protected stay.
 *
 * @throws what the world throws at the first that it does not delete
 */
export async function applyHistoryLimits(
  world: World,
  workload: ScaledJob,
  { jobs, isProtected, onDeleted, stop }: History,
): Promise<void> {
  const finished = [...jobs].filter(job => !isProtected(job));
  const surplus = [
    ...oldest(finished, 'succeeded', workload.successfulJobsHistoryLimit),
    ...oldest(finished, 'failed', workload.failedJobsHistoryLimit),
  ].values();
  let failed = false;
  const deleting = Array.from({ length: deletionsAtOnce }, async () => {
    for (const { name } of surplus) {
      if (failed || stop.aborted) return;
      try {
        await world.deleteJob(workload, name, AbortSignal.timeout(changeMs));
      } catch (thrown) {
        failed = true;
        throw thrown;
      }
      onDeleted(name);
    }
  });
  const outcomes = await Promise.allSettled(deleting);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

function oldest(jobs: readonly Job[], state: Job['state'], keep: number): Job[] {
  const ended = jobs.filter(job => job.state === state);
  if (ended.length <= keep) return [];
  const time = ({ finishedAt, createdAt }: Job) => finishedAt ?? createdAt;
  return ended.sort((a, b) => time(a) - time(b)).slice(0, ended.length - keep);
}
