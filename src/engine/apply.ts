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

/**
 * Deletes finished Jobs beyond the history limits, the oldest first; those that are protected stay.
 *
 * @returns the names of the deleted ones
 * @throws what the world throws at the first that it does not delete
 */
export async function applyHistoryLimits(
  world: World,
  workload: ScaledJob,
  { jobs, isProtected }: { jobs: Iterable<Job>; isProtected(job: Job): boolean },
): Promise<string[]> {
  const finished = [...jobs].filter(job => !isProtected(job));
  const surplus = [
    ...oldest(finished, 'succeeded', workload.successfulJobsHistoryLimit),
    ...oldest(finished, 'failed', workload.failedJobsHistoryLimit),
  ];
  const signal = AbortSignal.timeout(changeMs);
  for (const { name } of surplus) await world.deleteJob(workload, name, signal);
  return surplus.map(({ name }) => name);
}

function oldest(jobs: readonly Job[], state: Job['state'], keep: number): Job[] {
  const ended = jobs.filter(job => job.state === state);
  if (ended.length <= keep) return [];
  const time = ({ finishedAt, createdAt }: Job) => finishedAt ?? createdAt;
  return ended.sort((a, b) => time(a) - time(b)).slice(0, ended.length - keep);
}
