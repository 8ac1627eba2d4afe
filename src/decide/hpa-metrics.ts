import { type Answer, reportedValue, toMilli } from './reading.ts';

const maxInt32 = 2 ** 31 - 1;

/** One metric of the autoscaler, with what is known of it now. */
export type HpaMetric = ExternalMetric | ResourceMetric;

/** The one number that a trigger reports. */
export interface ExternalMetric {
  kind: 'external';
  name: string;
  targetType: 'AverageValue' | 'Value';
  target: number;
  /** Undefined where it is unknown; `problem` then says why. */
  value: number | undefined;
  /** What is wrong: without a value why there is none, with one why the fallback's stands in. */
  problem?: string;
}

/** The use of cpu or memory by the target's pods. */
export interface ResourceMetric {
  kind: 'resource';
  name: string;
  resource: 'cpu' | 'memory';
  targetType: 'AverageValue' | 'Utilization';
  /** Cores or bytes per pod for AverageValue, percent of the request for Utilization. */
  target: number;
  /** All pods of the target; undefined where their use is unknown, and `problem` then says why. */
  pods: readonly PodSample[] | undefined;
  problem?: string;
}

/** One pod and its use, in cores or bytes. Only `pod`, `used`, `requested` and `ready` have to be known. */
export interface PodSample {
  pod: string;
  /** Undefined where there is no sample of this pod. */
  used: number | undefined;
  /** Undefined where a container that counts has no request. */
  requested: number | undefined;
  /** False where the pod's Ready condition is False. */
  ready: boolean;
  /** Epoch milliseconds; undefined where the pod has not started. */
  startedAt?: number | undefined;
  /** When readiness last changed, epoch milliseconds; taken as the start where it is left out. */
  readySince?: number | undefined;
  /** When the sample was taken and how long it looked back; a sample from before the pod was ready is ignored. */
  sampledAt?: number | undefined;
  windowMs?: number | undefined;
  /** `Running` where it is left out. */
  phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
  deleting?: boolean;
}

/** What one metric asks for, with the arithmetic. */
export interface MetricProposal {
  readonly kind: HpaMetric['kind'];
  readonly name: string;
  readonly targetType: 'AverageValue' | 'Value' | 'Utilization';
  readonly target: number;
  /** The whole value of an external metric; of a resource the mean per pod, or percent of the request. */
  readonly value: number | undefined;
  /** How much more, or less, is used than the target says; undefined where the metric is unknown. */
  readonly ratio: number | undefined;
  /** Undefined where the metric is unknown; `problem` says why. */
  readonly replicas: number | undefined;
  /** Where `replicas` is there all the same, the value is that of the fallback. */
  readonly problem: string | undefined;
}

/** How far the ratio may be from 1 before anything is done. */
export interface Tolerance {
  readonly up: number;
  readonly down: number;
}

/** What a proposal depends on beside the metric itself. */
export interface MetricContext {
  /** The replicas that the target's spec asks for. */
  replicas: number;
  /** The pods that there are. */
  statusReplicas: number;
  readyReplicas: number;
  tolerance: Tolerance;
  /** How long after its start a pod's cpu use is trusted only while the pod is ready. */
  cpuInitializationPeriodMs: number;
  /** A pod that turned unready within this time of its start has never been ready. */
  initialReadinessDelayMs: number;
  /** Epoch milliseconds. */
  now: number;
}

/** A trigger's metric with what is known of it; undefined answers are triggers that were not read yet. */
export function externalMetric(
  { name, targetType, target }: Pick<ExternalMetric, 'name' | 'targetType' | 'target'>,
  answer: Answer | undefined,
): ExternalMetric {
  if (answer?.kind === 'read') {
    return { kind: 'external', name, targetType, target, value: reportedValue(answer.value) };
  }
  if (answer?.kind === 'fallback') {
    const value = reportedValue(answer.value);
    return { kind: 'external', name, targetType, target, value, problem: answer.fault.message };
  }
  const problem = answer === undefined ? 'it has not been read yet' : answer.fault.message;
  return { kind: 'external', name, targetType, target, value: undefined, problem };
}

/** Whether a ratio is so close to 1 that nothing is done. */
export function within(tolerance: Tolerance, ratio: number): boolean {
  return 1 - tolerance.down <= ratio && ratio <= 1 + tolerance.up;
}

/** Go's conversion of a ceiling to int32, except that what is too large stays the largest. */
export function ceil32(value: number): number {
  return Math.min(Math.ceil(value), maxInt32);
}

/** A metric from which nothing can be computed, and why. */
export function invalid(
  metric: HpaMetric,
  problem: string,
  value: number | undefined = undefined,
): MetricProposal {
  const { kind, name, targetType, target } = metric;
  return { kind, name, targetType, target, value, ratio: undefined, replicas: undefined, problem };
}

/**
 * What an external metric asks for, as GetExternalPerPodMetricReplicas and GetExternalMetricReplicas of
 * Kubernetes 1.36 compute it: AverageValue divides the whole by the target, Value multiplies the ready pods
 * by the ratio (or, where there are none because the target is at zero, takes the ratio itself).
 */
export function proposeExternal(metric: ExternalMetric, context: MetricContext): MetricProposal {
  if (metric.value === undefined) return invalid(metric, metric.problem ?? 'it has no value');
  const target = toMilli(metric.target);
  if (target === 0) return invalid(metric, `its target ${metric.target} is not above zero`, metric.value);
  const usage = toMilli(metric.value);
  const proposed =
    metric.targetType === 'AverageValue'
      ? perPod(usage, target, context)
      : perReadyPod(usage / target, context);
  if (proposed === undefined) return invalid(metric, 'the target has no pods', metric.value);
  return {
    kind: 'external',
    name: metric.name,
    targetType: metric.targetType,
    target: metric.target,
    value: metric.value,
    ratio: metric.targetType === 'AverageValue' ? usage / (target * context.statusReplicas) : usage / target,
    replicas: proposed,
    problem: metric.problem,
  };
}

function perPod(usage: number, target: number, { statusReplicas, tolerance }: MetricContext): number {
  // Without pods the ratio is no number or infinite, and neither is within any tolerance.
  if (within(tolerance, usage / (target * statusReplicas))) return statusReplicas;
  return ceil32(usage / target);
}

function perReadyPod(ratio: number, context: MetricContext): number | undefined {
  if (context.replicas === 0) return ceil32(ratio);
  if (within(context.tolerance, ratio)) return context.replicas;
  if (context.statusReplicas === 0) return undefined;
  return ceil32(ratio * context.readyReplicas);
}
