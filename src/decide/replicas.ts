import type { Fault } from '../base/errors.ts';
import type { Fallback } from '../spec/workload.ts';
import type { Condition } from './conditions.ts';
import * as say from './conditions.ts';

/** What a decision sees of a ScaledObject. */
export interface Seen {
  /** What the target's spec asks for; undefined where that cannot be read. */
  replicas: number | undefined;
  /** Why they cannot be read. */
  problem?: Fault | undefined;
  /** Any trigger is active, see `activityOf`. */
  active: boolean;
  /** Any trigger is unknown once fallback had its say. */
  failed: boolean;
  /** When it was last active, epoch milliseconds; undefined if never since it is there. */
  lastActiveAt: number | undefined;
  /** Epoch milliseconds. */
  createdAt: number;
}

/** What annotations of a ScaledObject ask for over its spec; `spec/annotations.ts` reads them. */
interface Overrides {
  /** Leave the target alone altogether. */
  paused: boolean;
  /** Where a paused target shall stand; `invalid` where the annotation is no number of replicas. */
  pausedReplicas: number | 'invalid' | undefined;
  pausedScaleIn: boolean;
  pausedScaleOut: boolean;
  /** Treat the workload as active whatever its triggers say. */
  forceActivation: boolean;
}

/** What a ScaledObject allows. */
export interface Limits extends Overrides {
  /** 0 where it is left out. */
  minReplicaCount?: number | undefined;
  /** Where to rest while inactive; below minReplicaCount. */
  idleReplicaCount?: number | undefined;
  cooldownPeriodMs: number;
  initialCooldownPeriodMs: number;
  fallback?: Fallback | undefined;
}

/** Which case of the decision applied. */
export type Rule =
  | 'unreadable'
  | 'paused'
  | 'activate'
  | 'scale-out-paused'
  | 'partly-failing'
  | 'active'
  | 'awaiting-fallback'
  | 'failing'
  | 'deactivate'
  | 'scale-in-paused'
  | 'cooldown'
  | 'below-minimum'
  | 'inactive';

/** What a decision says beside what to do. */
export interface Outcome {
  readonly rule: Rule;
  /** A sentence for a person. */
  readonly why: string;
  readonly ready: Condition;
  /** Undefined leaves the condition as it is. */
  readonly active: Condition | undefined;
  /** Set while the workload is paused altogether. */
  readonly paused: Condition | undefined;
  /** Whether `lastActiveAt` becomes now; for a decision to scale only once that was done. */
  readonly refreshesLastActive: boolean;
}

export type ScaleDecision = Outcome &
  ({ readonly kind: 'hold' } | { readonly kind: 'scale'; readonly to: number });

/**
 * Decides what is ours between the HPA's decisions: waking from zero or from idle, and going back there. The
 * cases are KEDA's, in KEDA's order. Unlike KEDA it never goes down while any trigger is unknown, also where
 * the fallback names zero replicas.
 */
export function decideScale(seen: Seen, limits: Limits, now: number): ScaleDecision {
  const { replicas } = seen;
  if (replicas === undefined) return unreadable(seen.problem);
  if (limits.paused) return decidePaused(replicas, limits);
  return seen.active || limits.forceActivation
    ? decideActive(replicas, seen, limits)
    : decideInactive({ ...seen, replicas }, limits, now);
}

function unreadable(problem: Fault | undefined): ScaleDecision {
  // What the cluster says of its objects is for whoever wrote the manifest; the rest is for whoever runs us.
  if (problem?.code === 'TARGET_MISSING' || problem?.code === 'TARGET_TAKEN')
    return hold('unreadable', problem.message, say.checkFailed(problem.message), undefined);
  const why = 'The current replicas cannot be read, so nothing changes.';
  const because = problem === undefined ? why : `${why} ${problem.message}`;
  return hold('unreadable', because, say.targetUnreadable, undefined);
}

function hold(rule: Rule, why: string, ready: Condition, active: Condition | undefined): ScaleDecision {
  return { kind: 'hold', rule, why, ready, active, paused: undefined, refreshesLastActive: false };
}

function decidePaused(replicas: number, { pausedReplicas }: Limits): ScaleDecision {
  const outcome = {
    rule: 'paused',
    active: undefined,
    paused: say.paused,
    refreshesLastActive: false,
  } as const;
  if (pausedReplicas === 'invalid') {
    const why = 'Paused; where to stand is not said as a number of replicas, so nothing changes.';
    return { ...outcome, kind: 'hold', why, ready: say.pauseInvalid };
  }
  const ready = say.readyWhilePaused;
  if (pausedReplicas === undefined) return { ...outcome, kind: 'hold', why: 'Paused.', ready };
  if (pausedReplicas === replicas) {
    return { ...outcome, kind: 'hold', why: `Paused at ${replicas} replicas.`, ready };
  }
  const why = `Paused: goes from ${replicas} to ${pausedReplicas} replicas and stays there.`;
  return { ...outcome, kind: 'scale', to: pausedReplicas, why, ready };
}

function decideActive(replicas: number, seen: Seen, limits: Limits): ScaleDecision {
  const active = limits.forceActivation ? say.forcedActive : say.active;
  const min = limits.minReplicaCount ?? 0;
  if (replicas === 0 || (limits.idleReplicaCount !== undefined && replicas < min)) {
    return activate(replicas, { to: wakeTo(limits), active, pausedScaleOut: limits.pausedScaleOut });
  }
  if (seen.failed) {
    const why = 'Active, but some triggers cannot be read; the metrics decide between minimum and maximum.';
    return hold('partly-failing', why, say.partlyFailing, active);
  }
  const why = 'Active; the metrics decide between minimum and maximum.';
  return {
    kind: 'hold',
    rule: 'active',
    why,
    ready: say.ready,
    active,
    paused: undefined,
    refreshesLastActive: true,
  };
}

/** How many replicas there are at least once a workload is active. */
export function wakeTo({ minReplicaCount }: Pick<Limits, 'minReplicaCount'>): number {
  return Math.max(minReplicaCount ?? 0, 1);
}

function activate(
  replicas: number,
  { to, active, pausedScaleOut }: { to: number; active: Condition; pausedScaleOut: boolean },
): ScaleDecision {
  if (pausedScaleOut) {
    const why = `Active, but scaling out is paused; stays at ${replicas}.`;
    return hold('scale-out-paused', why, say.ready, active);
  }
  const cause = active === say.forcedActive ? 'Activation is forced' : 'A trigger is active';
  const why = `${cause}: wakes from ${replicas} to ${to}.`;
  return {
    kind: 'scale',
    to,
    rule: 'activate',
    why,
    ready: say.ready,
    active,
    paused: undefined,
    refreshesLastActive: true,
  };
}

function decideInactive(seen: Seen & { replicas: number }, limits: Limits, now: number): ScaleDecision {
  const { replicas, failed } = seen;
  const { idleReplicaCount: idle, fallback } = limits;
  const min = limits.minReplicaCount ?? 0;
  const canSleep = (idle !== undefined && replicas > idle) || (replicas > 0 && min === 0);
  // Zero fallback replicas let KEDA sleep here on failures alone; unknown is not a reason to sleep.
  if (failed && fallback !== undefined && (fallback.replicas !== 0 || canSleep)) {
    const why = `A trigger cannot be read; stays at ${replicas} until it can, or its fallback applies.`;
    return hold('awaiting-fallback', why, say.ready, say.inactive);
  }
  if (failed && fallback === undefined) {
    const why = `A trigger cannot be read and no other is active; stays at ${replicas}.`;
    return hold('failing', why, say.triggersFailing, say.inactive);
  }
  if (canSleep) return sleep(seen, limits, now);
  if (idle === undefined && replicas < min) {
    const why = `No trigger is active: goes from ${replicas} to the minimum of ${min}.`;
    return { ...hold('below-minimum', why, say.ready, say.inactive), kind: 'scale', to: min };
  }
  return hold('inactive', `No trigger is active; stays at ${replicas}.`, say.ready, say.inactive);
}

function sleep(seen: Seen & { replicas: number }, limits: Limits, now: number): ScaleDecision {
  const { replicas } = seen;
  if (limits.pausedScaleIn) {
    const why = `No trigger is active, but scaling in is paused; stays at ${replicas}.`;
    return hold('scale-in-paused', why, say.ready, say.inactive);
  }
  const awakeUntil =
    seen.lastActiveAt === undefined
      ? seen.createdAt + limits.initialCooldownPeriodMs
      : seen.lastActiveAt + limits.cooldownPeriodMs;
  if (awakeUntil >= now) {
    const left = Math.ceil((awakeUntil - now) / 1000);
    const why = `No trigger is active; stays at ${replicas} for another ${left} s of cooldown.`;
    return hold('cooldown', why, say.ready, say.coolingDown);
  }
  const to = limits.idleReplicaCount ?? limits.minReplicaCount ?? 0;
  const why = `No trigger is active and the cooldown is over: goes from ${replicas} to ${to}.`;
  return { ...hold('deactivate', why, say.ready, say.inactive), kind: 'scale', to };
}
