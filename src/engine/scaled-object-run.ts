import { type Fault, type FaultCode, faultOf } from '../base/errors.ts';
import { activityOf, type CompositeAnswer } from '../decide/activity.ts';
import * as say from '../decide/conditions.ts';
import {
  type DirectDecision,
  type DirectLimits,
  type DirectSeen,
  decideReplicas,
  directHistoryAfter,
} from '../decide/direct.ts';
import { fallbackCondition } from '../decide/fallback.ts';
import { tellAsked } from '../decide/hpa.ts';
import { externalMetric, type HpaMetric } from '../decide/hpa-metrics.ts';
import { decideScale, type ScaleDecision } from '../decide/replicas.ts';
import type { BoundResource } from '../scaler/bind.ts';
import { forcesActivation, pauseOf } from '../spec/annotations.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { applyReplicas } from './apply.ts';
import { autoscalerSpec, hpaActiveCondition } from './autoscaler.ts';
import { combine, compositeName, compositeOf } from './composite.ts';
import type { EngineContext } from './context.ts';
import { beginsToFail, followClock, type Memory } from './memory.ts';
import type { AutoscalerState, Change, Condition, Report, TargetState } from './ports.ts';
import type { Decided } from './records.ts';
import { recordTrigger, reportTrigger, sendNews } from './report.ts';
import { isResource, type MetricAnswer, metricNameOf, metricsOf, TriggerAnswers } from './trigger-answers.ts';
import { placeOf, type TriggerState, Triggers } from './triggers.ts';
import type { WorkloadRun } from './workload-run.ts';

const unknownYet: Condition = {
  status: 'Unknown',
  reason: 'UnknownState',
  message: 'It has not been decided yet.',
};

/** What is known of the target: its state, or why it is not known. */
type Target = { ok: true; state: TargetState } | { ok: false; fault: Fault };

/** How the autoscaler stands, or why it is not as it is to be. */
interface Autoscaler {
  state: AutoscalerState | undefined;
  fault: Fault | undefined;
}

/** What a tick has read. */
interface Sight {
  now: number;
  seen: DirectSeen;
  /** The metric names of the triggers that are active. */
  active: readonly string[];
  autoscaler: Autoscaler;
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
  const answers = new TriggerAnswers(workload, { composite, memory });
  const direct = context.autoscalerOf(workload) === 'direct';
  forgetOthers(memory, triggers.states);
  let closed = false;

  async function tick(): Promise<void> {
    if (limits.paused) await whilePaused();
    else await whileRunning();
  }

  async function whileRunning(): Promise<void> {
    const [target] = await Promise.all([readTarget(), triggers.read()]);
    const resources = direct ? await readResources() : [];
    // Whatever was read meanwhile, it is not ours to decide on any more.
    if (closed) return;
    await act(target, resources, await ensureAutoscaler(target));
  }

  async function whilePaused(): Promise<void> {
    // Before the target is set: an autoscaler that is still there would set it back.
    const autoscaler = await ensureAutoscaler(undefined);
    const target = await readTarget();
    if (!closed) await act(target, [], autoscaler);
  }

  async function act(target: Target, resources: HpaMetric[], autoscaler: Autoscaler): Promise<void> {
    followClock(memory, clock);
    const now = clock.now();
    if (target.ok) meet(target.state, now);
    // Where somebody else's autoscaler scales the target too, deciding would be fighting.
    const standing: Target =
      autoscaler.fault?.code === 'TARGET_TAKEN' ? { ok: false, fault: autoscaler.fault } : target;
    const sight = { ...look(standing, resources, now), autoscaler };
    const found = target.ok ? changeByOthers(target.state.replicas, sight) : undefined;
    if (direct) await decideDirectly(sight, found);
    else await decideActivation(sight, found);
  }

  async function decideDirectly(sight: Sight, found: Change | undefined): Promise<void> {
    const { seen, now } = sight;
    const decision = decideReplicas(seen, limits, now);
    const failed = await apply(decision, now);
    memory.history = failed === undefined ? directHistoryAfter(decision, limits, now) : decision.history;
    record({ kind: 'replicas', seen, limits, decision }, { now, failed });
    tell(decision, sight, { failed, found });
  }

  async function decideActivation(sight: Sight, found: Change | undefined): Promise<void> {
    const { now } = sight;
    const { replicas, problem, active, failed: unknown, lastActiveAt, createdAt } = sight.seen;
    const seen = { replicas, problem, active, failed: unknown, lastActiveAt, createdAt };
    const decision = decideScale(seen, limits, now);
    const failed = await apply(decision, now);
    record({ kind: 'activation', seen, limits, decision }, { now, failed });
    tell(decision, sight, { failed, found });
  }

  function record(decided: Decided, { now, failed }: { now: number; failed: Fault | undefined }): void {
    memory.records.add(decided, now, {
      triggers: () => triggers.states.map(recordTrigger),
      ...(failed === undefined ? {} : { failed }),
    });
  }

  function meet({ replicas }: TargetState, now: number): void {
    // Whoever ran it before knew when it was last active; where that is not told the cooldown starts anew.
    if (!memory.metTarget && replicas > 0 && workload.createdAt <= context.startedAt)
      memory.lastActiveAt ??= now;
    memory.metTarget = true;
  }

  async function readTarget(): Promise<Target> {
    try {
      return { ok: true, state: await world.readTarget(workload, stop) };
    } catch (thrown) {
      return { ok: false, fault: faultOf(thrown, 'WORLD_FAILED') };
    }
  }

  /** @param target undefined while it is paused, when there is to be no autoscaler */
  async function ensureAutoscaler(target: Target | undefined): Promise<Autoscaler> {
    // One for a target that is not there would only complain.
    if (target?.ok === false && !direct) return { state: undefined, fault: undefined };
    const { states } = triggers;
    const wanted =
      direct || target === undefined ? undefined : autoscalerSpec(workload, { states, composite, memory });
    if (wanted instanceof Error) return { state: undefined, fault: wanted };
    try {
      return { state: await world.ensureAutoscaler(workload, wanted, stop), fault: undefined };
    } catch (thrown) {
      return { state: undefined, fault: faultOf(thrown, 'WORLD_FAILED') };
    }
  }

  async function readResources(): Promise<HpaMetric[]> {
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

  function look(target: Target, resources: HpaMetric[], now: number): Pick<Sight, 'now' | 'seen' | 'active'> {
    const state = target.ok ? target.state : undefined;
    const terms = triggers.states.map(each => ({
      trigger: each.trigger,
      state: each,
      // While it is paused nothing is read, and what was known stays so.
      answer:
        each.reading === undefined || isResource(each) || limits.paused
          ? undefined
          : answers.take(each, each.reading, state),
    }));
    const { fallback } = workload;
    const combined = composite === undefined ? undefined : combine(composite, { terms, fallback }, now);
    const { active, failed, activeMetrics } = activityOf(
      terms.map(term => ({
        metricName: metricNameOf(term.state),
        resource: isResource(term.state),
        answer: term.answer,
      })),
      combined,
    );
    memory.composite = combined && { value: answeredValue(combined), active };
    const external =
      composite === undefined
        ? terms.flatMap(term => metricsOf(term.state, term.answer))
        : [externalMetric({ name: compositeName, ...aimOf(composite) }, combined?.answer)];
    const seen: DirectSeen = {
      replicas: state?.replicas,
      readyReplicas: state?.readyReplicas,
      active,
      failed,
      lastActiveAt: memory.lastActiveAt,
      createdAt: workload.createdAt,
      metrics: [...external, ...resources],
      history: memory.history,
    };
    if (!target.ok) seen.problem = target.fault;
    return { now, seen, active: activeMetrics };
  }

  /** Somebody has set other replicas since the last decision: in hpa mode its autoscaler, as a rule. */
  function changeByOthers(replicas: number, { seen, autoscaler, now }: Sight): Change | undefined {
    const from = memory.replicas;
    memory.replicas = replicas;
    if (from === undefined || from === replicas) return undefined;
    const { state } = autoscaler;
    if (direct || limits.paused || from === 0 || replicas === 0 || state === undefined) {
      return {
        from,
        to: replicas,
        kind: 'other',
        why: `Somebody went from ${from} to ${replicas} replicas.`,
      };
    }
    const { metrics } = seen;
    const why = `${state.name} went from ${from} to ${replicas} replicas: ${tellAsked({ replicas: from, metrics }, now)}`;
    return { from, to: replicas, kind: 'autoscaler', why };
  }

  async function apply(decision: ScaleDecision, now: number): Promise<Fault | undefined> {
    try {
      await applyReplicas(world, workload, decision);
    } catch (thrown) {
      const fault = faultOf(thrown, 'WORLD_FAILED');
      if (beginsToFail(memory, fault))
        log.warn('the replicas cannot be set now', { workload: workload.key, fault });
      memory.errors += 1;
      memory.changes.failed += 1;
      return fault;
    }
    memory.complaint = undefined;
    if (decision.kind === 'scale') {
      memory.changes[decision.to > (memory.replicas ?? 0) ? 'out' : 'in'] += 1;
      memory.replicas = decision.to;
    }
    if (decision.refreshesLastActive) memory.lastActiveAt = now;
    return undefined;
  }

  function tell(
    decision: DirectDecision | ScaleDecision,
    sight: Sight,
    { failed, found }: { failed: Fault | undefined; found: Change | undefined },
  ): void {
    const { why } = decision;
    const { seen, autoscaler, now } = sight;
    if (seen.failed || seen.problem !== undefined) memory.errors += 1;
    const desired = decision.kind === 'scale' ? decision.to : seen.replicas;
    const active = decision.active ?? memory.report?.active ?? unknownYet;
    const next: Report = {
      at: now,
      why: failed === undefined ? why : `${why} ${failed.message}`,
      ready: readyOf(decision.ready, autoscaler.fault),
      active,
      fallback: fallbackCondition(memory.healths.values(), workload.fallback),
      paused:
        decision.paused ?? (limits.pausedScaleIn || limits.pausedScaleOut ? say.partlyPaused : say.unpaused),
      triggers: triggers.states.map(state => reportTrigger(state, healthOf(state))),
    };
    const hpaActive = hpaActiveCondition(autoscaler.state);
    if (hpaActive !== undefined) next.hpaActive = hpaActive;
    if (seen.replicas !== undefined) next.replicas = seen.replicas;
    if (desired !== undefined) next.desired = desired;
    if (typeof limits.pausedReplicas === 'number') next.pausedReplicas = limits.pausedReplicas;
    if (active.status !== 'True' && memory.lastActiveAt !== undefined)
      next.lastActiveAt = memory.lastActiveAt;
    const changes = [found, changeOf(decision, sight, failed)].filter(each => each !== undefined);
    if (changes.length > 0) next.changes = changes;
    sendNews(workload, next, { world, memory });
  }

  function changeOf(
    decision: DirectDecision | ScaleDecision,
    { seen: { replicas: from }, active }: Sight,
    failed: Fault | undefined,
  ): Change | undefined {
    if (decision.kind === 'hold' || from === undefined) return undefined;
    const { to, rule, why } = decision;
    const kind =
      rule === 'activate' ? 'activation' : rule === 'deactivate' ? 'deactivation' : ('scaling' as const);
    const change: Change = { from, to, kind, why };
    if (rule === 'activate') change.active = active;
    if (failed !== undefined) change.failed = failed;
    return change;
  }

  function healthOf(state: TriggerState) {
    return workload.fallback === undefined ? undefined : memory.healths.get(placeOf(state));
  }

  return {
    workload,
    memory,
    triggers: triggers.states,
    due: 0,
    place: -1,
    tick,
    async isUrgent() {
      // What was made just now waits for its autoscaler, and what is at zero for its first message. The API server
      // cuts times of creation to whole seconds.
      if (workload.createdAt + 1000 > context.startedAt) return true;
      const target = await readTarget();
      return target.ok && target.state.replicas === 0;
    },
    async isNews() {
      const target = await readTarget();
      if (!target.ok) return memory.replicas !== undefined;
      return direct || target.state.replicas !== memory.replicas;
    },
    async metric(metricName): Promise<MetricAnswer> {
      if (closed) return { kind: 'missing' };
      return await answers.metric(metricName, triggers, {
        now: () => clock.now(),
        async readTarget() {
          const target = await readTarget();
          return target.ok ? target.state : undefined;
        },
      });
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

/** An API server that is away says nothing about the workload, so that nothing is to be told of it. */
function readyOf(decided: Condition, autoscaler: Fault | undefined): Condition {
  const silent = autoscaler === undefined || away.has(autoscaler.code);
  return silent ? decided : say.checkFailed(autoscaler.message);
}

const away: ReadonlySet<FaultCode> = new Set(['KUBE_UNREACHABLE', 'CANCELLED']);

/** What is remembered of triggers that the workload no longer has says nothing about those that took their place. */
function forgetOthers({ healths, metrics }: Memory, states: readonly TriggerState[]): void {
  const places = new Set(states.map(placeOf));
  for (const known of [healths, metrics])
    for (const place of known.keys()) if (!places.has(place)) known.delete(place);
}

function answeredValue({ answer }: CompositeAnswer): number | undefined {
  return answer?.kind === 'read' || answer?.kind === 'fallback' ? answer.value : undefined;
}

const aimOf = ({ target, targetType }: { target: number; targetType: 'AverageValue' | 'Value' }) => ({
  target,
  targetType,
});

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
