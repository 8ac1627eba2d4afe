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
import { externalMetric, type HpaMetric } from '../decide/hpa-metrics.ts';
import type { Answer } from '../decide/reading.ts';
import type { BoundRead, BoundResource } from '../scaler/bind.ts';
import { forcesActivation, pauseOf } from '../spec/annotations.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { applyReplicas } from './apply.ts';
import type { EngineContext } from './context.ts';
import { followClock, type Memory } from './memory.ts';
import type { Condition, Report, TargetState } from './ports.ts';
import { recordTrigger, reportTrigger, sendNews } from './report.ts';
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

/** Runs a ScaledObject: what it does is here, what it decides is in `decide/`, what it remembers in its memory. */
export function runScaledObject(
  workload: ScaledObject,
  context: EngineContext,
  { memory, onPush }: { memory: Memory; onPush: () => void },
): WorkloadRun {
  const { world, clock, log, stop } = context;
  const triggers = new Triggers(workload, context, onPush);
  const limits = limitsOf(workload);
  const composite = compositeOf(workload);
  let closed = false;

  async function tick(): Promise<void> {
    const [target] = await Promise.all([readTarget(), limits.paused ? undefined : triggers.read()]);
    const resources = await readResources();
    // Whatever was read meanwhile, it is not ours to decide on any more.
    if (closed) return;
    followClock(memory, clock);
    const now = clock.now();
    if (target.ok) meet(target.state, now);
    const seen = seenOf(target, resources, now);
    const decision = decideReplicas(seen, limits, now);
    const failed = await apply(decision, now);
    memory.records.add({ kind: 'replicas', seen, limits, decision }, now, {
      triggers: () => triggers.states.map(recordTrigger),
      ...(failed === undefined ? {} : { failed }),
    });
    tell(decision, { now, seen, failed: failed ?? (target.ok ? undefined : target.fault) });
  }

  function meet({ replicas }: TargetState, now: number): void {
    // Whoever ran it before knew when it was last active; without that the cooldown starts anew.
    if (!memory.metTarget && replicas > 0 && workload.createdAt <= context.startedAt)
      memory.lastActiveAt = now;
    memory.metTarget = true;
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
    const healths = new Map<string, Health>();
    const answers = triggers.states.map(trigger => ({ trigger, answer: answer(trigger, state, healths) }));
    // While it is paused nothing is read, and what was known stays so.
    if (!limits.paused) memory.healths = healths;
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
      lastActiveAt: memory.lastActiveAt,
      createdAt: workload.createdAt,
      metrics: [...external, ...resources],
      history: memory.history,
    };
  }

  function answer(
    state: TriggerState,
    target: TargetState | undefined,
    healths: Map<string, Health>,
  ): Answer | undefined {
    const { reading, trigger } = state;
    if (reading === undefined || isResource(state)) return undefined;
    const key = `${trigger.index} ${trigger.type}`;
    const health = nextHealth(memory.healths.get(key), reading);
    healths.set(key, health);
    const own = targetOf(state);
    const { targetType, target: wanted } = composite ?? { targetType: own.type, target: own.value };
    const standing = { replicas: target?.replicas, readyReplicas: target?.readyReplicas };
    const { fallback } = workload;
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
      memory.history = decision.history;
      return fault;
    }
    memory.history = directHistoryAfter(decision, limits, now);
    if (decision.refreshesLastActive) memory.lastActiveAt = now;
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
      active: active ?? memory.report?.active ?? unknownYet,
      fallback: fallbackCondition(memory.healths.values(), workload.fallback),
      ...(seen.replicas === undefined ? {} : { replicas: seen.replicas }),
      ...(desired === undefined ? {} : { desired }),
      triggers: triggers.states.map(reportTrigger),
    };
    sendNews(workload, next, { world, memory });
  }

  return {
    workload,
    memory,
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
    async close() {
      closed = true;
      triggers[Symbol.dispose]();
    },
  };
}

const isResource = ({ trigger }: TriggerState) => trigger.type === 'cpu' || trigger.type === 'memory';

function metricNameOf({ trigger, bound }: TriggerState): string {
  return bound?.kind === 'read' ? bound.metricName : `s${trigger.index}-${trigger.type}`;
}

/** What a trigger aims at; one that cannot be built has any target that makes n replicas of a fallback n again. */
function targetOf({ bound }: TriggerState): BoundRead['target'] {
  return bound?.kind === 'read' ? bound.target : { type: 'AverageValue', value: 1 };
}

/** The metric of a trigger, one that cannot be built included: it is unknown, and holds what others would lower. */
function metricsOf({ trigger, answer }: { trigger: TriggerState; answer: Answer | undefined }): HpaMetric[] {
  if (isResource(trigger)) return [];
  const { type, value } = targetOf(trigger);
  return [externalMetric({ name: metricNameOf(trigger), targetType: type, target: value }, answer)];
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
