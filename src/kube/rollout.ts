import type { Log } from '../base/log.ts';
import { pauseOf } from '../spec/annotations.ts';
import type { ScaledJob } from '../spec/workload.ts';
import type { EventRecorder } from './events.ts';
import { templateDigest } from './job-object.ts';
import type { KubeJobs } from './jobs.ts';
import { regarding } from './status.ts';

/** Follows what ScaledJobs make their Jobs from, and knows when those made before must go. */
export interface Rollouts {
  /**
   * A version of a ScaledJob is there.
   *
   * @returns whether Jobs of another template are to be deleted: not where it is seen for the first time, as after
   *   a restart; not for a change of anything but the template; and not while it is paused or gradual
   */
  isDue(workload: ScaledJob): boolean;
  /** Deletes the Jobs made from another template. Told as events. @throws the first fault, where any stayed */
  rollOut(workload: ScaledJob, signal: AbortSignal): Promise<void>;
  forget(key: string): void;
}

/** Nothing is known of any ScaledJob at first. */
export function rollouts({
  jobs,
  events,
  log,
}: {
  jobs: Pick<KubeJobs, 'outdated' | 'deleteAll' | 'whenSynced'>;
  events: EventRecorder;
  log: Log;
}): Rollouts {
  /** By workload, the uid and the template that no Job is older than. */
  const rolled = new Map<string, string>();
  const markOf = (workload: ScaledJob) => `${workload.uid}/${templateDigest(workload)}`;

  return {
    isDue(workload) {
      const { key, rollout, uid } = workload;
      const before = rolled.get(key);
      if (before?.startsWith(`${uid}/`)) {
        if (before === markOf(workload) || pauseOf(workload).full) return false;
        if (rollout.strategy !== 'gradual') return true;
      }
      rolled.set(key, markOf(workload));
      return false;
    },
    async rollOut(workload, signal) {
      await jobs.whenSynced(signal);
      const { key, rollout } = workload;
      const names = jobs.outdated(workload);
      if (names.length > 0) {
        const about = { regarding: regarding(workload) };
        const of = `${names.length} ${names.length === 1 ? 'Job' : 'Jobs'} made from an earlier template`;
        events.record({
          ...about,
          type: 'Normal',
          reason: 'ScaledJobRolloutCleanupStarted',
          note: `Deleting ${of}.`,
        });
        const propagation = rollout.propagationPolicy === 'foreground' ? 'Foreground' : 'Background';
        const { deleted, faults } = await jobs.deleteAll(workload, names, { propagation, signal });
        log.info('Jobs of an earlier template were deleted', {
          workload: key,
          deleted,
          failed: faults.length,
        });
        const [fault] = faults;
        if (fault !== undefined) {
          const note = `${faults.length} of ${of} cannot be deleted: ${fault.message}`;
          events.record({ ...about, type: 'Warning', reason: 'ScaledJobRolloutCleanupFailed', note });
          throw fault;
        }
        events.record({
          ...about,
          type: 'Normal',
          reason: 'ScaledJobRolloutCleanupCompleted',
          note: `Deleted ${of}.`,
        });
      }
      rolled.set(key, markOf(workload));
    },
    forget: key => void rolled.delete(key),
  };
}
