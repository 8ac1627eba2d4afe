import type { Answer } from './reading.ts';

/** One trigger of a workload and what is known of it. */
export interface TriggerAnswer {
  metricName: string;
  /** A cpu or memory trigger: its use never decides whether the workload is active. */
  resource: boolean;
  /** Undefined where it has not been read yet, which is as unknown as a failed reading. */
  answer: Answer | undefined;
}

/** The one value that a scaling formula makes of all triggers. */
export interface CompositeAnswer {
  metricName: string;
  answer: Answer | undefined;
  activationTarget: number;
}

export interface Activity {
  active: boolean;
  /** Something that could have made the workload active is unknown. */
  failed: boolean;
  /** The metric names of what is active, in trigger order. */
  activeMetrics: readonly string[];
}

/** Whether a value is above its activation threshold; equal is not enough, and no number never is. */
export function isActive(value: number, activation: number): boolean {
  return value > activation;
}

/**
 * Whether a workload is active. Any external trigger that is active, or on its fallback, makes it so. Only
 * cpu and memory triggers: always, as they cannot wake a workload that has no pods. With a formula its value
 * alone decides, and one unknown trigger makes the whole unknown. Unlike in KEDA, a formula that fails is
 * unknown too, not inactive.
 */
export function activityOf(triggers: readonly TriggerAnswer[], composite?: CompositeAnswer): Activity {
  let external = 0;
  let failed = false;
  const activeMetrics: string[] = [];
  for (const { resource, answer, metricName } of triggers) {
    if (resource) continue;
    external += 1;
    if (answer === undefined || answer.kind === 'unknown') failed = true;
    else if (answer.kind === 'fallback' || (answer.kind === 'read' && answer.active)) {
      activeMetrics.push(metricName);
    }
  }
  if (external === 0) return { active: true, failed: false, activeMetrics };
  if (composite !== undefined) return compositeActivity(composite, failed);
  return { active: activeMetrics.length > 0, failed, activeMetrics };
}

function compositeActivity(
  { answer, activationTarget, metricName }: CompositeAnswer,
  failed: boolean,
): Activity {
  if (failed || answer === undefined || answer.kind === 'unknown' || answer.kind === 'absent') {
    return { active: false, failed: true, activeMetrics: [] };
  }
  const active = isActive(answer.value, activationTarget);
  return { active, failed: false, activeMetrics: active ? [metricName] : [] };
}
