import type { ScalingBehavior } from '../spec/workload.ts';
import {
  type Asked,
  decideHpa,
  type HpaDecision,
  type HpaLimits,
  type HpaSeen,
  type HpaSettings,
  type HpaSteps,
  historyAfter,
  hpaDefaults,
  type Normalized,
  normalize,
  propose,
  tell,
} from './hpa.ts';
import { behaviorRules } from './hpa-behavior.ts';
import { type HpaHistory, newHistory } from './hpa-history.ts';
import type { HpaMetric } from './hpa-metrics.ts';
import { decideScale, type Limits, type Rule, type ScaleDecision, type Seen, wakeTo } from './replicas.ts';

/** What a decision sees where we are the autoscaler ourselves. */
export interface DirectSeen extends Seen {
  /** One for each trigger's metric, or the one of the formula; values after fallback. */
  metrics: readonly HpaMetric[];
  /** The pods that there are; as many as asked for where it is left out. */
  statusReplicas?: number | undefined;
  /** The pods that are Running and Ready; all that there are where it is left out. */
  readyReplicas?: number | undefined;
  /** What the last decision returned; undefined before the first one. */
  history: HpaHistory | undefined;
}

/** What a ScaledObject without an HPA allows. */
export interface DirectLimits extends Limits {
  maxReplicaCount: number;
  behavior?: ScalingBehavior | undefined;
  settings?: HpaSettings;
}

/** The one decision of direct mode: what KEDA and the HPA would decide between them, with the arithmetic. */
export type DirectDecision = ScaleDecision & {
  /** Undefined where the metrics had no say. */
  readonly hpa: HpaSteps | undefined;
  /** What to give to the next decision; after the change was made, what `directHistoryAfter` makes of it. */
  readonly history: HpaHistory | undefined;
  /** Where the rates of `behavior` count from: waking up to the minimum is not subject to them. */
  readonly from: number;
};

/**
 * Decides the replicas of a ScaledObject that has no HPA. The table of `decideScale` comes first. Where it
 * wakes the target, the metrics say at once how far, as if the HPA had taken its first step from the minimum,
 * but with no rate limit unless the manifest has a `behavior.scaleUp`. Where it leaves 1..N alone, `decideHpa`
 * has the word. A trigger that is unknown never lowers the replicas, except to the maximum.
 */
export function decideReplicas(seen: DirectSeen, limits: DirectLimits, now: number): DirectDecision {
  const table = decideScale(seen, limits, now);
  const replicas = seen.replicas ?? 0;
  if (table.rule === 'activate') return wake(hpaSeen(seen, replicas), { limits, table }, now);
  if (table.kind === 'scale' || !leavesToMetrics(table.rule, replicas, limits)) {
    const to = table.kind === 'scale' ? table.to : undefined;
    return direct(table, { hpa: undefined, history: seen.history, from: replicas }, { to, why: table.why });
  }
  return steer(table, decideHpa(hpaSeen(seen, replicas), hpaLimits(limits), now));
}

function leavesToMetrics(rule: Rule, replicas: number, { idleReplicaCount: idle }: DirectLimits): boolean {
  if (replicas === 0 || rule === 'unreadable' || rule === 'paused' || rule === 'scale-out-paused')
    return false;
  // An HPA would lift an idle target to the minimum at once; resting there is what idle is for.
  return idle === undefined || replicas > idle || rule === 'active' || rule === 'partly-failing';
}

function hpaSeen(seen: DirectSeen, replicas: number): HpaSeen {
  const { metrics, statusReplicas, readyReplicas, history } = seen;
  return { replicas, metrics, statusReplicas, readyReplicas, history };
}

function hpaLimits(limits: DirectLimits): HpaLimits {
  return {
    minReplicas: wakeTo(limits),
    maxReplicas: limits.maxReplicaCount,
    behavior: limits.behavior,
    pausedScaleIn: limits.pausedScaleIn,
    pausedScaleOut: limits.pausedScaleOut,
    settings: limits.settings ?? hpaDefaults,
  };
}

interface Extra {
  hpa: HpaSteps | undefined;
  history: HpaHistory | undefined;
  from: number;
}

/** The table's conditions with the metrics' number; `to` undefined holds. Spelt out, as spreading is slow here. */
function direct(
  table: ScaleDecision,
  { hpa, history, from }: Extra,
  { to, why }: { to: number | undefined; why: string },
): DirectDecision {
  const { rule, ready, active, paused, refreshesLastActive } = table;
  const outcome = { rule, why, ready, active, paused, refreshesLastActive, hpa, history, from };
  return to === undefined ? { kind: 'hold', ...outcome } : { kind: 'scale', to, ...outcome };
}

const lead: Partial<Record<Rule, string>> = {
  'partly-failing': 'Active, but some triggers cannot be read: ',
  active: 'Active: ',
  'awaiting-fallback': 'A trigger cannot be read and its fallback does not apply yet: ',
  failing: 'A trigger cannot be read and no other is active: ',
  cooldown: 'No trigger is active; in the cooldown: ',
  'scale-in-paused': 'No trigger is active; scaling in is paused: ',
  inactive: 'No trigger is active: ',
};

/** The table left it to the metrics: its conditions, their number. */
function steer(table: ScaleDecision, hpa: HpaDecision): DirectDecision {
  const why = (lead[table.rule] ?? '') + hpa.why;
  const { metrics, metric, proposed, stabilized, limit, history, from } = hpa;
  // The steps alone: a decision is kept as a record, and the rest of this one is in it already.
  const steps = { metrics, metric, proposed, stabilized, limit };
  return direct(table, { hpa: steps, history, from }, { to: hpa.kind === 'scale' ? hpa.to : undefined, why });
}

/** From zero, or from idle, straight to what is needed. */
function wake(
  seen: HpaSeen,
  { limits, table }: { limits: DirectLimits; table: ScaleDecision },
  now: number,
): DirectDecision {
  const base = wakeTo(limits);
  const rules = behaviorRules(limits.behavior, limits.pausedScaleIn, limits.pausedScaleOut);
  const settings = limits.settings ?? hpaDefaults;
  // What was wanted before it slept is over: one late message must not bring back the fleet of the last burst.
  const { ups = [], downs = [] } = seen.history ?? {};
  const history = { ...newHistory(base, now), ups, downs };
  const asked = propose(seen, { rules, settings, now });
  if (asked.proposed === undefined) {
    const extra = { hpa: stepsOf(asked, undefined), history, from: base };
    return direct(table, extra, { to: base, why: `${table.why} ${asked.why}` });
  }
  const wanted = { current: base, proposed: asked.proposed, limits: hpaLimits(limits), rules, settings };
  const rated = normalize(wanted, history, now);
  const step = limits.behavior?.scaleUp === undefined ? unrated(rated, hpaLimits(limits)) : rated;
  const cause = limits.forceActivation ? 'Activation is forced: ' : 'A trigger is active: ';
  const extra = { hpa: stepsOf(asked, step), history: step.history, from: base };
  return direct(table, extra, { to: step.to, why: cause + tell(seen.replicas, asked, step) });
}

/** The default rates are there to tame noise; nobody asked for them on the way up from zero. */
function unrated(step: Normalized, { minReplicas, maxReplicas }: HpaLimits): Normalized {
  const { stabilized } = step;
  if (stabilized > maxReplicas) return { ...step, to: maxReplicas, limit: 'TooManyReplicas' };
  if (stabilized < minReplicas) return { ...step, to: minReplicas, limit: 'TooFewReplicas' };
  return { ...step, to: stabilized, limit: 'DesiredWithinRange' };
}

function stepsOf(asked: Asked, step: Normalized | undefined): HpaSteps {
  return {
    metrics: asked.metrics,
    metric: asked.proposed === undefined ? undefined : asked.best.name,
    proposed: asked.proposed,
    stabilized: step?.stabilized,
    limit: step?.limit ?? 'DesiredWithinRange',
  };
}

/** The history after the decision's change was really made; for one that holds, simply its history. */
export function directHistoryAfter(
  { kind, hpa, history, from, ...decision }: DirectDecision,
  limits: DirectLimits,
  now: number,
): HpaHistory | undefined {
  // Waking up and going to sleep are not the HPA's doing, so its rates do not count them.
  if (kind === 'hold' || hpa === undefined || history === undefined || !('to' in decision)) return history;
  return historyAfter({ history, from, to: decision.to }, limits, now);
}
