import type { Job, Task } from '../engine/ports.ts';
import { annotations as known } from '../spec/annotations.ts';
import { marks } from './marks.ts';
import type { KubeObject } from './objects.ts';

/** A Job of batch/v1, as far as we look at it. */
export interface JobObject extends KubeObject {
  spec?: { completions?: number };
  status?: {
    ready?: number;
    completionTime?: string;
    conditions?: readonly { type: string; status: string; lastTransitionTime?: string }[];
  };
}

/** A Pod, as far as we look at it. */
export interface PodObject extends KubeObject {
  status?: { phase?: string; conditions?: readonly { type: string; status: string }[] };
}

/** What is kept of a Job. */
export interface KeptJob {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly version: number;
  /** The key of the ScaledJob it belongs to. */
  readonly workload: string;
  /** The uid of that ScaledJob, where the Job says it. */
  readonly ownerUid: string | undefined;
  readonly state: Job['state'];
  readonly createdAt: number;
  readonly finishedAt: number | undefined;
  /** Whether one pod that succeeds is all it takes. */
  readonly single: boolean;
  readonly generation: number | undefined;
  readonly template: string | undefined;
  readonly task: Task | undefined;
  /** The name of the Secret with its message. */
  readonly file: string | undefined;
  /** The place of our finalizer among all; -1 where it is not. */
  readonly finalizerAt: number;
  readonly deleting: boolean;
}

/** What is kept of a Pod of a Job. */
export interface KeptPod {
  readonly namespace: string;
  readonly job: string;
  readonly phase: string;
  readonly conditions: readonly string[];
}

/** Sees what matters in a Job; undefined where it belongs to no ScaledJob. */
export function viewJob({ metadata, spec = {}, status = {} }: JobObject): KeptJob | undefined {
  const { namespace = '', name, uid, labels = {}, annotations = {}, finalizers = [] } = metadata;
  const owner = metadata.ownerReferences?.find(each => each.controller && each.kind === 'ScaledJob');
  const scaledJob = owner?.name ?? labels[marks.scaledJobName];
  if (scaledJob === undefined) return undefined;
  const ended = status.conditions?.find(
    ({ type, status: is }) => is === 'True' && (type === 'Complete' || type === 'Failed'),
  );
  const generation = annotations[known.jobGeneration];
  return {
    namespace,
    name,
    uid,
    version: Number(metadata.resourceVersion),
    workload: `ScaledJob/${namespace}/${scaledJob}`,
    ownerUid: owner?.uid,
    state: stateOf(ended?.type, status.ready ?? 0),
    createdAt: timeOf(metadata.creationTimestamp) ?? 0,
    finishedAt: ended && timeOf(status.completionTime ?? ended.lastTransitionTime),
    single: spec.completions === 1,
    generation: generation === undefined ? undefined : Number(generation),
    template: annotations[marks.template],
    task: taskIn(annotations[marks.task]),
    file: annotations[marks.file],
    finalizerAt: finalizers.indexOf(marks.taskFinalizer),
    deleting: metadata.deletionTimestamp !== undefined,
  };
}

/** Sees what matters in a Pod; undefined where it belongs to no Job. */
export function viewPod({ metadata, status = {} }: PodObject): KeptPod | undefined {
  const job = metadata.labels?.['batch.kubernetes.io/job-name'] ?? metadata.labels?.['job-name'];
  if (job === undefined) return undefined;
  const conditions = (status.conditions ?? []).flatMap(({ type, status: is }) =>
    is === 'True' ? [type] : [],
  );
  return { namespace: metadata.namespace ?? '', job, phase: status.phase ?? 'Pending', conditions };
}

/** Names one Job among all that ever had its name. */
export const jobId = ({ namespace, name, uid }: Pick<KeptJob, 'namespace' | 'name' | 'uid'>): string =>
  `${namespace}/${name}/${uid}`;

/** Whether it has ended. */
export const isFinished = ({ state }: Pick<Job, 'state'>): boolean =>
  state === 'succeeded' || state === 'failed';

/**
 * The Job as the engine sees it.
 *
 * @param pods of the Job; where pods are not watched, what its status says of them stands in
 * @param hasWorked whether one of them has succeeded
 */
export function jobOf(kept: KeptJob, pods: readonly KeptPod[] | undefined, hasWorked = false): Job {
  const { name, createdAt, finishedAt, generation, task } = kept;
  const shown = pods?.map(({ phase, conditions }) => ({ phase, conditions })) ?? standIn(kept);
  const seen = pods?.some(({ phase }) => phase === 'Running' || phase === 'Succeeded') ?? false;
  const state = kept.state === 'pending' && seen ? 'running' : kept.state;
  const job: Job = { name, state, pods: shown, createdAt };
  if (finishedAt !== undefined) job.finishedAt = finishedAt;
  if (generation !== undefined) job.generation = generation;
  if (hasWorked && kept.single && !isFinished(kept)) job.worked = true;
  if (task !== undefined) job.task = task;
  return job;
}

const running = [{ phase: 'Running', conditions: ['Ready'] }];

function standIn({ state }: KeptJob): Job['pods'] {
  return state === 'running' ? running : [];
}

function stateOf(ended: string | undefined, ready: number): Job['state'] {
  if (ended !== undefined) return ended === 'Complete' ? 'succeeded' : 'failed';
  return ready > 0 ? 'running' : 'pending';
}

function timeOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Date.parse(text);
}

/** A task that somebody edited into something else is none: its messages come back by themselves. */
function taskIn(text: string | undefined): Task | undefined {
  if (text === undefined) return undefined;
  try {
    const task = JSON.parse(text) as Task;
    return Array.isArray(task?.messages) && typeof task.hash === 'string' ? task : undefined;
  } catch {
    return undefined;
  }
}
