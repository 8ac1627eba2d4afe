import type { Job, JobCounts } from './ports.ts';

const isFinished = ({ state }: Job) => state === 'succeeded' || state === 'failed';

/** Whether it counts against the Jobs that may run at once. */
export const takesSlot = (job: Job): boolean => !isFinished(job) && job.worked === undefined;

/** The Jobs of one ScaledJob as they were seen last, and how many have ended since they are watched. */
export class JobList {
  readonly #jobs = new Map<string, Job>();
  #succeeded = 0;
  #failed = 0;

  get all(): readonly Job[] {
    return [...this.#jobs.values()];
  }

  get unfinished(): readonly Job[] {
    return this.all.filter(job => !isFinished(job));
  }

  /** Those that take a slot. */
  get working(): readonly Job[] {
    return this.all.filter(takesSlot);
  }

  /** How many of those that are there have finished. */
  get finished(): number {
    let finished = 0;
    for (const job of this.#jobs.values()) if (isFinished(job)) finished += 1;
    return finished;
  }

  /** Takes a list of all Jobs that there are. */
  replace(jobs: readonly Job[]): void {
    const names = new Set(jobs.map(({ name }) => name));
    for (const name of this.#jobs.keys()) if (!names.has(name)) this.#jobs.delete(name);
    for (const job of jobs) this.set(job);
  }

  /**
   * Takes what is new of one Job.
   *
   * @returns whether it makes room and did not before
   */
  set(job: Job): boolean {
    const before = this.#jobs.get(job.name);
    // News of a Job may overtake a list that was made before; what has finished stays finished.
    if (before !== undefined && isFinished(before) && !isFinished(job)) return false;
    this.#jobs.set(job.name, job);
    if (isFinished(job) && (before === undefined || !isFinished(before))) {
      if (job.state === 'succeeded') this.#succeeded += 1;
      else this.#failed += 1;
    }
    return !takesSlot(job) && (before === undefined || takesSlot(before));
  }

  delete(name: string): void {
    this.#jobs.delete(name);
  }

  counts(): JobCounts {
    const counts: JobCounts = { pending: 0, running: 0, succeeded: this.#succeeded, failed: this.#failed };
    for (const { state } of this.#jobs.values()) {
      if (state === 'pending') counts.pending += 1;
      else if (state === 'running') counts.running += 1;
    }
    return counts;
  }
}
