import type { ScalingBehavior } from '../spec/workload.ts';
import {
  type BehaviorRules,
  behaviorRules,
  longestPeriodMs,
  scaleDownLimit,
  scaleUpLimit,
} from './hpa-behavior.ts';
import {
  type HpaHistory,
  highestSince,
  lowestSince,
  newHistory,
  notAfter,
  recommend,
  recordChange,
} from './hpa-history.ts';
import { type HpaMetric, type MetricContext, type MetricProposal, proposeExternal } from './hpa-metrics.ts';
import { proposeResource } from './hpa-pods.ts';

/** What the HPA sees of its target. */
export interface HpaSeen {
  /** What the target's spec asks for. */
  replicas: number;
  /** The pods that there are; as many as asked for where it is left out. */
  statusReplicas?: number | undefined;
  /** The pods that are Running and Ready; all that there are where it is left out. */
  readyReplicas?: number | undefined;
  metrics: readonly HpaMetric[];
  /** What the last decision returned; undefined before the first one. */
  history: HpaHistory | undefined;
}

/** The spec of the HPA, in the words of autoscaling/v2. */
export interface HpaLimits {
  /** At least 1: leaving and reaching zero is not the HPA's to do. */
  minReplicas: number;
  maxReplicas: number;
  behavior?: ScalingBehavior | undefined;
  /** A paused direction is one whose select policy is Disabled. */
  pausedScaleIn?: boolean;
  pausedScaleOut?: boolean;
  /** What kube-controller-manager's flags would set; its defaults where left out. */
  settings?: HpaSettings;
}

/** The controller-wide settings of an HPA, by the names of kube-controller-manager's flags. */
export interface HpaSettings {
  /** How far from 1 a ratio may be, 0.1 for 10 %. */
  tolerance: number;
  downscaleStabilizationMs: number;
  cpuInitializationPeriodMs: number;
  initialReadinessDelayMs: number;
}

/** kube-controller-manager's own defaults. */
export const hpaDefaults: HpaSettings = {
  tolerance: 0.1,
  downscaleStabilizationMs: 300_000,
  cpuInitializationPeriodMs: 300_000,
  initialReadinessDelayMs: 30_000,
};

/** Which bound, if any, changed what the metrics asked for; Kubernetes' reasons of the ScalingLimited condition. */
export type HpaLimit =
  | 'DesiredWithinRange'
  | 'ScaleUpLimit'
  | 'ScaleDownLimit'
  | 'TooManyReplicas'
  | 'TooFewReplicas';

/** The arithmetic of one decision, enough to follow it by hand. */
export interface HpaSteps {
  readonly metrics: readonly MetricProposal[];
  /** The metric that asked for most; undefined where none could be computed. */
  readonly metric: string | undefined;
  /** What that metric asked for. */
  readonly proposed: number | undefined;
  /** After the stabilisation window. */
  readonly stabilized: number | undefined;
  readonly limit: HpaLimit;
}

export interface HpaDecision extends HpaSteps {
  readonly kind: 'hold' | 'scale';
  /** What was there. */
  readonly from: number;
  /** What shall be there; `from` where it holds. */
  readonly to: number;
  readonly why: string;
  /** What to give to the next decision; after the change was made, what `historyAfter` makes of it. */
  readonly history: HpaHistory;
}

/**
 * The decision of a HorizontalPodAutoscaler, as Kubernetes 1.36 takes it: out of bounds goes to the bound at
 * once; otherwise the metric that asks for most wins, smoothed by the stabilisation windows and held to the
 * rate limits of `behavior`. A metric that is unknown never lets it scale down. At zero it does nothing.
 */
export function decideHpa(seen: HpaSeen, limits: HpaLimits, now: number): HpaDecision {
  const from = seen.replicas;
  const history = notAfter(seen.history ?? newHistory(from, now), now);
  const settings = limits.settings ?? hpaDefaults;
  if (from === 0) return settled(from, 'Scaling is off: the target is at zero replicas.', history);
  const outOfBounds = bound(from, limits, history);
  if (outOfBounds !== undefined) return outOfBounds;
  const rules = behaviorRules(limits.behavior, limits.pausedScaleIn, limits.pausedScaleOut);
  const asked = propose(seen, { rules, settings, now });
  if (asked.proposed === undefined) {
    return { ...settled(from, asked.why, history), metrics: asked.metrics };
  }
  const { proposed, metrics, best } = asked;
  const step = normalize({ current: from, proposed, limits, rules, settings }, history, now);
  return {
    kind: step.to === from ? 'hold' : 'scale',
    from,
    to: step.to,
    why: tell(from, asked, step),
    metrics,
    metric: best.name,
    proposed,
    stabilized: step.stabilized,
    limit: step.limit,
    history: step.history,
  };
}

/** The history after a change was really made; the rates of `behavior` are counted from these. */
export function historyAfter(
  { history, from, to }: { history: HpaHistory; from: number; to: number },
  limits: Pick<HpaLimits, 'behavior' | 'pausedScaleIn' | 'pausedScaleOut'>,
  now: number,
): HpaHistory {
  const rules = behaviorRules(limits.behavior, limits.pausedScaleIn, limits.pausedScaleOut);
  // Without rules nothing asks for the rate.
  if (rules === undefined || from === to) return history;
  return recordChange(history, { from, to, keepMs: longestPeriodMs(to > from ? rules.up : rules.down) }, now);
}

function settled(from: number, why: string, history: HpaHistory): HpaDecision {
  return {
    kind: 'hold',
    from,
    to: from,
    why,
    metrics: [],
    metric: undefined,
    proposed: undefined,
    stabilized: undefined,
    limit: 'DesiredWithinRange',
    history,
  };
}

function bound(from: number, limits: HpaLimits, history: HpaHistory): HpaDecision | undefined {
  const { minReplicas, maxReplicas } = limits;
  if (from > maxReplicas) {
    const why = `${from} replicas are more than the maximum of ${maxReplicas}.`;
    return { ...settled(from, why, history), kind: 'scale', to: maxReplicas, limit: 'TooManyReplicas' };
  }
  if (from < minReplicas) {
    const why = `${from} replicas are fewer than the minimum of ${minReplicas}.`;
    return { ...settled(from, why, history), kind: 'scale', to: minReplicas, limit: 'TooFewReplicas' };
  }
  return undefined;
}

interface Setting {
  rules: BehaviorRules | undefined;
  settings: HpaSettings;
  now: number;
}

/** What the metrics ask for together. */
export type Asked =
  | { proposed: number; best: MetricProposal; metrics: readonly MetricProposal[] }
  | { proposed: undefined; why: string; metrics: readonly MetricProposal[] };

/**
 * What each metric asks for and the largest of it; nothing where no metric is known, or where one is unknown
 * and the others would scale down.
 */
export function propose(seen: Omit<HpaSeen, 'history'>, { rules, settings, now }: Setting): Asked {
  const statusReplicas = seen.statusReplicas ?? seen.replicas;
  const context: MetricContext = {
    replicas: seen.replicas,
    statusReplicas,
    readyReplicas: seen.readyReplicas ?? statusReplicas,
    tolerance: {
      up: rules?.up.tolerance ?? settings.tolerance,
      down: rules?.down.tolerance ?? settings.tolerance,
    },
    cpuInitializationPeriodMs: settings.cpuInitializationPeriodMs,
    initialReadinessDelayMs: settings.initialReadinessDelayMs,
    now,
  };
  const metrics = seen.metrics.map(metric =>
    metric.kind === 'external' ? proposeExternal(metric, context) : proposeResource(metric, context),
  );
  let best: MetricProposal | undefined;
  let firstFailed: MetricProposal | undefined;
  for (const proposal of metrics) {
    if (proposal.replicas === undefined) {
      firstFailed ??= proposal;
    } else if (best?.replicas === undefined || proposal.replicas > best.replicas) best = proposal;
  }
  if (best?.replicas === undefined) {
    const why =
      firstFailed === undefined
        ? 'There is no metric to scale by.'
        : `No metric is known (${firstFailed.name}: ${firstFailed.problem}).`;
    return { proposed: undefined, why, metrics };
  }
  if (firstFailed !== undefined && best.replicas < seen.replicas) {
    const why = `${firstFailed.name} is unknown (${firstFailed.problem}), so nothing scales in.`;
    return { proposed: undefined, why, metrics };
  }
  return { proposed: best.replicas, best, metrics };
}

interface Normalizing {
  current: number;
  proposed: number;
  limits: Pick<HpaLimits, 'minReplicas' | 'maxReplicas'>;
  rules: BehaviorRules | undefined;
  settings: HpaSettings;
}

/** Where the windows and limits led from what the metrics asked for. */
export interface Normalized {
  to: number;
  stabilized: number;
  limit: HpaLimit;
  history: HpaHistory;
}

/** Smooths what the metrics ask for by the windows, holds it to the limits, and remembers it. */
export function normalize(wanted: Normalizing, history: HpaHistory, now: number): Normalized {
  const { rules, settings, proposed } = wanted;
  if (rules === undefined) {
    const keepMs = settings.downscaleStabilizationMs;
    const stabilized = highestSince(history, now - keepMs, proposed, true);
    const { to, limit } = withoutRules(wanted, stabilized);
    return { to, limit, stabilized, history: recommend(history, proposed, { now, keepMs }) };
  }
  const upMs = (rules.up.stabilizationWindowSeconds ?? 0) * 1000;
  const downSeconds = rules.down.stabilizationWindowSeconds;
  const downMs = downSeconds === undefined ? settings.downscaleStabilizationMs : downSeconds * 1000;
  const low = lowestSince(history, now - upMs, proposed);
  const high = highestSince(history, now - downMs, proposed);
  const stabilized = Math.min(Math.max(wanted.current, low), high);
  const { to, limit } = withRules(wanted, { rules, stabilized }, { history, now });
  const keepMs = Math.max(upMs, downMs);
  return { to, limit, stabilized, history: recommend(history, proposed, { now, keepMs }) };
}

type Limited = Pick<Normalized, 'to' | 'limit'>;

/** The HPA's limits from before there was `behavior`: at most twice the replicas, or four. */
function withoutRules({ current, limits }: Normalizing, wanted: number): Limited {
  const growth = Math.max(2 * current, 4);
  const most = Math.min(limits.maxReplicas, growth);
  if (wanted < limits.minReplicas) return { to: limits.minReplicas, limit: 'TooFewReplicas' };
  if (wanted <= most) return { to: wanted, limit: 'DesiredWithinRange' };
  return { to: most, limit: limits.maxReplicas > growth ? 'ScaleUpLimit' : 'TooManyReplicas' };
}

function withRules(
  { current, limits }: Normalizing,
  { rules, stabilized }: { rules: BehaviorRules; stabilized: number },
  { history, now }: { history: HpaHistory; now: number },
): Limited {
  const moment = { current, history, now };
  if (stabilized > current) {
    const rate = Math.max(scaleUpLimit(rules.up, moment), current);
    const most = Math.min(limits.maxReplicas, rate);
    if (stabilized > most) {
      return { to: most, limit: limits.maxReplicas > rate ? 'ScaleUpLimit' : 'TooManyReplicas' };
    }
  } else if (stabilized < current) {
    const rate = Math.min(scaleDownLimit(rules.down, moment), current);
    const least = Math.max(limits.minReplicas, rate);
    if (stabilized < least) {
      return { to: least, limit: limits.minReplicas < rate ? 'ScaleDownLimit' : 'TooFewReplicas' };
    }
  }
  return { to: stabilized, limit: 'DesiredWithinRange' };
}

const limitWords: Record<HpaLimit, string> = {
  DesiredWithinRange: '',
  ScaleUpLimit: ', held back by the scale-up rate',
  ScaleDownLimit: ', held back by the scale-down rate',
  TooManyReplicas: ', the maximum',
  TooFewReplicas: ', the minimum',
};

/** The sentence for what the metrics asked for and what became of it. */
export function tell(from: number, asked: Asked, step: Normalized): string {
  if (asked.proposed === undefined) return asked.why;
  const { proposed, best } = asked;
  const asks = `${measured(best)}, so it asks for ${proposed}`;
  const smoothed = step.stabilized === proposed ? '' : `, ${step.stabilized} after the stabilisation window`;
  const outcome = step.to === from ? `stays at ${from}` : `goes from ${from} to ${step.to}`;
  return `${asks}${smoothed}; ${outcome}${limitWords[step.limit]}.`;
}

/** What the metrics ask for, in words: why an autoscaler that is not ours may have done what it did. */
export function tellAsked(seen: Omit<HpaSeen, 'history'>, now: number): string {
  const asked = propose(seen, { rules: undefined, settings: hpaDefaults, now });
  return asked.proposed === undefined
    ? asked.why
    : `${measured(asked.best)}, so it asks for ${asked.proposed}.`;
}

function measured({ kind, name, targetType, target, value, problem }: MetricProposal): string {
  const what = problem === undefined ? name : `${name} (its fallback: ${problem})`;
  if (targetType === 'Utilization') return `${what} is at ${value} % with a target of ${target} %`;
  if (kind === 'resource') return `${what} is ${value} per pod with a target of ${target}`;
  return `${what} is ${value} with a target of ${target}${targetType === 'Value' ? '' : ' per replica'}`;
}
