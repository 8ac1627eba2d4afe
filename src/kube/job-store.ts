import type { ScaledJob } from '../spec/workload.ts';
import type { KeptJob, KeptPod } from './job-view.ts';

/** The Jobs of all ScaledJobs by workload and name, and their Pods by Job. Newer versions win, whoever brought them. */
export class JobStore {
  readonly #jobs = new Map<string, Map<string, KeptJob>>();
  /** Those that an answer told of last. */
  readonly #ahead = new Set<string>();
  readonly #pods = new Map<string, Map<string, KeptPod>>();

  get(workload: string, name: string): KeptJob | undefined {
    return this.#jobs.get(workload)?.get(name);
  }

  /** Those of a ScaledJob. What an earlier one of the same name left is not among them. */
  of({ key, uid }: Pick<ScaledJob, 'key' | 'uid'>): KeptJob[] {
    const all = [...(this.#jobs.get(key)?.values() ?? [])];
    return all.filter(({ ownerUid }) => ownerUid === undefined || ownerUid === uid);
  }

  *all(): Iterable<KeptJob> {
    for (const jobs of this.#jobs.values()) yield* jobs.values();
  }

  /**
   * @param from where it comes from: an answer may be ahead of the watch, and then the watch has older news
   * @returns what was kept of it until now; `stale` where that is newer
   */
  set(job: KeptJob, from: 'watch' | 'answer'): KeptJob | undefined | 'stale' {
    const jobs = this.#jobs.get(job.workload);
    const before = jobs?.get(job.name);
    const id = `${job.namespace}/${job.name}`;
    const behind = before?.uid === job.uid && before.version > job.version;
    if (behind && (from === 'answer' || this.#ahead.has(id))) return 'stale';
    if (from === 'answer') this.#ahead.add(id);
    else this.#ahead.delete(id);
    if (jobs === undefined) this.#jobs.set(job.workload, new Map([[job.name, job]]));
    else jobs.set(job.name, job);
    return before;
  }

  /** @returns whether it was there */
  delete({
    workload,
    namespace,
    name,
    uid,
  }: Pick<KeptJob, 'workload' | 'namespace' | 'name' | 'uid'>): boolean {
    const jobs = this.#jobs.get(workload);
    if (jobs?.get(name)?.uid !== uid) return false;
    this.#ahead.delete(`${namespace}/${name}`);
    jobs.delete(name);
    if (jobs.size === 0) this.#jobs.delete(workload);
    return true;
  }

  setPod(key: string, pod: KeptPod): void {
    const job = `${pod.namespace}/${pod.job}`;
    const pods = this.#pods.get(job);
    if (pods === undefined) this.#pods.set(job, new Map([[key, pod]]));
    else pods.set(key, pod);
  }

  deletePod(key: string, pod: KeptPod): void {
    const job = `${pod.namespace}/${pod.job}`;
    const pods = this.#pods.get(job);
    pods?.delete(key);
    if (pods?.size === 0) this.#pods.delete(job);
  }

  podsOf({ namespace, name }: KeptJob): KeptPod[] {
    return [...(this.#pods.get(`${namespace}/${name}`)?.values() ?? [])];
  }
}
