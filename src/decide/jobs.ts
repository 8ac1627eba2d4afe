import type { Answer } from './reading.ts';
import { reportedValue } from './reading.ts';

/** What one trigger of a ScaledJob says: how much waits, and how much of it one Job takes. */
export interface JobTrigger {
  metricName: string;
  /** Undefined where it has not been read yet. ScaledJobs have no fallback. */
  answer: Answer | undefined;
  /** How much one Job takes. A trigger without one (0) asks for no Jobs, but is active all the same. */
  target: number;
}

/** `scalingStrategy` of a ScaledJob. */
export interface ScalingStrategy {
  strategy: 'default' | 'custom' | 'accurate' | 'eager';
  customScalingQueueLengthDeduction?: number | undefined;
  /** A fraction as text; anything that is no number turns `custom` into `default`. */
  customScalingRunningJobPercentage?: string | undefined;
  multipleScalersCalculation: 'min' | 'avg' | 'sum' | 'max';
}

export interface JobLimits {
  minReplicaCount?: number | undefined;
  /** 100 where it is left out; then, unlike a given one, it is not reduced by the minimum, as in KEDA. */
  maxReplicaCount?: number | undefined;
  scalingStrategy: ScalingStrategy;
}

export interface JobsSeen {
  /** All triggers except cpu and memory. */
  triggers: readonly JobTrigger[];
  /** Jobs that have not finished. */
  running: number;
  /** Those of the running ones that `isPending`. */
  pending: number;
}

/** What one trigger contributes. */
export interface JobShare {
  readonly metricName: string;
  /** Undefined where the trigger is unknown. */
  readonly queueLength: number | undefined;
  readonly target: number;
  /** The Jobs it asks for, at most the maximum; a fraction. */
  readonly jobs: number | undefined;
  readonly active: boolean;
}

/** Which rule led to the number of Jobs. */
export type JobRule = 'minimum' | 'default' | 'custom' | 'accurate' | 'eager';

/** The arithmetic of one decision in KEDA's terms. */
export interface JobSteps {
  readonly shares: readonly JobShare[];
  /** What waits, combined over the triggers and rounded up. */
  readonly scaleTo: number;
  /** The Jobs for it, combined, at most the maximum, rounded up. */
  readonly maxScale: number;
  /** minReplicaCount and maxReplicaCount as they take effect. */
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly running: number;
  readonly pending: number;
  readonly rule: JobRule;
  /** How many Jobs may be created, and how many are wanted; the smaller one counts. */
  readonly limit: number;
  readonly wanted: number;
}

export type JobDecision = JobSteps & {
  /** At least one trigger is active, or Jobs are to run in any case. */
  readonly active: boolean;
  /** At least one trigger is unknown. */
  readonly failed: boolean;
  readonly why: string;
} & ({ readonly kind: 'hold' } | { readonly kind: 'create'; readonly count: number });

const defaultMax = 100;

/**
 * How many Jobs to create now: KEDA's arithmetic, with its strategies (`eager` counts pending Jobs once), its ways to
 * combine triggers and its roundings. A trigger that is unknown contributes nothing: no Jobs are created for it, and none are removed,
 * as Jobs only ever end by themselves.
 */
export function decideJobs(seen: JobsSeen, limits: JobLimits): JobDecision {
  const { minReplicas, maxReplicas } = bounds(limits);
  const { strategy, multipleScalersCalculation } = limits.scalingStrategy;
  const shares = seen.triggers.map(trigger => shareOf(trigger, maxReplicas));
  const combined = combine(shares, multipleScalersCalculation);
  const scaleTo = Math.ceil(combined.queueLength);
  const maxScale = Math.ceil(Math.min(combined.jobs, maxReplicas));
  const { running, pending } = seen;
  const room = { maxScale, scaleTo, running: running - minReplicas, pending, maxReplicas };
  const short = minReplicas - running;
  const { rule, limit, wanted } =
    short > 0
      ? ({ rule: 'minimum', limit: short, wanted: short } as const)
      : strategies(room, limits.scalingStrategy);
  const steps = {
    shares,
    scaleTo,
    maxScale,
    minReplicas,
    maxReplicas,
    running,
    pending,
    rule,
    limit,
    wanted,
  };
  const active = combined.active || minReplicas > 0;
  const failed = shares.some(share => share.queueLength === undefined);
  const count = active ? Math.max(Math.min(limit, wanted), 0) : 0;
  const outcome = { ...steps, active, failed, why: tell(steps, { active, failed, count, strategy }) };
  return count > 0 ? { ...outcome, kind: 'create', count } : { ...outcome, kind: 'hold' };
}

/** The bounds of the arithmetic: Jobs that always run, and those that may come on top. */
function bounds({ minReplicaCount: min = 0, maxReplicaCount: max }: JobLimits): {
  minReplicas: number;
  maxReplicas: number;
} {
  if (max === undefined) return { minReplicas: min, maxReplicas: defaultMax };
  // A minimum above the maximum: the maximum counts twice over, in KEDA as here.
  if (min > max) return { minReplicas: max, maxReplicas: max };
  return { minReplicas: min, maxReplicas: max - min };
}

function shareOf({ metricName, answer, target }: JobTrigger, maxReplicas: number): JobShare {
  if (answer === undefined || answer.kind !== 'read') {
    return { metricName, queueLength: undefined, target, jobs: undefined, active: false };
  }
  const queueLength = reportedValue(answer.value);
  const jobs = target === 0 ? 0 : Math.min(queueLength / target, maxReplicas);
  return { metricName, queueLength, target, jobs, active: answer.active };
}

interface Combined {
  queueLength: number;
  jobs: number;
  active: boolean;
}

function combine(shares: readonly JobShare[], how: ScalingStrategy['multipleScalersCalculation']): Combined {
  const all: Combined[] = [];
  for (const { active, queueLength, jobs } of shares) {
    if (active && queueLength !== undefined && jobs !== undefined) all.push({ active, queueLength, jobs });
  }
  const none: Combined = { queueLength: 0, jobs: 0, active: false };
  switch (how) {
    case 'max':
      return all.reduce((best, next) => (next.queueLength > best.queueLength ? next : best), none);
    case 'min':
      // Zero counts as not set yet, so an empty trigger does not win over a later one.
      return all.reduce(
        (best, next) => (best.queueLength === 0 || next.queueLength < best.queueLength ? next : best),
        none,
      );
    case 'sum':
      return sum(all);
    case 'avg': {
      const { queueLength, jobs, active } = sum(all);
      const count = Math.max(all.length, 1);
      return { queueLength: queueLength / count, jobs: jobs / count, active };
    }
  }
}

function sum(all: readonly Combined[]): Combined {
  const total = { queueLength: 0, jobs: 0, active: all.length > 0 };
  for (const { queueLength, jobs } of all) {
    total.queueLength += queueLength;
    total.jobs += jobs;
  }
  return total;
}

/** What a strategy works with; `running` are those above the minimum. */
interface Room {
  maxScale: number;
  scaleTo: number;
  running: number;
  pending: number;
  maxReplicas: number;
}

function strategies(room: Room, spec: ScalingStrategy): { rule: JobRule; limit: number; wanted: number } {
  const { maxScale, scaleTo, running, pending, maxReplicas } = room;
  switch (spec.strategy) {
    case 'custom': {
      const percentage = fraction(spec.customScalingRunningJobPercentage);
      if (percentage === undefined) break;
      const deduction = spec.customScalingQueueLengthDeduction ?? 0;
      const limit = maxScale - deduction - Math.trunc(running * percentage);
      return { rule: 'custom', limit: Math.min(limit, maxReplicas), wanted: scaleTo };
    }
    case 'accurate': {
      const full = maxScale + running - pending > maxReplicas;
      return { rule: 'accurate', limit: full ? maxReplicas - running : maxScale - pending, wanted: scaleTo };
    }
    case 'eager': {
      // KEDA takes pending Jobs off the free slots, where they are counted among the running ones already, and not
      // off what waits: slots stay free while there is work, and a Job comes for work that has one.
      const limit = Math.min(maxReplicas - running, maxScale - pending);
      return { rule: 'eager', limit, wanted: maxReplicas };
    }
    case 'default':
      break;
  }
  return { rule: 'default', limit: maxScale - running, wanted: scaleTo };
}

function fraction(text: string | undefined): number | undefined {
  if (text === undefined || !/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text)) return undefined;
  return Number(text);
}

interface Told {
  active: boolean;
  failed: boolean;
  count: number;
  strategy: ScalingStrategy['strategy'];
}

function tell(steps: JobSteps, { active, failed, count, strategy }: Told): string {
  const { running, pending, scaleTo, maxScale, minReplicas, rule } = steps;
  const unknown = failed ? ' Some triggers cannot be read and do not count.' : '';
  if (!active) return `No trigger is active; creates no Jobs.${unknown}`;
  if (rule === 'minimum') {
    return `${running} Jobs run, fewer than the minimum of ${minReplicas}: creates ${count}.${unknown}`;
  }
  const does = count === 0 ? 'creates no more' : `creates ${count}`;
  const fellBack =
    rule === strategy ? '' : ' (custom has no usable customScalingRunningJobPercentage, so default applies)';
  return `${scaleTo} waiting asks for ${maxScale} Jobs, ${running} run, ${pending} of them pending; strategy ${rule}${fellBack} ${does}.${unknown}`;
}

/** One pod of a Job: its phase, and the types of its conditions that are True. */
export interface JobPod {
  phase: string;
  conditions: readonly string[];
}

/**
 * Whether an unfinished Job still waits to work: none of its pods runs or has succeeded; or, with
 * `pendingPodConditions`, no single pod has all of them. A condition named twice can never be met, as in KEDA.
 */
export function isPending(
  job: { pods: readonly JobPod[] },
  pendingPodConditions: readonly string[],
): boolean {
  if (pendingPodConditions.length === 0) {
    return !job.pods.some(({ phase }) => phase === 'Running' || phase === 'Succeeded');
  }
  const wanted = new Set(pendingPodConditions);
  if (wanted.size < pendingPodConditions.length) return true;
  return !job.pods.some(({ conditions }) => [...wanted].every(type => conditions.includes(type)));
}
