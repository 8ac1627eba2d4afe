import { type Fault, faultOf } from '../base/errors.ts';
import { activityOf, type CompositeAnswer } from '../decide/activity.ts';
import {
  type DirectDecision,
  type DirectLimits,
  type DirectSeen,
  decideReplicas,
  directHistoryAfter,
} from '../decide/direct.ts';
import {
  answerForNil,
  answerOf,
  compositeFallback,
  fallbackCondition,
  type Health,
  nextHealth,
} from '../decide/fallback.ts';
import { compileFormula, type Formula } from '../decide/formula.ts';
import type { HpaHistory } from '../decide/hpa-history.ts';
import { externalMetric, type HpaMetric } from '../decide/hpa-metrics.ts';
import type { Answer } from '../decide/reading.ts';
import type { BoundRead, BoundResource } from '../scaler/bind.ts';
import { forcesActivation, pauseOf } from '../spec/annotations.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { applyReplicas } from './apply.ts';
import type { EngineContext } from './context.ts';
import type { Condition, Report, TargetState } from './ports.ts';
import { Records } from './records.ts';
import { recordTrigger, reportTrigger, sameReport } from './report.ts';
import { type TriggerState, Triggers } from './triggers.ts';
import type { WorkloadRun } from './workload-run.ts';

const compositeName = 'composite-metric';
const unknownYet: Condition = {
  status: 'Unknown',
  reason: 'UnknownState',
  message: 'It has not been decided yet.',
};

/** What is known of the target: its state, or why it is not known. */
type Target = { ok: true; state: TargetState } | { ok: false; fault: Fault };

interface Composite {
  formula: Formula | undefined;
  /** Why it does not compile. */
  fault: Fault | undefined;
  target: number;
  targetType: 'AverageValue' | 'Value';
  activationTarget: number;
}

/**
 * Runs a ScaledObject. What it remembers between two decisions is here; what it decides is in `decide/`.
 *
 * @param onPush called when a source told something by itself, and it is to be decided anew
 */
export function runScaledObject(
  workload: ScaledObject,
  context: EngineContext,
  onPush: () => void,
): WorkloadRun {
  const { world, clock, log, stop } = context;
  const triggers = new Triggers(workload, context, onPush);
  const records = new Records(context.recordsPerWorkload);
  const limits = limitsOf(workload);
  const composite = compositeOf(workload);
  const healths = new Map<TriggerState, Health>();
  let history: HpaHistory | undefined;
  let lastActiveAt: number | undefined;
  let report: Report | undefined;
  let ticks = 0;

  async function tick(): Promise<void> {
    const [target] = await Promise.all([readTarget(), limits.paused ? triggers.prepare() : triggers.read()]);
    const resources = await readResources();
    const now = clock.now();
    ticks += 1;
    if (ticks === 1 && target.ok && target.state.replicas > 0 && workload.createdAt <= context.startedAt) {
      // Whoever ran it before knew when it was last active; without that the cooldown starts anew.
      lastActiveAt = now;
    }
    const seen = seenOf(target, resources, now);
    const decision = decideReplicas(seen, limits, now);
    const failed = await apply(decision, now);
    records.add({ kind: 'replicas', seen, limits, decision }, now, {
      triggers: () => triggers.states.map(recordTrigger),
      ...(failed === undefined ? {} : { failed }),
    });
    tell(decision, { now, seen, failed: failed ?? (target.ok ? undefined : target.fault) });
  }

  async function readTarget(): Promise<Target> {
    try {
      return { ok: true, state: await world.readTarget(workload, stop) };
    } catch (thrown) {
      return { ok: false, fault: faultOf(thrown, 'WORLD_FAILED') };
    }
  }

  async function readResources(): Promise<HpaMetric[]> {
    if (limits.paused) return [];
    return await Promise.all(triggers.states.filter(isResource).map(readUse));
  }

  async function readUse({ trigger, bound, fault }: TriggerState): Promise<HpaMetric> {
    if (bound?.kind === 'resource') return await readResource(bound);
    // One that cannot be built is unknown, and holds what others would lower.
    const resource = trigger.type === 'memory' ? 'memory' : 'cpu';
    const unknown = {
      kind: 'resource',
      name: resource,
      resource,
      targetType: 'Utilization',
      target: 0,
    } as const;
    return { ...unknown, pods: undefined, problem: fault?.message ?? 'it cannot be built' };
  }

  async function readResource({ resource, container, target }: BoundResource): Promise<HpaMetric> {
    const metric = {
      kind: 'resource',
      name: resource,
      resource,
      targetType: target.type,
      target: target.value,
    } as const;
    try {
      return { ...metric, pods: await world.readResource(workload, { resource, container }, stop) };
    } catch (thrown) {
      return { ...metric, pods: undefined, problem: faultOf(thrown, 'WORLD_FAILED').message };
    }
  }

  function seenOf(target: Target, resources: HpaMetric[], now: number): DirectSeen {
    const state = target.ok ? target.state : undefined;
    const answers = triggers.states.map(trigger => ({ trigger, answer: answer(trigger, state) }));
    const combined = composite === undefined ? undefined : combine(composite, answers, now);
    const { active, failed } = activityOf(
      answers.map(({ trigger, answer: given }) => ({
        metricName: metricNameOf(trigger),
        resource: isResource(trigger),
        answer: given,
      })),
      combined,
    );
    const external =
      composite === undefined ? answers.flatMap(metricsOf) : [compositeMetric(composite, combined)];
    return {
      replicas: state?.replicas,
      readyReplicas: state?.readyReplicas,
      active,
      failed,
      lastActiveAt,
      createdAt: workload.createdAt,
      metrics: [...external, ...resources],
      history,
    };
  }

  function answer(state: TriggerState, target: TargetState | undefined): Answer | undefined {
    const { reading, bound } = state;
    if (reading === undefined || isResource(state)) return undefined;
    const health = nextHealth(healths.get(state), reading);
    healths.set(state, health);
    const own = bound?.kind === 'read' ? bound.target : { type: 'AverageValue' as const, value: 0 };
    const { targetType, target: wanted } = composite ?? { targetType: own.type, target: own.value };
    const standing = { replicas: target?.replicas, readyReplicas: target?.readyReplicas };
    // Without a target of its own, as one that cannot be built, no value can stand for its replicas.
    const fallback = bound === undefined && composite === undefined ? undefined : workload.fallback;
    return answerOf(reading, health, { fallback, target: { targetType, target: wanted, ...standing } });
  }

  function combine(
    { formula, fault, target, activationTarget }: Composite,
    answers: readonly { trigger: TriggerState; answer: Answer | undefined }[],
    now: number,
  ): CompositeAnswer {
    const given = answers.flatMap(each => (each.answer === undefined ? [] : [each.answer]));
    const evaluated = (): Answer => {
      if (formula === undefined) return { kind: 'unknown', fault: fault ?? faultOf('no formula'), at: now };
      const values = new Map<string, number | null>();
      for (const { trigger, answer: value } of answers) {
        if (value === undefined || trigger.trigger.name === undefined) continue;
        if (value.kind === 'unknown') return value;
        values.set(trigger.trigger.name, value.kind === 'absent' ? null : value.value);
      }
      try {
        const value = formula.evaluate(values);
        if (value === null) return answerForNil(workload.fallback, target, now);
        return { kind: 'read', value, active: value > activationTarget, at: now };
      } catch (thrown) {
        return { kind: 'unknown', fault: faultOf(thrown, 'FORMULA_FAILED'), at: now };
      }
    };
    return { metricName: compositeName, answer: compositeFallback(given) ?? evaluated(), activationTarget };
  }

  async function apply(decision: DirectDecision, now: number): Promise<Fault | undefined> {
    try {
      await applyReplicas(world, workload, decision);
    } catch (thrown) {
      const fault = faultOf(thrown, 'WORLD_FAILED');
      log.warn('the replicas could not be set', { workload: workload.key, fault });
      history = decision.history;
      return fault;
    }
    history = directHistoryAfter(decision, limits, now);
    if (decision.refreshesLastActive) lastActiveAt = now;
    return undefined;
  }

  function tell(
    { why, ready, active, ...decision }: DirectDecision,
    { now, seen, failed }: { now: number; seen: DirectSeen; failed: Fault | undefined },
  ): void {
    const desired = 'to' in decision ? decision.to : seen.replicas;
    const next: Report = {
      at: now,
      why: failed === undefined ? why : `${why} ${failed.message}`,
      ready,
      active: active ?? report?.active ?? unknownYet,
      fallback: fallbackCondition(healths.values(), workload.fallback),
      ...(seen.replicas === undefined ? {} : { replicas: seen.replicas }),
      ...(desired === undefined ? {} : { desired }),
      triggers: triggers.states.map(reportTrigger),
    };
    if (sameReport(report, next)) return;
    report = next;
    world.report(workload, next);
  }

  return {
    workload,
    due: 0,
    place: -1,
    tick,
    async isAtZero() {
      const target = await readTarget();
      return target.ok && target.state.replicas === 0;
    },
    jobChanged() {},
    jobGone() {},
    referenceChanged: (kind, namespace, name) => triggers.changed(kind, namespace, name),
    get records() {
      return records.all;
    },
    get report() {
      return report;
    },
    async close() {
      triggers[Symbol.dispose]();
    },
  };
}

const isResource = ({ trigger }: TriggerState) => trigger.type === 'cpu' || trigger.type === 'memory';

function metricNameOf({ trigger, bound }: TriggerState): string {
  return bound?.kind === 'read' ? bound.metricName : `s${trigger.index}-${trigger.type}`;
}

/** The metric of a trigger, one that cannot be built included: it is unknown, and holds what others would lower. */
function metricsOf({ trigger, answer }: { trigger: TriggerState; answer: Answer | undefined }): HpaMetric[] {
  if (isResource(trigger)) return [];
  const name = metricNameOf(trigger);
  const { type, value } = (trigger.bound as BoundRead | undefined)?.target ?? {
    type: 'AverageValue' as const,
    value: 0,
  };
  return [externalMetric({ name, targetType: type, target: value }, answer)];
}

function compositeMetric(
  { target, targetType }: Composite,
  combined: CompositeAnswer | undefined,
): HpaMetric {
  return externalMetric({ name: compositeName, targetType, target }, combined?.answer);
}

function limitsOf(workload: ScaledObject): DirectLimits {
  const { minReplicaCount, maxReplicaCount, idleReplicaCount, cooldownPeriodMs, initialCooldownPeriodMs } =
    workload;
  const pause = pauseOf(workload);
  return {
    paused: pause.full,
    pausedReplicas: pause.pausedReplicas,
    pausedScaleIn: pause.scaleIn,
    pausedScaleOut: pause.scaleOut,
    forceActivation: forcesActivation(workload),
    minReplicaCount,
    maxReplicaCount,
    idleReplicaCount,
    cooldownPeriodMs,
    initialCooldownPeriodMs,
    fallback: workload.fallback,
    behavior: workload.horizontalPodAutoscalerConfig.behavior,
  };
}

function compositeOf({ scalingModifiers, triggers }: ScaledObject): Composite | undefined {
  if (scalingModifiers?.formula === undefined) return undefined;
  const { formula: text, target, activationTarget, metricType = 'AverageValue' } = scalingModifiers;
  const names = triggers.flatMap(({ type, name }) =>
    name === undefined || type === 'cpu' || type === 'memory' ? [] : [name],
  );
  const rest = {
    target: Number(target ?? 0),
    targetType: metricType,
    activationTarget: Number(activationTarget ?? 0),
  };
  try {
    return { formula: compileFormula(text, names), fault: undefined, ...rest };
  } catch (thrown) {
    return { formula: undefined, fault: faultOf(thrown, 'FORMULA_INVALID'), ...rest };
  }
}
