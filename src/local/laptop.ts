import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Job, PodUse, Report, ResourceQuery, World } from '../engine/ports.ts';
import type { ManifestDocument } from '../spec/documents.ts';
import type { Problem } from '../spec/problem.ts';
import type { ScaledJob, ScaledObject, Workload } from '../spec/workload.ts';
import type { OutputLine } from './console.ts';
import { JobSet } from './job-set.ts';
import type { JobRecord } from './local-job.ts';
import { planLaptop, targetKey } from './local-plan.ts';
import { Mounts } from './mounts.ts';
import type { PodHost, PodProcess } from './pod-process.ts';
import { ProcessUse, type ResourceUse } from './process-use.ts';
import { ReplicaSet } from './replica-set.ts';
import { discardRun } from './shim.ts';
import { StateFile } from './state-file.ts';
import { lockState } from './state-lock.ts';

export interface LaptopOptions {
  documents: readonly ManifestDocument[];
  workloads: readonly Workload[];
  /** Where all that must outlive this process is kept; an absolute path. */
  stateFolder: string;
  /** The directories to run images in. */
  images: ReadonlyMap<string, string>;
  /** What host processes start with. */
  environment: Readonly<Record<string, string>>;
  clock: Clock;
  log: Log;
  onOutput?(line: OutputLine): void;
  onJob?(workloadKey: string, job: Job): void;
  onJobGone?(workloadKey: string, jobName: string): void;
  /** A pod of the target of this ScaledObject became ready or ended. */
  onTarget?(workloadKey: string): void;
  onReport?(workload: Workload, report: Report): void;
}

/** A laptop as the world: pods are processes. Disposing it ends everything it started or took up, and nothing else. */
export interface Laptop extends World, AsyncDisposable {
  /**
   * Takes up what an earlier process with the same state folder left, and starts the manifests' replicas. To be
   * called once, before anything is asked of the world.
   */
  start(): Promise<void>;
  /** Removes everything it wrote, once it is disposed. */
  removeState(): Promise<void>;
  /** Ends every process at once, without waiting for anything. */
  kill(): void;
}

/** What stands in the way of running these manifests here, and what would be left out. Nothing is started. */
export function laptopProblems(
  documents: readonly ManifestDocument[],
  workloads: readonly Workload[],
  images: ReadonlyMap<string, string>,
): { problems: readonly Problem[]; notices: readonly Problem[] } {
  const { problems, notices } = planLaptop(documents, workloads, images);
  return { problems, notices };
}

/**
 * Takes a state folder and reads what is in it; starts nothing yet.
 *
 * @throws Fault WORLD_FAILED where another process uses the state folder, or it cannot be used
 */
export async function createLaptop(options: LaptopOptions): Promise<Laptop> {
  const { documents, workloads, images, stateFolder, environment, clock, log } = options;
  const plan = planLaptop(documents, workloads, images);
  const folder = (name: string) => join(stateFolder, name);
  const [runs, files] = [folder('runs'), folder('files')];
  await makeFolders(stateFolder, [runs, files]);
  const lock = await lockState(stateFolder);
  const state = await StateFile.open(folder('state.json'), { clock, log }).catch(async thrown => {
    await lock[Symbol.asyncDispose]();
    throw thrown;
  });
  const mounts = new Mounts(stateFolder, plan.objects, state);
  const onOutput = (line: OutputLine) => options.onOutput?.(line);
  const host: PodHost = { runs, environment, objects: plan.objects, mounts, clock, log, onOutput };
  const targets = new Map(
    plan.targets.map(target => {
      const onChange = () => {
        for (const key of target.scaledBy) options.onTarget?.(key);
      };
      return [target.key, new ReplicaSet({ ...target, host, state, onChange })] as const;
    }),
  );
  const jobs = new Map(
    plan.jobs.map(({ workload: { key, name }, template }) => {
      const onJob = (job: Job) => options.onJob?.(key, job);
      const onJobGone = (job: string) => options.onJobGone?.(key, job);
      return [key, new JobSet({ key, name, template, host, state, files, onJob, onJobGone })] as const;
    }),
  );
  const use = new ProcessUse(
    clock,
    () => new Set([...targets.values()].flatMap(({ pods }) => pods.flatMap(pod => [...pod.groups.values()]))),
  );
  let stopped: Promise<void> | undefined;

  function targetOf(workload: ScaledObject): ReplicaSet {
    const found = targets.get(targetKey(workload));
    if (found !== undefined) return found;
    const { kind, name } = workload.target;
    throw new Fault('TARGET_MISSING', `${kind} "${name}" is not in the files that are run`);
  }

  function jobsOf({ key, name }: ScaledJob): JobSet {
    const found = jobs.get(key);
    if (found !== undefined) return found;
    throw new Fault('WORLD_FAILED', `ScaledJob "${name}" is not in the files that are run`);
  }

  async function stop(): Promise<void> {
    const ending = [...targets.values(), ...jobs.values()].map(each => each.stop());
    await Promise.all(ending);
    await mounts.removeLinks();
    await state[Symbol.asyncDispose]();
    await lock[Symbol.asyncDispose]();
  }

  return {
    async start() {
      const found = await findRuns(runs);
      const known = knownPods(state, { targets, jobs });
      const foreign = [...found.marks].filter(([uid]) => !known.has(uid)).flatMap(([, marks]) => [...marks]);
      await Promise.all(foreign.map(name => discardRun(join(runs, name))));
      await mounts.removeLinks();
      for (const set of jobs.values()) set.start(found.highest);
      await removeOthers(files, new Set([...jobs.values()].flatMap(set => set.files)));
      await removeOthers(folder('pods'), new Set([...known].map(uid => join(folder('pods'), uid))));
      await Promise.all([...targets.values()].map(set => set.start(found.highest)));
    },
    async readTarget(workload) {
      return targetOf(workload).state;
    },
    async setReplicas(workload, replicas) {
      await targetOf(workload).setReplicas(replicas);
    },
    // The engine is its own autoscaler here.
    ensureAutoscaler: async () => undefined,
    async readResource(workload, query) {
      const { pods } = targetOf(workload);
      const uses = await use.read();
      return pods.map(pod => podUse(pod, query, { uses, template: targetOf(workload).template }));
    },
    async listJobs(workload) {
      return jobsOf(workload).list();
    },
    async createJob(workload, request) {
      return await jobsOf(workload).create(request, workload.generation);
    },
    async updateTask(workload, name, task) {
      await jobsOf(workload).updateTask(name, task);
    },
    async deleteJob(workload, name) {
      await jobsOf(workload).delete(name);
    },
    report(workload, report) {
      options.onReport?.(workload, report);
    },
    kill() {
      for (const each of [...targets.values(), ...jobs.values()]) each.kill();
    },
    async removeState() {
      await state.remove();
      const ours = ['runs', 'files', 'pods', 'volumes', 'claims'];
      await Promise.all(ours.map(name => rm(folder(name), { recursive: true, force: true })));
      // What others keep beside it stays, and with it the folder.
      await rmdir(stateFolder).catch(() => {});
    },
    [Symbol.asyncDispose]() {
      stopped ??= stop();
      return stopped;
    },
  };
}

async function makeFolders(stateFolder: string, inside: readonly string[]): Promise<void> {
  try {
    await mkdir(stateFolder, { recursive: true });
    for (const each of inside) await mkdir(each, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    const why = (thrown as Error).message;
    throw new Fault('WORLD_FAILED', `the state folder ${stateFolder} cannot be used: ${why}`, {
      cause: thrown,
    });
  }
}

/** The pods in the state that belong to what is run. Those of a workload that is no longer in the files do not. */
function knownPods(
  state: StateFile,
  { targets, jobs }: { targets: ReadonlyMap<string, unknown>; jobs: ReadonlyMap<string, unknown> },
): Set<string> {
  const known = new Set<string>();
  for (const [key, record] of [...state.withPrefix('target:')]) {
    const { pods } = record as { pods: { uid: string }[] };
    if (!targets.has(key.slice('target:'.length))) state.delete(key);
    else for (const { uid } of pods) known.add(uid);
  }
  for (const [key, record] of [...state.withPrefix('job:')]) {
    const workload = key.slice('job:'.length, key.lastIndexOf('/'));
    const { state: how, pod } = record as JobRecord;
    if (!jobs.has(workload)) state.delete(key);
    // The marks of a Job whose end is in the state are of no use any more.
    else if (how !== 'succeeded' && how !== 'failed') known.add(pod.uid);
  }
  return known;
}

interface FoundMarks {
  /** By pod, the names of its marks, and those that only an output is left of. */
  marks: Map<string, Set<string>>;
  /** By pod and container, the highest number. */
  highest: Map<string, Map<string, number>>;
}

async function findRuns(folder: string): Promise<FoundMarks> {
  const marks = new Map<string, Set<string>>();
  const highest = new Map<string, Map<string, number>>();
  for (const file of await readdir(folder)) {
    const [, mark = '', uid = '', container = '', number = ''] =
      /^(([^.]+)\.(.+)\.(\d+))(?:\.out|\.err)?$/.exec(file) ?? [];
    if (mark === '') continue;
    marks.set(uid, (marks.get(uid) ?? new Set()).add(mark));
    // An output may have been left without its mark, when the files of a run were being removed.
    if (mark !== file) continue;
    const ofPod = highest.get(uid) ?? new Map<string, number>();
    ofPod.set(container, Math.max(ofPod.get(container) ?? 0, Number(number)));
    highest.set(uid, ofPod);
  }
  return { marks, highest };
}

async function removeOthers(folder: string, keep: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name);
    if (!keep.has(path)) await rm(path, { recursive: true, force: true });
  }
}

function podUse(
  pod: PodProcess,
  { resource, container }: ResourceQuery,
  { uses, template }: { uses: ReadonlyMap<number, ResourceUse>; template: ReplicaSet['template'] },
): PodUse {
  const measured = template.containers.filter(each => container === undefined || each.name === container);
  const sum = (parts: (number | undefined)[]) =>
    // A container that is not there uses nothing that anybody knows.
    (parts.length === 0 ? [undefined] : parts).reduce<number | undefined>(
      (total, part) => (total === undefined || part === undefined ? undefined : total + part),
      0,
    );
  return {
    pod: pod.record.name,
    used: sum(measured.map(({ name }) => uses.get(pod.groups.get(name) ?? -1)?.[resource])),
    requested: sum(measured.map(({ requests }) => requests[resource])),
    ready: pod.ready,
    startedAt: pod.record.createdAt,
  };
}
