import type { Clock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import type {
  AutoscalerSpec,
  AutoscalerState,
  Job,
  JobRequest,
  PodUse,
  Report,
  World,
} from '../src/engine/ports.ts';
import type { ScaledObject, Workload } from '../src/spec/workload.ts';

/** A world in memory that does what it is told at once and remembers it. Tests may replace what it does. */
export interface MemoryWorld extends World {
  /** Replicas by the key of the ScaledObject; a target that is not here is missing. */
  readonly targets: Map<string, number>;
  /** Pods that are ready; all of them unless a test says otherwise. */
  readonly readyReplicas: Map<string, number>;
  pods: PodUse[];
  /** The HorizontalPodAutoscaler that was last wanted for a ScaledObject, by its key. */
  readonly autoscalers: Map<string, AutoscalerSpec>;
  /** What it says of itself. */
  readonly scalingActive: Map<string, NonNullable<AutoscalerState['scalingActive']>>;
  readonly jobs: Map<string, Job & { request: JobRequest }>;
  readonly deleted: string[];
  /** Every change of replicas, oldest first. */
  readonly scaled: { key: string; to: number; at: number }[];
  readonly reports: { key: string; report: Report }[];
  /** The last report about a workload. */
  reportOf(workload: Workload): Report | undefined;
  /** What is thrown instead of an answer, for every call named here. */
  readonly broken: Map<keyof World, Fault>;
  /** Waited for before a call is carried out. */
  readonly held: Map<keyof World, Promise<void>>;
  /** Ends a Job; the caller tells the engine. */
  finish(name: string, state: 'succeeded' | 'failed'): Job;
}

export function memoryWorld(clock: Clock): MemoryWorld {
  const targets = new Map<string, number>();
  const readyReplicas = new Map<string, number>();
  const jobs: MemoryWorld['jobs'] = new Map();
  const broken: MemoryWorld['broken'] = new Map();
  const held: MemoryWorld['held'] = new Map();
  let names = 0;

  async function pass(call: keyof World): Promise<void> {
    await held.get(call);
    const fault = broken.get(call);
    if (fault !== undefined) throw fault;
  }

  const world: MemoryWorld = {
    targets,
    readyReplicas,
    pods: [],
    autoscalers: new Map(),
    scalingActive: new Map(),
    jobs,
    deleted: [],
    scaled: [],
    reports: [],
    broken,
    held,
    reportOf: ({ key }) => world.reports.findLast(each => each.key === key)?.report,
    finish(name, state) {
      const job = jobs.get(name);
      if (job === undefined) throw new Error(`there is no Job ${name}`);
      job.state = state;
      job.finishedAt = clock.now();
      return { ...job };
    },
    async readTarget({ key }) {
      await pass('readTarget');
      const replicas = targets.get(key);
      if (replicas === undefined) throw new Fault('TARGET_MISSING', `${key} has no target`);
      return { replicas, readyReplicas: readyReplicas.get(key) ?? replicas };
    },
    async setReplicas({ key }: ScaledObject, to) {
      await pass('setReplicas');
      targets.set(key, to);
      world.scaled.push({ key, to, at: clock.elapsed() });
    },
    async ensureAutoscaler({ key, horizontalPodAutoscalerConfig: { name } }, wanted) {
      await pass('ensureAutoscaler');
      if (wanted === undefined) world.autoscalers.delete(key);
      else world.autoscalers.set(key, wanted);
      return wanted === undefined ? undefined : { name, scalingActive: world.scalingActive.get(key) };
    },
    async readResource() {
      await pass('readResource');
      return world.pods;
    },
    async listJobs() {
      await pass('listJobs');
      return [...jobs.values()].map(job => ({ ...job }));
    },
    async createJob({ name: prefix, generation }, request) {
      await pass('createJob');
      names += 1;
      const name = request.name ?? `${prefix}-${names}`;
      if (jobs.has(name)) return 'exists';
      const task = request.task === undefined ? {} : { task: request.task };
      jobs.set(name, {
        name,
        state: 'running',
        pods: [{ phase: 'Running', conditions: [] }],
        createdAt: clock.now(),
        generation,
        request,
        ...task,
      });
      return 'created';
    },
    async updateTask(_workload, name, task) {
      await pass('updateTask');
      const job = jobs.get(name);
      if (job !== undefined) job.task = task;
    },
    async deleteJob(_workload, name) {
      await pass('deleteJob');
      jobs.delete(name);
      world.deleted.push(name);
    },
    report: ({ key }, report) => void world.reports.push({ key, report }),
  };
  return world;
}
