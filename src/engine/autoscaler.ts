import type { Fault } from '../base/errors.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { type Composite, compositeName } from './composite.ts';
import type { Memory } from './memory.ts';
import type { AutoscalerMetric, AutoscalerSpec, AutoscalerState, Condition } from './ports.ts';
import { placeOf, type TriggerState } from './triggers.ts';

/**
 * What the HorizontalPodAutoscaler of a ScaledObject is to be. A trigger that cannot be built keeps the metric it
 * had; unlike in KEDA a formula leaves the resource metrics of single containers in.
 *
 * @returns the fault of the trigger whose metric nobody knows; the autoscaler is then left as it is
 */
export function autoscalerSpec(
  workload: ScaledObject,
  {
    states,
    composite,
    memory,
  }: { states: readonly TriggerState[]; composite: Composite | undefined; memory: Memory },
): AutoscalerSpec | Fault {
  const metrics: AutoscalerMetric[] = [];
  for (const state of states) {
    const metric = metricOf(state) ?? memory.metrics.get(placeOf(state));
    if (metric === undefined) {
      if (state.fault !== undefined) return state.fault;
      continue;
    }
    memory.metrics.set(placeOf(state), metric);
    if (composite === undefined || metric.kind === 'resource') metrics.push(metric);
  }
  if (composite !== undefined) {
    const { target, targetType } = composite;
    // KEDA's cut, not its rounding: the formula's target is truncated to thousandths.
    metrics.push({
      kind: 'external',
      name: compositeName,
      targetType,
      target: Math.trunc(target * 1000) / 1000,
    });
  }
  return {
    minReplicas: Math.max(workload.minReplicaCount ?? 0, 1),
    maxReplicas: workload.maxReplicaCount,
    behavior: workload.horizontalPodAutoscalerConfig.behavior,
    metrics,
  };
}

function metricOf({ bound }: TriggerState): AutoscalerMetric | undefined {
  if (bound === undefined) return undefined;
  if (bound.kind === 'resource') {
    const { resource, container, target } = bound;
    return { kind: 'resource', resource, container, targetType: target.type, target: target.value };
  }
  const { metricName: name, target } = bound;
  return { kind: 'external', name, targetType: target.type, target: target.value };
}

/** The HPAActive condition, from what the HorizontalPodAutoscaler says of itself; undefined while it says nothing. */
export function hpaActiveCondition(state: AutoscalerState | undefined): Condition | undefined {
  if (state?.scalingActive === undefined) return undefined;
  const { status, reason, message } = state.scalingActive;
  const said = message === '' ? `${state.name} says no more.` : message;
  if (status === 'True') return { status: 'True', reason: 'HPAActive', message: said };
  if (reason === 'ScalingDisabled') return { status: 'True', reason, message: said };
  return { status: 'False', reason: reason === '' ? 'HPAMetricsUnavailable' : reason, message: said };
}
