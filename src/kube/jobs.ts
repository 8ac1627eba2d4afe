import { setMaxListeners } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Job, JobRequest, Task, World } from '../engine/ports.ts';
import type { ScaledJob } from '../spec/workload.ts';
import type { KubeClient } from './client.ts';
import { finalizerRemoval, type PatchStep, removeFinalizer } from './finalizers.ts';
import { jobObject, taskSecret, templateDigest } from './job-object.ts';
import { JobStore } from './job-store.ts';
import { watchSuccesses } from './job-successes.ts';
import {
  isFinished,
  type JobObject,
  jobId,
  jobOf,
  type KeptJob,
  type KeptPod,
  viewJob,
  viewPod,
} from './job-view.ts';
import { keyedWork } from './keyed-work.ts';
import { marks } from './marks.ts';
import { type KubeObject, resources } from './objects.ts';
import { type Reflector, reflect } from './reflector.ts';

export interface KubeJobsOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** What `app.kubernetes.io/version` of Jobs is to say. */
  version: string;
  /** Those to watch; all unless given. */
  namespaces?: readonly string[];
  /** Whether a ScaledJob is there; undefined while that is not known. */
  exists(workloadKey: string, uid: string | undefined): boolean | undefined;
  onJob(workloadKey: string, job: Job): void;
  onJobGone(workloadKey: string, jobName: string): void;
  random?: () => number;
}

/** What became of a rollout. */
export interface RolledOut {
  deleted: number;
  faults: Fault[];
}

/** The Jobs of ScaledJobs in a cluster. */
export interface KubeJobs
  extends Pick<World, 'listJobs' | 'createJob' | 'updateTask' | 'deleteJob'>,
    AsyncDisposable {
  /** Ends when all Jobs that there are are known. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** When the API server last said anything about Jobs, on the monotonic clock. */
  readonly heardAt: number | undefined;
  /** Names of Jobs that were made from something else than the ScaledJob's template, and may be deleted for that. */
  outdated(workload: ScaledJob): string[];
  /** Deletes Jobs, the running ones too. Never throws. */
  deleteAll(
    workload: ScaledJob,
    names: readonly string[],
    how: { propagation: 'Foreground' | 'Background'; signal: AbortSignal },
  ): Promise<RolledOut>;
  /**
   * Lets the Jobs of a ScaledJob that is being deleted go: nobody settles their messages any more, their source
   * will hand them out again.
   */
  letGo(workload: Pick<ScaledJob, 'key' | 'uid'>, signal: AbortSignal): Promise<void>;
  /**
   * From now on it is ours to write: Jobs that are held for nothing are let go, and what a process before us left
   * half done is finished. To be called once it is known which ScaledJobs there are.
   */
  lead(): void;
}

/** How long a Job that we created may be missing from the watch before it is looked for, in milliseconds. */
const unseenMs = 30_000;

/** Starts to watch the Jobs. */
export function kubeJobs(options: KubeJobsOptions): KubeJobs {
  const { client, clock, log, version, onJob, onJobGone, exists } = options;
  const random = options.random === undefined ? {} : { random: options.random };
  const places = (options.namespaces ?? [undefined]).map(namespace =>
    namespace === undefined ? {} : { namespace },
  );
  const store = new JobStore();
  /** Created by us and not seen in the watch yet: when, on the monotonic clock. */
  const unseen = new Map<string, number>();
  const stop = new AbortController();
  // Every call under way listens to it.
  setMaxListeners(0, stop.signal);
  let pods: readonly Reflector<KeptPod>[] | undefined;
  let successes: AsyncDisposable | undefined;
  /** Jobs one of whose pods has succeeded, and that have not said so themselves. */
  const worked = new Set<string>();
  let leading = false;
  const releases = keyedWork({
    clock,
    work: release,
    ...random,
    onFault(job, fault, failures) {
      if (failures === 1) log.warn('a Job is held and cannot be let go now', { job, fault });
    },
  });
  const watches = places.map(place =>
    reflect<JobObject, KeptJob>({
      client,
      clock,
      log,
      resource: resources.jobs,
      labelSelector: marks.scaledJobName,
      ...place,
      ...random,
      keep: viewJob,
      onSet: (_key, job) => seen(job),
      onDelete: (_key, job) => gone(job),
    }),
  );

  function seen(job: KeptJob): void {
    unseen.delete(idOf(job));
    put(job, 'watch');
  }

  function put(job: KeptJob, from: 'watch' | 'answer'): void {
    const before = store.set(job, from);
    if (before === 'stale') return;
    if (before !== undefined && before.uid !== job.uid) {
      worked.delete(jobId(before));
      onJobGone(job.workload, job.name);
    }
    if (isFinished(job)) worked.delete(jobId(job));
    if (leading && job.finalizerAt >= 0 && releasable(job)) releases.ask(idOf(job));
    if (before === undefined || before.uid !== job.uid || changed(before, job))
      onJob(job.workload, viewOf(job));
  }

  function gone(job: Pick<KeptJob, 'workload' | 'namespace' | 'name' | 'uid'>): void {
    unseen.delete(idOf(job));
    worked.delete(jobId(job));
    if (store.delete(job)) onJobGone(job.workload, job.name);
  }

  /** Whether nothing is to be settled any more that the Job would have to stay for. */
  function releasable(job: KeptJob): boolean {
    if (job.task === undefined || job.task.settled !== undefined) return true;
    if (job.deleting && !isFinished(job)) return true;
    return exists(job.workload, job.ownerUid) === false;
  }

  async function release(id: string, signal: AbortSignal): Promise<void> {
    const job = find(id);
    if (job === undefined || job.finalizerAt < 0 || !releasable(job)) return;
    const over = job.task === undefined || job.task.settled !== undefined || job.deleting;
    // One that is not ours to run may be run by another operator.
    if (!over && (await isThere(job, signal))) return;
    await unhold(job, signal);
  }

  async function isThere({ namespace, workload, ownerUid }: KeptJob, signal: AbortSignal): Promise<boolean> {
    const name = workload.slice(`ScaledJob/${namespace}/`.length);
    const owner = await client.get(resources.scaledJobs, { namespace, name }, { signal });
    if (owner === undefined || owner.metadata.deletionTimestamp !== undefined) return false;
    return ownerUid === undefined || owner.metadata.uid === ownerUid;
  }

  async function unhold(job: KeptJob, signal: AbortSignal): Promise<void> {
    const what = {
      resource: resources.jobs,
      at: job,
      finalizer: marks.taskFinalizer,
      place: job.finalizerAt,
    };
    answered(await removeFinalizer(client, what, { urgency: 'job', signal }));
  }

  /** An answer brings news of a Job that is there; whether it still is, only the watch can say. */
  function answered(object: KubeObject | undefined): void {
    const job = object && viewJob(object);
    if (job !== undefined && store.get(job.workload, job.name)?.uid === job.uid) put(job, 'answer');
  }

  function find(id: string): KeptJob | undefined {
    for (const watch of watches) {
      const kept = watch.get(id);
      if (kept !== undefined) return store.get(kept.workload, kept.name) ?? kept;
    }
    return undefined;
  }

  function viewOf(job: KeptJob): Job {
    return jobOf(job, pods === undefined ? undefined : store.podsOf(job), worked.has(jobId(job)));
  }

  function succeeded(id: string): void {
    const job = find(id.slice(0, id.lastIndexOf('/')));
    if (job === undefined || jobId(job) !== id || !job.single || isFinished(job)) return;
    worked.add(id);
    onJob(job.workload, viewOf(job));
  }

  async function whenSynced(signal: AbortSignal): Promise<void> {
    await Promise.all(watches.map(watch => watch.whenSynced(signal)));
  }

  /** Pods are large and change often: they are watched only where a strategy counts the pending ones. */
  async function watchPods({ scalingStrategy: { strategy } }: ScaledJob, signal: AbortSignal): Promise<void> {
    if (strategy !== 'accurate' && strategy !== 'eager' && pods === undefined) return;
    pods ??= places.map(place =>
      reflect<KubeObject, KeptPod>({
        client,
        clock,
        log,
        resource: resources.pods,
        labelSelector: marks.scaledJobName,
        ...place,
        ...random,
        keep: viewPod,
        onSet: (key, pod) => store.setPod(key, pod),
        onDelete: (key, pod) => store.deletePod(key, pod),
      }),
    );
    await Promise.all(pods.map(watch => watch.whenSynced(signal)));
  }

  /** A Job that came and went while the watch was broken is in no list and no change. */
  async function lookForUnseen(workload: ScaledJob, signal: AbortSignal): Promise<void> {
    const late = store.of(workload).filter(job => {
      const since = unseen.get(idOf(job));
      return since !== undefined && clock.elapsed() - since > unseenMs;
    });
    for (const job of late) {
      const found = await client.get(resources.jobs, job, { signal });
      if (found?.metadata.uid !== job.uid) gone(job);
      else unseen.set(idOf(job), clock.elapsed());
    }
  }

  function created(object: JobObject): KeptJob | undefined {
    const job = viewJob(object);
    if (job === undefined) return undefined;
    if (find(idOf(job)) === undefined) unseen.set(idOf(job), clock.elapsed());
    put(job, 'answer');
    return job;
  }

  async function putSecret(
    workload: ScaledJob,
    name: string,
    { body, signal }: { body: Uint8Array; signal: AbortSignal },
  ) {
    const secret = taskSecret(workload, name, body);
    const write = { urgency: 'job', signal } as const;
    try {
      await client.create(resources.secrets, secret, write);
    } catch (thrown) {
      if (!is(thrown, 'KUBE_EXISTS')) throw thrown;
      // An earlier try got as far as this; the same name means the same messages. Or it is what a Job of that name
      // left, and is about to go with it: whose it is now keeps the garbage collector from it.
      const at = { namespace: workload.namespace, name: secret.metadata.name ?? '' };
      const { ownerReferences } = secret.metadata;
      const patch = { data: secret['data'], metadata: { ownerReferences } };
      await client.patch(resources.secrets, at, patch, { ...write, type: 'merge' });
    }
  }

  /** Hands the Secret over to the Job; until then it goes with the ScaledJob. */
  async function handOver({ namespace, name, uid, file }: KeptJob, signal: AbortSignal): Promise<void> {
    if (file === undefined) return;
    const owner = { apiVersion: 'batch/v1', kind: 'Job', name, uid };
    const patch = { metadata: { ownerReferences: [owner] } };
    try {
      await client.patch(resources.secrets, { namespace, name: file }, patch, {
        type: 'merge',
        urgency: 'job',
        signal,
      });
    } catch (thrown) {
      log.warn('the Secret with a message stays with its ScaledJob', { job: name, fault: faultOf(thrown) });
    }
  }

  async function createJob(
    workload: ScaledJob,
    request: JobRequest,
    signal: AbortSignal,
  ): Promise<'created' | 'exists'> {
    const { name, file } = request;
    const { namespace } = workload;
    if (file !== undefined && name === undefined) {
      throw new Fault('INTERNAL', 'a Job with a file needs a name');
    }
    if (file !== undefined && name !== undefined)
      await putSecret(workload, name, { body: file.body, signal });
    try {
      const object = jobObject(workload, request, version);
      const job = created(await client.create<JobObject>(resources.jobs, object, { urgency: 'job', signal }));
      if (job !== undefined) await handOver(job, signal);
      return 'created';
    } catch (thrown) {
      if (name === undefined || !is(thrown, 'KUBE_EXISTS')) throw thrown;
      // Who asks for it next must find it, though the watch may not have brought it yet.
      const found = await client.get<JobObject>(resources.jobs, { namespace, name }, { signal });
      const job = found && created(found);
      if (job !== undefined) await handOver(job, signal);
      return 'exists';
    }
  }

  async function updateTask(
    workload: ScaledJob,
    name: string,
    task: Task,
    signal: AbortSignal,
  ): Promise<void> {
    const at = { namespace: workload.namespace, name };
    const kept = {
      op: 'add',
      path: `/metadata/annotations/${escaped(marks.task)}`,
      value: JSON.stringify(task),
    } as const;
    const write = { type: 'json', urgency: 'job', signal } as const;
    const place = task.settled === undefined ? -1 : (store.get(workload.key, name)?.finalizerAt ?? -1);
    const steps: PatchStep[] = place < 0 ? [kept] : [kept, ...finalizerRemoval(marks.taskFinalizer, place)];
    try {
      answered(await client.patch<JobObject>(resources.jobs, at, steps, write));
    } catch (thrown) {
      if (place < 0 || !(is(thrown, 'KUBE_INVALID') || is(thrown, 'KUBE_CONFLICT'))) throw thrown;
      // Somebody moved the finalizer. Seeing the settlement in the annotation, we take it off then.
      answered(await client.patch<JobObject>(resources.jobs, at, [kept], write));
    }
  }

  async function deleteJob(
    workload: ScaledJob,
    name: string,
    { propagation, signal }: { propagation: 'Foreground' | 'Background'; signal: AbortSignal },
  ): Promise<void> {
    const job = store.get(workload.key, name);
    const at = { namespace: workload.namespace, name };
    const only = job === undefined ? {} : { uid: job.uid };
    await client.delete(resources.jobs, at, { urgency: 'job', propagation, signal, ...only });
    if (job !== undefined && job.finalizerAt >= 0) await unhold(job, signal);
  }

  return {
    whenSynced,
    get heardAt() {
      const times = watches.map(watch => watch.heardAt);
      return times.includes(undefined) ? undefined : Math.min(...times.map(each => each ?? 0));
    },
    async listJobs(workload, signal) {
      await Promise.all([whenSynced(signal), watchPods(workload, signal)]);
      // Nothing waits for it, as the Jobs will say the same.
      successes ??= watchSuccesses({ ...options, onSuccess: succeeded });
      if (unseen.size > 0) await lookForUnseen(workload, signal);
      return store.of(workload).map(viewOf);
    },
    createJob,
    updateTask,
    deleteJob: (workload, name, signal) => deleteJob(workload, name, { propagation: 'Background', signal }),
    outdated(workload) {
      const digest = templateDigest(workload);
      const outdated = store.of(workload).filter(job => {
        // What has messages to be settled, or counted from, stays.
        if (job.deleting || (isFinished(job) && job.task !== undefined)) return false;
        return job.template === undefined ? job.generation !== workload.generation : job.template !== digest;
      });
      return outdated.map(({ name }) => name);
    },
    async deleteAll(workload, names, how) {
      const done = await Promise.allSettled(names.map(name => deleteJob(workload, name, how)));
      const faults = done.flatMap(each => (each.status === 'rejected' ? [faultOf(each.reason)] : []));
      return { deleted: names.length - faults.length, faults };
    },
    async letGo(workload, signal) {
      await whenSynced(signal);
      const held = store.of(workload).filter(({ finalizerAt }) => finalizerAt >= 0);
      await Promise.all(held.map(job => unhold(job, signal)));
    },
    lead() {
      leading = true;
      for (const job of store.all()) {
        if (job.finalizerAt >= 0 && releasable(job)) releases.ask(idOf(job));
        if (job.file !== undefined && !isFinished(job)) void handOver(job, stop.signal);
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new Fault('CANCELLED', 'the Jobs are not watched any more'));
      await Promise.all([...watches, ...(pods ?? [])].map(watch => watch[Symbol.asyncDispose]()));
      await successes?.[Symbol.asyncDispose]();
      await releases[Symbol.asyncDispose]();
    },
  };
}

const idOf = ({ namespace, name }: Pick<KeptJob, 'namespace' | 'name'>) => `${namespace}/${name}`;

/** Whether the engine sees the difference. */
function changed(before: KeptJob, after: KeptJob): boolean {
  return (
    before.state !== after.state ||
    before.finishedAt !== after.finishedAt ||
    !isDeepStrictEqual(before.task, after.task)
  );
}

/** A field name in a JSON pointer. */
function escaped(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

function is(thrown: unknown, code: Fault['code']): boolean {
  return thrown instanceof Fault && thrown.code === code;
}
