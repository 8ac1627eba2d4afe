import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Job, JobRequest, World } from '../engine/ports.ts';
import type { ScaledJob, ScaledObject, Workload } from '../spec/workload.ts';
import type { AuthenticationWatch } from './authentication-watch.ts';
import { type Authentications, kubeAuthentications } from './authentications.ts';
import type { KubeClient } from './client.ts';
import { type EventRecorder, eventRecorder } from './events.ts';
import { kubeJobs } from './jobs.ts';
import { keyedWork } from './keyed-work.ts';
import { prunedFields } from './pruned-fields.ts';
import { rollouts } from './rollout.ts';
import { regarding, statusWriter } from './status.ts';
import type { StatusFacts } from './status-object.ts';
import type { FormulaCheck } from './workload-object.ts';
import { kubeWorkloads, type Remembered } from './workloads.ts';

export interface LifecycleOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** What `app.kubernetes.io/version` of Jobs is to say. */
  version: string;
  /** Who we are among the replicas of the operator, such as the name of its pod. */
  instance: string;
  /** Those to watch; all unless given. */
  namespaces?: readonly string[];
  /** Only ScaledObjects and ScaledJobs with these labels are run. */
  labelSelector?: string;
  authentications: AuthenticationWatch;
  /** What is wrong with a formula over these variables. */
  checkFormula: FormulaCheck;
  /** A workload, or a version of it with something in it that matters, is there to be run; told also before `lead`. */
  onSet(workload: Workload, remembered: Remembered): void;
  /** A workload is there that cannot be run. */
  onUnfit?(workload: Workload): void;
  /** A workload is not to be run any more. What is returned is awaited before its target is restored. */
  onRemove(workloadKey: string): Promise<void> | void;
  onJob(workloadKey: string, job: Job): void;
  onJobGone(workloadKey: string, jobName: string): void;
  /** Sets the target of a ScaledObject that is deleted to what it stood at before. */
  restore(workload: ScaledObject, replicas: number, signal: AbortSignal): Promise<void>;
  /** What the cluster knows of a target and its HorizontalPodAutoscaler. */
  facts?(workload: ScaledObject): StatusFacts;
  random?: () => number;
}

/** ScaledObjects and ScaledJobs from their creation to their end: what to run, their Jobs, their status, their events. */
export interface Lifecycle
  extends Pick<World, 'listJobs' | 'createJob' | 'updateTask' | 'deleteJob' | 'report'>,
    AsyncDisposable {
  readonly events: EventRecorder;
  /** Ends when all that is there is known. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** From now on it is ours to write. To be called once it is synced. */
  lead(): void;
  /** How many TriggerAuthentications and ClusterTriggerAuthentications there are. */
  registered: Authentications['registered'];
  /** Writes what waits to be written, for a shutdown: status first, then events. @throws the signal's reason */
  flush(signal: AbortSignal): Promise<void>;
  /** When the API server last said anything about ScaledObjects, ScaledJobs or Jobs, on the monotonic clock. */
  readonly heardAt: number | undefined;
}

/** Starts to watch, and tells what there is to be run. Nothing is written before `lead`. */
export function kubeLifecycle(options: LifecycleOptions): Lifecycle {
  const { client, clock, log, instance, checkFormula, version } = options;
  const shared = {
    client,
    clock,
    log,
    ...(options.namespaces === undefined ? {} : { namespaces: options.namespaces }),
    ...(options.random === undefined ? {} : { random: options.random }),
  };
  const stop = new AbortController();
  let leading = false;
  const events = eventRecorder({ ...shared, instance });
  const authentications = kubeAuthentications({ ...shared, watch: options.authentications, events });
  /** Versions whose earlier Jobs are to go. */
  const replaced = new Map<string, ScaledJob>();
  const status = statusWriter({
    ...shared,
    events,
    live: key => workloads.live(key),
    onWritten: (key, object) => workloads.written(key, object),
    ...(options.facts === undefined ? {} : { facts: options.facts }),
  });
  const jobs = kubeJobs({
    ...shared,
    version,
    exists: (key, uid) => workloads.exists(key, uid),
    onJob: options.onJob,
    onJobGone: options.onJobGone,
  });
  const rollout = rollouts({ jobs, events, log });
  const replacing = keyedWork({
    clock,
    async work(key, signal) {
      const workload = replaced.get(key);
      if (workload !== undefined) await rollout.rollOut(workload, signal);
      if (replaced.get(key) === workload) replaced.delete(key);
    },
    onFault: (workload, fault) => log.warn('Jobs of an earlier template stay for now', { workload, fault }),
  });

  const workloads = kubeWorkloads({
    ...shared,
    ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
    checkFormula,
    onSet(workload, remembered) {
      status.accept(workload.key);
      authentications.join(workload);
      if (workload.kind === 'ScaledJob' && rollout.isDue(workload)) {
        replaced.set(workload.key, workload);
        if (leading) replacing.ask(workload.key);
      }
      options.onSet(workload, remembered);
    },
    ...(options.onUnfit === undefined ? {} : { onUnfit: options.onUnfit }),
    onRefused: (object, message) => status.refuse(object, { message }),
    async onRemove(object) {
      const { key } = object;
      status.forget(key);
      rollout.forget(key);
      replaced.delete(key);
      replacing.drop(key);
      authentications.leave(object);
      await options.onRemove(key);
    },
    async beforeGone(object, signal) {
      if (object.kind === 'ScaledJob') await jobs.letGo(object, signal);
    },
    onDeleted(object) {
      const { kind } = object;
      const about = { regarding: regarding(object) };
      const stopped = 'Its triggers are not read any more.';
      events.record({ ...about, type: 'Normal', reason: 'KEDAScalersStopped', note: stopped });
      events.record({
        ...about,
        type: 'Warning',
        reason: `${kind}Deleted`,
        note: `The ${kind} was deleted.`,
      });
    },
    restore: options.restore,
  });

  async function createJob(workload: ScaledJob, request: JobRequest, signal: AbortSignal) {
    const outcome = await jobs.createJob(workload, request, signal);
    if (outcome === 'created' && request.file?.because !== undefined) {
      const { variable, because } = request.file;
      const note = `A message is not in KEDA_TASK_DATA but in the file that ${variable} names, because ${because}.`;
      events.record({ regarding: regarding(workload), type: 'Normal', reason: 'TaskDataInFile', note });
    }
    return outcome;
  }

  async function sayWhatIsPruned(): Promise<void> {
    for (const { crd, uid, fields } of (await prunedFields(client, stop.signal)) ?? []) {
      const what = fields.join(' and ');
      log.warn("a CRD is not Eventide's, so what only Eventide has is dropped before it gets here", {
        crd,
        fields,
      });
      const about = {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        name: crd,
        uid,
      };
      const note = `This is not Eventide's CRD: the API server drops ${what}. Apply deploy/crds to use them.`;
      events.record({ regarding: about, type: 'Warning', reason: 'FieldsPruned', note });
    }
  }

  return {
    events,
    async whenSynced(signal) {
      const all = [workloads, jobs, options.authentications];
      await Promise.all(all.map(each => each.whenSynced(signal)));
    },
    lead() {
      leading = true;
      authentications.lead();
      jobs.lead();
      workloads.lead();
      for (const key of replaced.keys()) replacing.ask(key);
      void sayWhatIsPruned().catch(() => {});
    },
    registered: authentications.registered,
    listJobs: jobs.listJobs,
    createJob,
    updateTask: jobs.updateTask,
    deleteJob: jobs.deleteJob,
    report: status.report,
    async flush(signal) {
      await status.flush(signal);
      await events.flush(signal);
    },
    get heardAt() {
      const [ofWorkloads, ofJobs] = [workloads.heardAt, jobs.heardAt];
      return ofWorkloads === undefined || ofJobs === undefined ? undefined : Math.min(ofWorkloads, ofJobs);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await workloads[Symbol.asyncDispose]();
      await replacing[Symbol.asyncDispose]();
      await jobs[Symbol.asyncDispose]();
      await authentications[Symbol.asyncDispose]();
      await status[Symbol.asyncDispose]();
      await events[Symbol.asyncDispose]();
    },
  };
}
