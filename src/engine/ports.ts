import type { Fault } from '../base/errors.ts';
import type { ScaledJob, ScaledObject, ScalingBehavior, Workload } from '../spec/workload.ts';

/**
 * What the engine needs of the world it scales. A cluster implements it with the API server, a laptop with
 * processes. Everything here may throw Faults; a world that cannot answer makes the engine hold.
 */
export interface World {
  /** How the target of a ScaledObject stands. @throws Fault TARGET_MISSING */
  readTarget(workload: ScaledObject, signal: AbortSignal): Promise<TargetState>;
  /** Sets the target's replicas; returns once the world has taken it on, not once they run. */
  setReplicas(workload: ScaledObject, replicas: number, signal: AbortSignal): Promise<void>;
  /**
   * Makes the target's HorizontalPodAutoscaler what is wanted, under its right name, whoever made or edited it;
   * without a wish there is none afterwards. Asks nothing and writes nothing where it is so already.
   *
   * @returns how it stands; undefined where there is none, as in a world without any
   * @throws Fault TARGET_TAKEN where it is not wanted, but somebody else's scales the target
   */
  ensureAutoscaler(
    workload: ScaledObject,
    wanted: AutoscalerSpec | undefined,
    signal: AbortSignal,
  ): Promise<AutoscalerState | undefined>;
  /** Each pod's use of cpu or memory, for resource triggers in direct mode. */
  readResource(workload: ScaledObject, use: ResourceQuery, signal: AbortSignal): Promise<PodUse[]>;
  /** All Jobs of a ScaledJob, finished ones included. */
  listJobs(workload: ScaledJob, signal: AbortSignal): Promise<Job[]>;
  /** Creates one Job. With a name that exists already it does nothing and says so. */
  createJob(workload: ScaledJob, request: JobRequest, signal: AbortSignal): Promise<'created' | 'exists'>;
  /** Keeps changed task data (a new receipt, a settlement) with the Job. */
  updateTask(workload: ScaledJob, jobName: string, task: Task, signal: AbortSignal): Promise<void>;
  deleteJob(workload: ScaledJob, jobName: string, signal: AbortSignal): Promise<void>;
  /** Tells people and machines what was decided and how the workload is; the one writer of status and events. */
  report(workload: Workload, report: Report): void;
}

export interface TargetState {
  /** What its spec asks for. */
  replicas: number;
  /** Pods that are Running and Ready. */
  readyReplicas: number;
}

/** What a HorizontalPodAutoscaler of ours is to be; its name and target are the workload's. */
export interface AutoscalerSpec {
  minReplicas: number;
  maxReplicas: number;
  behavior: ScalingBehavior | undefined;
  metrics: readonly AutoscalerMetric[];
}

export type AutoscalerMetric =
  | { kind: 'external'; name: string; targetType: 'AverageValue' | 'Value'; target: number }
  | {
      kind: 'resource';
      resource: 'cpu' | 'memory';
      container: string | undefined;
      targetType: 'AverageValue' | 'Utilization';
      /** Cores or bytes per pod for AverageValue, percent for Utilization. */
      target: number;
    };

/** How a HorizontalPodAutoscaler stands. */
export interface AutoscalerState {
  name: string;
  /** Its ScalingActive condition; undefined while it has none. */
  scalingActive: { status: string; reason: string; message: string } | undefined;
}

export interface ResourceQuery {
  resource: 'cpu' | 'memory';
  container: string | undefined;
}

/** One pod's use, in cores or bytes. */
export interface PodUse {
  pod: string;
  /** Undefined where no sample of this pod is there yet. */
  used: number | undefined;
  /** What the pod requests; undefined where it requests nothing. */
  requested: number | undefined;
  ready: boolean;
  /** Epoch milliseconds; undefined where it has not started. */
  startedAt: number | undefined;
  /** Since when it is as ready as it is, epoch milliseconds; taken as the start where it is left out. */
  readySince?: number;
  /** When the sample was taken, epoch milliseconds, and how far it looks back. */
  sampledAt?: number;
  windowMs?: number;
  /** `Running` where it is left out. */
  phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
  deleting?: boolean;
}

/** A Job as the world shows it. */
export interface Job {
  name: string;
  state: 'pending' | 'running' | 'succeeded' | 'failed';
  /** Of each of its pods: the types of conditions that are True, and the phase. */
  pods: readonly { phase: string; conditions: readonly string[] }[];
  createdAt: number;
  finishedAt?: number;
  /** The ScaledJob's generation it was made from. */
  generation?: number;
  /**
   * Set where its work is done and the Job does not say so yet, as in a cluster for a second: it takes no slot any
   * more, but has not finished.
   */
  worked?: true;
  /** Present on a Job that carries messages. */
  task?: Task;
}

/** The messages a Job carries, kept with it: all that a later process needs to settle them. */
export interface Task {
  /** What the Job's name is made from. */
  hash: string;
  attempt: number;
  triggerIndex: number;
  triggerType: string;
  queueId: string;
  messages: readonly { id: string; receipt: string }[];
  claimedAt: number;
  /** Set once the messages are settled; the Job may then go. */
  settled?: 'acknowledged' | 'released' | 'dead-lettered' | 'lost';
}

export interface JobRequest {
  /** Given for a Job that carries messages; otherwise the world makes one up from the ScaledJob's name. */
  name?: string;
  /** Added to every container. */
  env: Readonly<Record<string, string>>;
  /** A file every container can read; its path reaches them in the variable. */
  file?: {
    variable: string;
    body: Uint8Array;
    /** Why it goes by file though the manifest did not ask for that. */
    because?: string;
  };
  task?: Task;
}

/** How a workload is, for status, events and the console. Sent when something in it changed. */
export interface Report {
  at: number;
  /** What was decided, in words. */
  why: string;
  ready: Condition;
  active: Condition;
  fallback?: Condition;
  paused?: Condition;
  /** Set where there is a HorizontalPodAutoscaler that says how it does. */
  hpaActive?: Condition;
  replicas?: number;
  desired?: number;
  /** How the target came to have other replicas than at the last report, or should have; oldest first. */
  changes?: readonly Change[];
  /** Jobs that were created by count, and those that were not. */
  created?: { count: number; failures: readonly Fault[] };
  jobs?: JobCounts;
  /** Where the paused target was told to stand. */
  pausedReplicas?: number;
  /** When it was last active, epoch milliseconds; only while it is not active. */
  lastActiveAt?: number;
  triggers: readonly TriggerReport[];
}

/** A change of the target's replicas. */
export interface Change {
  from: number;
  to: number;
  /** `activation`: we woke it; `deactivation`: we put it to sleep; `scaling`: we set it; `autoscaler`: the HPA did; `other`: somebody else. */
  kind: 'activation' | 'deactivation' | 'scaling' | 'autoscaler' | 'other';
  /** In words, with what it was computed from. */
  why: string;
  /** What woke it: the metric names of the active triggers; none where it was forced. */
  active?: readonly string[];
  /** Why it was not done. */
  failed?: Fault;
}

export interface JobCounts {
  pending: number;
  running: number;
  succeeded: number;
  failed: number;
}

export interface Condition {
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
}

export interface TriggerReport {
  name: string;
  type: string;
  metricName: string | undefined;
  /** Undefined where it is unknown. */
  value: number | undefined;
  active: boolean;
  /** How reading it went; only where a fallback is configured. */
  health?: { numberOfFailures: number; status: 'Happy' | 'Failing' };
  fault?: Fault;
}
