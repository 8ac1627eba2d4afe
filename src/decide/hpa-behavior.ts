import { parseQuantity } from '../base/quantity.ts';
import type { ScalingBehavior, ScalingPolicy, ScalingRules } from '../spec/workload.ts';
import { changedSince, type HpaHistory } from './hpa-history.ts';

const maxInt32 = 2 ** 31 - 1;

/** The rules of one direction with every default filled in. */
export interface DirectionRules {
  /** Undefined leaves it to the controller's own window (scaling down only). */
  readonly stabilizationWindowSeconds: number | undefined;
  readonly selectPolicy: 'Max' | 'Min' | 'Disabled';
  readonly policies: readonly ScalingPolicy[];
  /** Undefined leaves it to the controller's own tolerance. */
  readonly tolerance: number | undefined;
}

/** `behavior` as the API server would complete it. */
export interface BehaviorRules {
  readonly up: DirectionRules;
  readonly down: DirectionRules;
}

const defaultUp: DirectionRules = {
  stabilizationWindowSeconds: 0,
  selectPolicy: 'Max',
  policies: [
    { type: 'Pods', value: 4, periodSeconds: 15 },
    { type: 'Percent', value: 100, periodSeconds: 15 },
  ],
  tolerance: undefined,
};
const defaultDown: DirectionRules = {
  stabilizationWindowSeconds: undefined,
  selectPolicy: 'Max',
  policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
  tolerance: undefined,
};

const completed = new WeakMap<ScalingBehavior, BehaviorRules>();

/**
 * Completes a `behavior` with the defaults of autoscaling/v2. A paused direction is one whose select policy is
 * `Disabled`, and makes rules where the manifest has none, as KEDA does. Without either there are no rules:
 * the HPA then works by its older, simpler limits.
 */
export function behaviorRules(
  behavior: ScalingBehavior | undefined,
  pausedScaleIn = false,
  pausedScaleOut = false,
): BehaviorRules | undefined {
  if (behavior === undefined && !pausedScaleIn && !pausedScaleOut) return undefined;
  const rules = complete(behavior);
  if (!pausedScaleIn && !pausedScaleOut) return rules;
  return {
    up: pausedScaleOut ? { ...rules.up, selectPolicy: 'Disabled' } : rules.up,
    down: pausedScaleIn ? { ...rules.down, selectPolicy: 'Disabled' } : rules.down,
  };
}

function complete(behavior: ScalingBehavior | undefined): BehaviorRules {
  if (behavior === undefined) return { up: defaultUp, down: defaultDown };
  let rules = completed.get(behavior);
  if (rules === undefined) {
    rules = {
      up: overlay(defaultUp, behavior.scaleUp),
      down: overlay(defaultDown, behavior.scaleDown),
    };
    completed.set(behavior, rules);
  }
  return rules;
}

function overlay(defaults: DirectionRules, given: ScalingRules | undefined): DirectionRules {
  if (given === undefined) return defaults;
  return {
    stabilizationWindowSeconds: given.stabilizationWindowSeconds ?? defaults.stabilizationWindowSeconds,
    selectPolicy: given.selectPolicy ?? defaults.selectPolicy,
    policies: given.policies ?? defaults.policies,
    tolerance: given.tolerance === undefined ? undefined : parseQuantity(given.tolerance),
  };
}

/** The longest period of any policy, in milliseconds. */
export function longestPeriodMs(rules: DirectionRules): number {
  let longest = 0;
  for (const { periodSeconds } of rules.policies) if (periodSeconds > longest) longest = periodSeconds;
  return longest * 1000;
}

/** What a rate limit depends on: the replicas there are, the changes made lately, and the time in epoch ms. */
interface Moment {
  current: number;
  history: HpaHistory;
  now: number;
}

/** How far up the policies allow to go now; not capped by any maximum. */
export function scaleUpLimit(rules: DirectionRules, moment: Moment): number {
  if (rules.selectPolicy === 'Disabled') return moment.current;
  const least = rules.selectPolicy === 'Min';
  let limit = least ? maxInt32 : -maxInt32;
  for (const policy of rules.policies) {
    const start = periodStart(policy, moment);
    // Rounded up, or one replica could never grow by a small percentage.
    const allowed =
      policy.type === 'Pods' ? start + policy.value : Math.ceil(start * (1 + policy.value / 100));
    limit = least ? Math.min(limit, allowed) : Math.max(limit, allowed);
  }
  // Go's int32 would wrap around here and stop a scale-up; a huge policy means no limit.
  return Math.min(limit, maxInt32);
}

/** How far down the policies allow to go now; not capped by any minimum. */
export function scaleDownLimit(rules: DirectionRules, moment: Moment): number {
  if (rules.selectPolicy === 'Disabled') return moment.current;
  const least = rules.selectPolicy === 'Min';
  let limit = least ? -maxInt32 : maxInt32;
  for (const policy of rules.policies) {
    const start = periodStart(policy, moment);
    const allowed =
      policy.type === 'Pods' ? start - policy.value : Math.trunc(start * (1 - policy.value / 100));
    limit = least ? Math.max(limit, allowed) : Math.min(limit, allowed);
  }
  return limit;
}

function periodStart(policy: ScalingPolicy, { current, history, now }: Moment): number {
  const from = now - policy.periodSeconds * 1000;
  return current - changedSince(history.ups, from) + changedSince(history.downs, from);
}
