import { setMaxListeners } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import type { References } from '../auth/references.ts';
import type { SecretStores } from '../auth/stores.ts';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { HttpOptions } from '../base/http.ts';
import type { Log } from '../base/log.ts';
import type { ClusterReader, TokenSource } from '../scaler/context.ts';
import type { AnyScaler } from '../scaler/define.ts';
import { pauseOf } from '../spec/annotations.ts';
import type { Workload } from '../spec/workload.ts';
import type { EngineContext } from './context.ts';
import { DueHeap } from './due-heap.ts';
import { type Memory, newMemory } from './memory.ts';
import type { Job, Report, TriggerReport, World } from './ports.ts';
import { Readings } from './readings.ts';
import type { DecisionRecord } from './records.ts';
import { reportTrigger } from './report.ts';
import { runScaledJob } from './scaled-job-run.ts';
import { runScaledObject } from './scaled-object-run.ts';
import { Sources } from './sources.ts';
import type { MetricAnswer } from './trigger-answers.ts';
import type { WorkloadRun } from './workload-run.ts';

export interface EngineOptions {
  world: World;
  references: References;
  /** The scaler of a type; undefined for a type nobody knows. */
  loadScaler(type: string): Promise<AnyScaler | undefined>;
  tokens: TokenSource;
  /** Without them, what secret stores hold counts as missing. */
  stores?: SecretStores;
  /** For the few scalers that read the cluster; none unless given. */
  cluster?: ClusterReader;
  /**
   * Who sets the replicas above one of ScaledObjects that do not say. Left out in a world without
   * HorizontalPodAutoscalers: there it is always us.
   */
  autoscaler?: 'hpa' | 'direct';
  /** Only answer autoscalers, and decide nothing before `lead` is called; leads at once unless told. */
  standby?: boolean;
  clock: Clock;
  log: Log;
  http?: HttpOptions;
  /** How long one reading may take where the trigger does not say, in milliseconds; 3 s unless told, as in KEDA. */
  readTimeoutMs?: number;
  /** The folder below which credentials may be read from files; none unless given. */
  fileRoot?: string;
  /** How many decisions of each workload are remembered; 32 unless told. */
  recordsPerWorkload?: number;
  random?: () => number;
}

/** How one workload is. */
export interface WorkloadStatus {
  key: string;
  kind: Workload['kind'];
  namespace: string;
  name: string;
  /** Undefined before the first decision. */
  report: Report | undefined;
  paused: boolean;
  /** Decisions that something could not be read for, or that could not be carried out. */
  errors: number;
  /** How much later than due the last decision was begun, in milliseconds. */
  lateMs: number;
  triggers: readonly TriggerStatus[];
  /** What the formula last came to; undefined without one, or before. */
  composite?: { value: number | undefined; active: boolean };
  /** Changes of a target's replicas by us, and those that were not done; of a ScaledObject only. */
  changes?: { out: number; in: number; failed: number };
  /** Messages handed to Jobs, and what became of them; of a ScaledJob only. */
  messages?: { claimed: number; acknowledged: number; released: number; deadLettered: number };
}

/** How one trigger is. */
export interface TriggerStatus extends TriggerReport {
  /** Its place among all triggers of the workload. */
  index: number;
  /** Whether the manifest gave it a name of its own. */
  named: boolean;
  /** How long its last reading took, in milliseconds. */
  latencyMs: number;
  /** Readings that failed. */
  errors: number;
}

/** Reads, decides and applies for any number of workloads until it is disposed. */
export interface Engine extends AsyncDisposable {
  /**
   * Takes on a workload, or a new version of it; what is remembered of the old one goes on.
   *
   * @param before what an earlier process left: when the workload ceased to be active, in epoch milliseconds
   */
  set(workload: Workload, before?: { lastActiveAt?: number | undefined }): void;
  /**
   * Lets go of a workload; what it scaled stays as it is.
   *
   * @returns once nothing is under way for it any more. Never throws
   */
  remove(key: string): Promise<void>;
  /** Begins to decide, where it was only standing by. */
  lead(): void;
  /** Has a workload decided on at once; nothing happens for one that is not there. */
  wake(key: string): void;
  /** The target of a ScaledObject appeared, went or has other replicas. */
  targetChanged(key: string): void;
  /** What an autoscaler that asks for a metric of a ScaledObject is told. Never throws. */
  readMetric(key: string, metricName: string): Promise<MetricAnswer>;
  /** An object that triggers may get credentials from was edited: they are used from the next reading on. */
  referenceChanged(kind: string, namespace: string, name: string): void;
  /** A Job of a ScaledJob was created or changed. */
  jobChanged(key: string, job: Job): void;
  /** A Job of a ScaledJob is gone. */
  jobGone(key: string, name: string): void;
  /** Oldest first; undefined for a workload that is not there. */
  records(key: string): readonly DecisionRecord[] | undefined;
  snapshot(): readonly WorkloadStatus[];
  /** How many connections to sources are open. */
  readonly connections: number;
}

interface Held {
  run: WorkloadRun;
  /** Ends with what had this key before, which may still be applying something; undefined where nothing had. */
  ready: Promise<unknown> | undefined;
  /** The tick under way. */
  work: Promise<void> | undefined;
  /** Something happened meanwhile that the tick under way may not have seen. */
  again: boolean;
  removed: boolean;
  ticked: boolean;
  /** Its place among all others, where the first tick came earlier than that; monotonic. */
  phase: number | undefined;
}

/** What falls due within this time, in milliseconds, is started together: one timer instead of many. */
const togetherMs = 2;
/** The first readings of new workloads at zero are this far apart, in milliseconds. */
const laneMs = 1;
/** How long stopping waits for what is under way, in milliseconds. */
const stopMs = 10_000;
const noCluster: ClusterReader = {
  get: async () => {
    throw new Fault('NOT_SUPPORTED', 'there is no cluster here to read from');
  },
};

/** Starts an engine; it opens nothing and does nothing before a workload is set. */
export function createEngine(options: EngineOptions): Engine {
  const { world, references, loadScaler, tokens, clock, log, random = Math.random } = options;
  const stop = new AbortController();
  // Every reading under way listens to it.
  setMaxListeners(0, stop.signal);
  const recordsPerWorkload = options.recordsPerWorkload ?? 32;
  const http = options.http ?? {};
  const cluster = options.cluster ?? noCluster;
  const sources = new Sources({
    clock,
    log,
    random,
    tokens,
    http,
    cluster,
    clientName: 'eventide',
    ...(options.readTimeoutMs === undefined ? {} : { readTimeoutMs: options.readTimeoutMs }),
    stop: stop.signal,
  });
  const context: EngineContext = {
    world,
    autoscalerOf: ({ autoscaler }) =>
      options.autoscaler === undefined ? 'direct' : (autoscaler ?? options.autoscaler),
    binding: {
      references,
      loadScaler,
      signal: stop.signal,
      ...(options.fileRoot === undefined ? {} : { fileRoot: options.fileRoot }),
      ...(options.stores === undefined ? {} : { stores: options.stores }),
    },
    sources,
    readings: new Readings(sources, clock),
    clock,
    log,
    random,
    stop: stop.signal,
    startedAt: clock.now(),
  };
  const held = new Map<string, Held>();
  const heap = new DueHeap<WorkloadRun>();
  const underWay = new Set<Promise<void>>();
  /** By key, the last version that was let go and has not ended yet. */
  const leaving = new Map<string, Promise<void>>();
  let timer: Disposable | undefined;
  let timerDue = Number.POSITIVE_INFINITY;
  let laneFree = 0;
  let stopped: Promise<void> | undefined;
  let leading = options.standby !== true;

  function plan(run: WorkloadRun, due: number): void {
    if (!leading) return;
    heap.set(run, due);
    if (due < timerDue) arm();
  }

  function arm(): void {
    timer?.[Symbol.dispose]();
    const first = heap.first();
    timerDue = first?.due ?? Number.POSITIVE_INFINITY;
    timer = first === undefined ? undefined : clock.after(first.due - clock.elapsed(), fire);
  }

  function fire(): void {
    const until = clock.elapsed() + togetherMs;
    for (let first = heap.first(); first !== undefined && first.due <= until; first = heap.first()) {
      heap.delete(first);
      start(held.get(first.workload.key), first);
    }
    arm();
  }

  function start(one: Held | undefined, run: WorkloadRun): void {
    if (one?.run !== run || stopped !== undefined) return;
    one.ticked = true;
    const begun = clock.elapsed();
    run.memory.lateMs = Math.max(0, begun - run.due);
    const work = tick(one)
      .catch(thrown => {
        log.error('a decision failed', { workload: run.workload.key, fault: faultOf(thrown) });
      })
      .then(() => {
        underWay.delete(work);
        one.work = undefined;
        if (one.removed || stopped !== undefined) return;
        const regular = one.phase ?? begun + run.workload.pollingIntervalMs;
        one.phase = undefined;
        plan(run, Math.max(one.again ? begun : regular, clock.elapsed()));
      });
    one.work = work;
    underWay.add(work);
  }

  async function tick(one: Held): Promise<void> {
    await one.ready;
    one.again = false;
    if (!one.removed) await one.run.tick();
  }

  function wake(key: string): void {
    const one = held.get(key);
    if (one === undefined || stopped !== undefined) return;
    if (one.work !== undefined) one.again = true;
    else plan(one.run, clock.elapsed());
  }

  function letGo(one: Held): void {
    one.removed = true;
    heap.delete(one.run);
    const { key } = one.run.workload;
    const closing = Promise.all([one.ready, one.work, one.run.close()])
      .catch(thrown => {
        log.error('closing failed', { workload: key, fault: faultOf(thrown) });
      })
      .then(() => {
        underWay.delete(closing);
        if (leaving.get(key) === closing) leaving.delete(key);
      });
    underWay.add(closing);
    leaving.set(key, closing);
  }

  function take(workload: Workload, lastActiveAt: number | undefined): void {
    const { key } = workload;
    const before = held.get(key);
    if (before !== undefined && isDeepStrictEqual(before.run.workload, workload)) return;
    if (before !== undefined) letGo(before);
    // The same name with another uid is another object: nothing that is known of the old one holds for it.
    const known = before?.run.workload.uid === workload.uid ? before.run.memory : undefined;
    const memory = known ?? newMemory(recordsPerWorkload);
    if (known === undefined) memory.lastActiveAt = lastActiveAt;
    const run = runOf(workload, memory);
    const one: Held = {
      run,
      ready: leaving.get(key),
      work: undefined,
      again: false,
      removed: false,
      ticked: false,
      phase: undefined,
    };
    held.set(key, one);
    if (before === undefined) planFirst(one);
    else plan(run, clock.elapsed());
  }

  function runOf(workload: Workload, memory: Memory): WorkloadRun {
    const onPush = () => wake(workload.key);
    return workload.kind === 'ScaledObject'
      ? runScaledObject(workload, context, { memory, onPush })
      : runScaledJob(workload, context, { memory, onChange: onPush });
  }

  /** First readings are spread over their interval; those that are urgent go first too, one after the other. */
  function planFirst(one: Held): void {
    if (!leading) return;
    const { run } = one;
    const phase = clock.elapsed() + random() * run.workload.pollingIntervalMs;
    plan(run, phase);
    void run.isUrgent().then(urgent => {
      if (!urgent || one.ticked || one.removed) return;
      laneFree = Math.max(laneFree + laneMs, clock.elapsed());
      if (laneFree >= run.due) return;
      one.phase = phase;
      plan(run, laneFree);
    });
  }

  async function close(): Promise<void> {
    timer?.[Symbol.dispose]();
    for (const one of held.values()) letGo(one);
    stop.abort(new Fault('CANCELLED', 'the engine was stopped'));
    const quiet = Promise.all(underWay).then(() => sources[Symbol.asyncDispose]());
    await new Promise<void>(resolve => {
      const late = clock.after(stopMs, resolve);
      void quiet.then(() => {
        late[Symbol.dispose]();
        resolve();
      });
    });
  }

  return {
    set(workload, earlier) {
      if (stopped === undefined) take(workload, earlier?.lastActiveAt);
    },
    remove(key) {
      const one = held.get(key);
      if (one !== undefined && stopped === undefined) {
        held.delete(key);
        letGo(one);
      }
      return leaving.get(key) ?? Promise.resolve();
    },
    lead() {
      if (leading || stopped !== undefined) return;
      leading = true;
      for (const one of held.values()) planFirst(one);
    },
    wake,
    targetChanged(key) {
      const one = held.get(key);
      void one?.run.isNews().then(news => {
        if (news && !one.removed) wake(key);
      });
    },
    readMetric: async (key, metricName) =>
      (await held.get(key)?.run.metric(metricName)) ?? { kind: 'missing' },
    referenceChanged(kind, namespace, name) {
      for (const [key, { run }] of held) if (run.referenceChanged(kind, namespace, name)) wake(key);
    },
    jobChanged: (key, job) => held.get(key)?.run.jobChanged(job),
    jobGone: (key, name) => held.get(key)?.run.jobGone(name),
    records: key => held.get(key)?.run.memory.records.all,
    snapshot: () => [...held.values()].map(({ run }) => statusOf(run)),
    get connections() {
      return sources.open;
    },
    [Symbol.asyncDispose]() {
      stopped ??= close();
      return stopped;
    },
  };
}

function statusOf({ workload, memory, triggers }: WorkloadRun): WorkloadStatus {
  const { key, kind, namespace, name } = workload;
  const { report, errors, lateMs, composite, changes, messages } = memory;
  const status: WorkloadStatus = {
    key,
    kind,
    namespace,
    name,
    report,
    paused: pauseOf(workload).full,
    errors,
    lateMs,
    triggers: triggers.map(state => ({
      ...reportTrigger(state),
      index: state.trigger.index,
      named: state.trigger.name !== undefined,
      latencyMs: state.latencyMs,
      errors: state.errors,
    })),
  };
  if (kind === 'ScaledObject') status.changes = changes;
  else status.messages = messages;
  if (composite !== undefined) status.composite = composite;
  return status;
}
