import type { ScaledObjectReason } from '../spec/conditions.ts';

/** A condition of a workload's status: KEDA's reasons, our messages. */
export interface Condition {
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
}

// Shared and frozen: a decision names one of these, it never makes one, so that deciding allocates little.
const condition = (status: Condition['status'], reason: ScaledObjectReason, message: string): Condition =>
  Object.freeze({ status, reason, message });

export const ready = condition('True', 'ScaledObjectReady', 'The ScaledObject is ready to scale its target.');
export const readyWhilePaused = condition(
  'True',
  'ScaledObjectReady',
  'The ScaledObject is paused; its target is left alone.',
);
export const pauseInvalid = condition(
  'False',
  'ScaledObjectCheckFailed',
  'The annotation autoscaling.keda.sh/paused-replicas is not a whole number of replicas.',
);
export const targetUnreadable = condition(
  'False',
  'ErrorGettingCurrentReplicas',
  "The target's current replicas cannot be read.",
);
export const partlyFailing = condition(
  'Unknown',
  'PartialTriggerError',
  'Some triggers cannot be read; the others decide.',
);
export const triggersFailing = condition(
  'False',
  'TriggerError',
  'No trigger is active and at least one cannot be read; the replicas are left as they are.',
);
export const active = condition('True', 'ScalerActive', 'At least one trigger is active.');
export const forcedActive = condition(
  'True',
  'ScalerActive',
  'The annotation autoscaling.keda.sh/force-activation keeps the workload active.',
);
export const inactive = condition('False', 'ScalerNotActive', 'No trigger is active.');
export const coolingDown = condition(
  'False',
  'ScalerCooldown',
  'No trigger is active; the cooldown has not passed yet.',
);
/** Something about the ScaledObject or its surroundings is not as it must be. */
export const checkFailed = (message: string): Condition => ({
  status: 'False',
  reason: 'ScaledObjectCheckFailed' satisfies ScaledObjectReason,
  message,
});
export const unpaused = condition('False', 'ScaledObjectUnpaused', 'The ScaledObject is not paused.');
export const partlyPaused = condition(
  'True',
  'ScaledObjectPaused',
  'The ScaledObject is paused in one direction.',
);
export const paused = condition('True', 'ScaledObjectPaused', 'The ScaledObject is paused.');
export const fallbackActive = condition(
  'True',
  'FallbackExists',
  'At least one trigger failed more often than fallback.failureThreshold; its fallback applies.',
);
export const noFallback = condition('False', 'NoFallbackFound', 'No trigger is on its fallback.');
