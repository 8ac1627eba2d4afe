import {
  ceil32,
  invalid,
  type MetricContext,
  type MetricProposal,
  type PodSample,
  type ResourceMetric,
  within,
} from './hpa-metrics.ts';

/** The pods' total use and request in thousandths, and how many pods are in it. */
interface Sums {
  usage: number;
  requests: number;
  pods: number;
}

interface Groups {
  /** Pods whose sample counts. */
  counted: Sums;
  /** Pods that run but have no sample; their usage is the most they are taken to use. */
  missing: Sums;
  /** Pods that are not ready, so that their sample says nothing yet. */
  unready: Sums;
  requestMissing: string | undefined;
}

/**
 * What the use of cpu or memory asks for, as GetResourceReplicas and GetRawResourceReplicas of Kubernetes
 * 1.36 compute it. Pods without a sample are taken to use all of their request when the rest says down, and
 * nothing when it says up; unready pods to use nothing when it says up. If that turns the direction around,
 * nothing is done.
 */
export function proposeResource(metric: ResourceMetric, context: MetricContext): MetricProposal {
  if (metric.pods === undefined) return invalid(metric, metric.problem ?? 'its use is unknown');
  if (metric.pods.length === 0) return invalid(metric, 'the target has no pods');
  if (!(metric.target > 0)) return invalid(metric, `its target ${metric.target} is not above zero`);
  const { counted, missing, unready, requestMissing } = group(metric, metric.pods, context);
  if (counted.pods === 0) return invalid(metric, 'no ready pod has a sample');
  if (metric.targetType === 'Utilization') {
    if (requestMissing !== undefined) {
      return invalid(metric, `pod ${requestMissing} has no ${metric.resource} request`);
    }
    if (counted.requests === 0) return invalid(metric, `the pods request no ${metric.resource}`);
  }
  const measure = measureOf(metric);
  const { value, ratio } = measure(counted);
  const replicas = decide({ counted, missing, unready }, { ratio, measure, context });
  const { kind, name, targetType, target } = metric;
  return { kind, name, targetType, target, value, ratio, replicas, problem: undefined };
}

interface Judging {
  ratio: number;
  measure: (sums: Sums) => { ratio: number };
  context: MetricContext;
}

function decide(
  { counted, missing, unready }: Omit<Groups, 'requestMissing'>,
  { ratio, measure, context }: Judging,
): number {
  const { replicas, tolerance } = context;
  const upWithUnready = unready.pods > 0 && ratio > 1;
  if (!upWithUnready && missing.pods === 0) {
    return within(tolerance, ratio) ? replicas : ceil32(ratio * counted.pods);
  }
  let assumed = counted;
  if (missing.pods > 0 && ratio < 1) assumed = plus(assumed, missing, missing.usage);
  if (missing.pods > 0 && ratio > 1) assumed = plus(assumed, missing, 0);
  if (upWithUnready) assumed = plus(assumed, unready, 0);
  const next = measure(assumed).ratio;
  const turned = (ratio < 1 && next > 1) || (ratio > 1 && next < 1);
  if (within(tolerance, next) || turned) return replicas;
  const proposed = ceil32(next * assumed.pods);
  const contradicts = (next < 1 && proposed > replicas) || (next > 1 && proposed < replicas);
  return contradicts ? replicas : proposed;
}

const plus = (a: Sums, b: Sums, usage: number): Sums => ({
  usage: a.usage + usage,
  requests: a.requests + b.requests,
  pods: a.pods + b.pods,
});

function measureOf(metric: ResourceMetric): (sums: Sums) => { value: number; ratio: number } {
  if (metric.targetType === 'Utilization') {
    return ({ usage, requests }) => {
      const percent = percentOf(usage, requests);
      return { value: percent, ratio: percent / metric.target };
    };
  }
  const target = ceilMilli(metric.target);
  return ({ usage, pods }) => {
    const mean = Math.trunc(usage / pods);
    return { value: mean / 1000, ratio: mean / target };
  };
}

/** The whole percents that `part` is of `whole`, exact beyond the integers a double can hold. */
function percentOf(part: number, whole: number): number {
  const scaled = part * 100;
  if (scaled <= Number.MAX_SAFE_INTEGER) return Math.trunc(scaled / whole);
  return Number((BigInt(part) * 100n) / BigInt(whole));
}

/** A quantity in thousandths, rounded up as Kubernetes does, but not for the error of a double. */
function ceilMilli(quantity: number): number {
  const exact = quantity * 1000;
  const near = Math.round(exact);
  return Math.abs(exact - near) <= Math.abs(near) * 1e-12 ? near : Math.ceil(exact);
}

function group(metric: ResourceMetric, pods: readonly PodSample[], context: MetricContext): Groups {
  const counted = { usage: 0, requests: 0, pods: 0 };
  const missing = { usage: 0, requests: 0, pods: 0 };
  const unready = { usage: 0, requests: 0, pods: 0 };
  let requestMissing: string | undefined;
  for (const pod of pods) {
    // A pod without a request spoils utilisation even where its use does not count.
    if (pod.requested === undefined) requestMissing ??= pod.pod;
    if (pod.deleting === true || pod.phase === 'Failed') continue;
    const request = ceilMilli(pod.requested ?? 0);
    if (pod.phase === 'Pending') add(unready, request, 0);
    else if (pod.used === undefined) add(missing, request, mostUse(metric, request));
    else if (metric.resource === 'cpu' && !cpuCounts(pod, context)) add(unready, request, 0);
    else add(counted, request, ceilMilli(pod.used));
  }
  return { counted, missing, unready, requestMissing };
}

function add(sums: Sums, request: number, usage: number): void {
  sums.requests += request;
  sums.usage += usage;
  sums.pods += 1;
}

/** What a pod without a sample is taken to use on the way down. */
function mostUse(metric: ResourceMetric, request: number): number {
  if (metric.targetType === 'AverageValue') return ceilMilli(metric.target);
  return Math.trunc((request * Math.max(100, metric.target)) / 100);
}

/** Starting up takes cpu that serving does not; such a sample would scale up for nothing. */
function cpuCounts(pod: PodSample, context: MetricContext): boolean {
  if (pod.startedAt === undefined) return false;
  const readySince = pod.readySince ?? pod.startedAt;
  if (pod.startedAt + context.cpuInitializationPeriodMs > context.now) {
    return pod.ready && !(pod.sampledAt !== undefined && pod.sampledAt < readySince + (pod.windowMs ?? 0));
  }
  // After that only pods that have never been ready are left out.
  return pod.ready || pod.startedAt + context.initialReadinessDelayMs <= readySince;
}
