import { Fault } from '../base/errors.ts';
import type { Fallback } from '../spec/workload.ts';
import { type Condition, fallbackActive, noFallback } from './conditions.ts';
import type { Answer, Reading } from './reading.ts';

/** How a metric has been doing, `status.health` of a ScaledObject. */
export interface Health {
  readonly numberOfFailures: number;
  readonly status: 'Happy' | 'Failing';
}

const happy: Health = Object.freeze({ numberOfFailures: 0, status: 'Happy' });
const maxInt32 = 2 ** 31 - 1;

/**
 * Counts failures in a row; one success starts anew. Every failed Reading counts, also where the scaler could
 * not be built or the source could not be reached, which KEDA leaves out. Only our own cancelling does not.
 * The same value comes back where nothing changed.
 */
export function nextHealth(health: Health | undefined, reading: Reading): Health {
  if (reading.ok) return health?.numberOfFailures === 0 ? health : happy;
  if (reading.fault.code === 'CANCELLED') return health ?? happy;
  const before = health?.numberOfFailures ?? 0;
  return { numberOfFailures: Math.min(before + 1, maxInt32), status: 'Failing' };
}

/** Whether a metric failed so often that its fallback applies: more often than the threshold, not just as often. */
export function onFallback(health: Health | undefined, fallback: Fallback): boolean {
  return health?.status === 'Failing' && health.numberOfFailures > fallback.failureThreshold;
}

/** The Fallback condition of a ScaledObject, from the health of all its external metrics. */
export function fallbackCondition(healths: Iterable<Health>, fallback: Fallback | undefined): Condition {
  if (fallback === undefined) return noFallback;
  for (const health of healths) if (onFallback(health, fallback)) return fallbackActive;
  return noFallback;
}

/** The target that a fallback value is computed from: the trigger's own, or the formula's where there is one. */
export interface FallbackTarget {
  targetType: 'AverageValue' | 'Value';
  target: number;
  /** What the target's spec asks for now; undefined where that cannot be read. */
  replicas: number | undefined;
  /** Pods that are Running and Ready; undefined where that cannot be told. */
  readyReplicas: number | undefined;
}

/**
 * What a decision works with instead of a failed reading: the reading itself where it is good, the fallback's
 * value once the metric failed often enough, and until then nothing. `health` already counts this reading.
 * Not for cpu and memory triggers, nor for ScaledJobs: they have no fallback, so pass none.
 */
export function answerOf(
  reading: Reading,
  health: Health,
  { fallback, target }: { fallback: Fallback | undefined; target: FallbackTarget },
): Answer {
  if (reading.ok) {
    return { kind: 'read', value: reading.value, active: reading.active, at: reading.at };
  }
  const { fault, at } = reading;
  if (fallback === undefined || !onFallback(health, fallback)) return { kind: 'unknown', fault, at };
  if (fallback.behavior === 'scalingModifiers') return { kind: 'absent', fault, at };
  const replicas = fallbackReplicas(fallback, target.replicas);
  if (replicas === undefined) return { kind: 'unknown', fault, at };
  const value = fallbackValue(replicas, target);
  if (value === undefined) {
    const message = `${fault.message}; its fallback needs a ready pod to turn ${replicas} replicas into a value, and there is none`;
    return { kind: 'unknown', fault: new Fault(fault.code, message, { cause: fault }), at };
  }
  return { kind: 'fallback', value, replicas, fault, at };
}

/**
 * The replicas a fallback stands for. Undefined where the behaviour asks for the current ones and they are
 * unknown, and for `scalingModifiers`, where the formula decides.
 */
export function fallbackReplicas(fallback: Fallback, current: number | undefined): number | undefined {
  const { behavior, replicas } = fallback;
  switch (behavior) {
    case 'static':
      return replicas;
    case 'currentReplicas':
      return current;
    case 'currentReplicasIfHigher':
      return current === undefined ? undefined : Math.max(current, replicas);
    case 'currentReplicasIfLower':
      return current === undefined ? undefined : Math.min(current, replicas);
    case 'scalingModifiers':
      return undefined;
  }
}

/**
 * The metric value from which the HPA computes that many replicas, in thousandths cut off as KEDA does.
 * Undefined for a Value target without a ready pod, since the HPA multiplies those by the ready pods.
 */
export function fallbackValue(replicas: number, target: FallbackTarget): number | undefined {
  if (target.targetType === 'AverageValue') return Math.trunc(target.target * 1000 * replicas) / 1000;
  if (target.readyReplicas === undefined || target.readyReplicas === 0) return undefined;
  return Math.trunc(target.target * 1000 * (replicas / target.readyReplicas)) / 1000;
}

/**
 * The answer of a formula while a trigger is on its fallback: the first such trigger's value stands for the
 * whole. Undefined where no trigger is, and the formula has to be computed.
 */
export function compositeFallback(answers: readonly Answer[]): Answer | undefined {
  return answers.find(answer => answer.kind === 'fallback');
}

/**
 * The answer of a formula that came to nothing (nil) because triggers are absent: the fallback's replicas
 * times the formula's target, whatever its metric type. Unknown where no fallback is configured.
 */
export function answerForNil(fallback: Fallback | undefined, target: number, at: number): Answer {
  const fault = new Fault('FORMULA_FAILED', 'the formula came to nil');
  if (fallback === undefined) return { kind: 'unknown', fault, at };
  const value = fallback.replicas * target;
  return { kind: 'fallback', value, replicas: fallback.replicas, fault, at };
}
