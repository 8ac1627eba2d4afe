import type { ObjectMeta } from './object-meta.ts';
import type { Problem } from './problem.ts';

/** A reference to one key of a Secret in the workload's namespace. */
export interface SecretKeyRef {
  name: string;
  key: string;
}

export type MetricTargetType = 'AverageValue' | 'Value' | 'Utilization';

/** One entry of `triggers`, with KEDA's type name and its metadata as text. */
export interface Trigger {
  /** The position among all triggers of the workload, cpu and memory included; part of the metric name. */
  index: number;
  type: string;
  name?: string;
  metadata: Readonly<Record<string, string>>;
  /** Parameters whose value was given inline as a reference to a Secret's key. */
  secrets: Readonly<Record<string, SecretKeyRef>>;
  metricType?: MetricTargetType;
  useCachedMetrics: boolean;
  authenticationRef?: { name: string; kind: 'TriggerAuthentication' | 'ClusterTriggerAuthentication' };
}

interface WorkloadBase extends ObjectMeta {
  /** `ScaledObject/namespace/name` or `ScaledJob/namespace/name`: what everything about it is filed under. */
  key: string;
  pollingIntervalMs: number;
  /** Undefined where the manifest leaves it out: the defaults differ by use, see keda.sh. */
  minReplicaCount?: number;
  maxReplicaCount: number;
  /** Whether the manifest gave maxReplicaCount itself; ScaledJob arithmetic differs. */
  maxReplicaCountGiven: boolean;
  triggers: readonly Trigger[];
  envSourceContainerName?: string;
}

export interface ScalingPolicy {
  type: 'Pods' | 'Percent';
  value: number;
  periodSeconds: number;
}

export interface ScalingRules {
  stabilizationWindowSeconds?: number;
  selectPolicy?: 'Max' | 'Min' | 'Disabled';
  policies?: readonly ScalingPolicy[];
  /** A Kubernetes quantity, as text. */
  tolerance?: string;
}

/** `behavior` of a HorizontalPodAutoscaler in autoscaling/v2. */
export interface ScalingBehavior {
  scaleUp?: ScalingRules;
  scaleDown?: ScalingRules;
}

export interface Fallback {
  failureThreshold: number;
  replicas: number;
  behavior:
    | 'static'
    | 'currentReplicas'
    | 'currentReplicasIfHigher'
    | 'currentReplicasIfLower'
    | 'scalingModifiers';
}

export interface ScalingModifiers {
  formula?: string;
  target?: string;
  activationTarget?: string;
  metricType?: 'AverageValue' | 'Value';
}

/** A parsed ScaledObject. */
export interface ScaledObject extends WorkloadBase {
  kind: 'ScaledObject';
  target: { apiVersion: string; kind: string; name: string };
  cooldownPeriodMs: number;
  initialCooldownPeriodMs: number;
  idleReplicaCount?: number;
  restoreToOriginalReplicaCount: boolean;
  horizontalPodAutoscalerConfig: { name: string; behavior?: ScalingBehavior };
  scalingModifiers?: ScalingModifiers;
  fallback?: Fallback;
  /** Who turns metrics into replicas; undefined leaves it to the operator's own default. */
  autoscaler?: 'hpa' | 'direct';
}

/** How messages become Jobs, `spec.eventide.delivery`. */
export interface DeliverySpec {
  /** How the body reaches the Job: `env` unless it is large or not text. */
  as: 'env' | 'file';
  /** Messages per Job; more than one arrive as a JSON array. */
  batchSize: number;
  /** Tries of one message before it is dead-lettered. */
  maxAttempts: number;
}

/** A parsed ScaledJob. */
export interface ScaledJob extends WorkloadBase {
  kind: 'ScaledJob';
  /** A batch/v1 JobSpec, as written. */
  jobTargetRef: Readonly<Record<string, unknown>>;
  successfulJobsHistoryLimit: number;
  failedJobsHistoryLimit: number;
  rollout: { strategy?: 'gradual' | 'immediate'; propagationPolicy: 'foreground' | 'background' };
  scalingStrategy: {
    strategy: 'default' | 'custom' | 'accurate' | 'eager';
    customScalingQueueLengthDeduction?: number;
    customScalingRunningJobPercentage?: string;
    pendingPodConditions: readonly string[];
    multipleScalersCalculation: 'min' | 'avg' | 'sum' | 'max';
  };
  /** Present when each message gets a Job of its own: asked for, or the template mentions KEDA_TASK_DATA. */
  delivery?: DeliverySpec;
}

export type Workload = ScaledObject | ScaledJob;

/**
 * What came of reading one manifest: the workload, or the problems that stand in the way; notices never block.
 * Where all that is wrong is fields that do not exist, `rest` is what it is without them, to be checked further.
 * Where all that is wrong is what KEDA and the API server take in all the same, `admissible` is what remains: to be
 * judged at admission, and not to be run.
 */
export type Parsed<T> =
  | { ok: true; value: T; notices: readonly Problem[] }
  | { ok: false; problems: readonly Problem[]; notices: readonly Problem[]; rest?: T; admissible?: T };
