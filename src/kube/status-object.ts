import { isDeepStrictEqual } from 'node:util';
import type { Condition, Report, TriggerReport } from '../engine/ports.ts';
import type { ConditionType } from '../spec/conditions.ts';
import type { ScaledObject, Workload } from '../spec/workload.ts';

/** `status` of a ScaledObject or ScaledJob, as far as we write or look at it. */
export interface Status {
  scaleTargetKind?: string;
  scaleTargetGVKR?: { group: string; version: string; kind: string; resource: string };
  originalReplicaCount?: number;
  lastActiveTime?: string;
  externalMetricNames?: readonly string[];
  resourceMetricNames?: readonly string[];
  compositeScalerName?: string;
  conditions?: readonly StatusCondition[];
  health?: Readonly<Record<string, { numberOfFailures?: number; status?: string }>>;
  triggersActivity?: Readonly<Record<string, { isActive?: boolean }>>;
  pausedReplicaCount?: number;
  hpaName?: string;
  triggersTypes?: string;
  authenticationsTypes?: string;
}

export interface StatusCondition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
}

/** What a report does not tell and the cluster does. */
export interface StatusFacts {
  /** What the ScaledObject scales, once that is resolved. */
  target?: { kind: string; gvkr: NonNullable<Status['scaleTargetGVKR']> };
  /** The HorizontalPodAutoscaler that was ensured last. */
  hpaName?: string;
}

/** Why a version of an object cannot be run. */
export interface Refusal {
  message: string;
}

const order: readonly ConditionType[] = ['Ready', 'Active', 'Fallback', 'Paused', 'HPAActive'];
const compositeName = 'composite-metric';

/** Finds a condition; undefined where it is not there. */
export function conditionIn(status: Status, type: ConditionType): StatusCondition | undefined {
  return status.conditions?.find(each => each.type === type);
}

/**
 * The status that KEDA would have written, out of a report. What the report says nothing of stays as it is.
 * Other than in KEDA `lastActiveTime` is written when activity has ended, not while it lasts.
 */
export function statusOf(
  workload: Workload,
  report: Report,
  { live, facts, refusal }: { live: Status; facts: StatusFacts; refusal: Refusal | undefined },
): Status {
  const wanted: Status = { ...live, conditions: conditionsOf(workload, report, live) };
  tellTypes(workload, wanted);
  if (report.lastActiveAt !== undefined) wanted.lastActiveTime = timeText(report.lastActiveAt);
  tellTriggers(workload, report, wanted);
  if (workload.kind === 'ScaledObject') tellTarget(report, wanted, facts);
  return refusal === undefined ? wanted : refusedStatus(workload.kind, wanted, refusal);
}

/** The status of an object that cannot be run as it is; what was known of it stays. */
export function refusedStatus(kind: Workload['kind'], live: Status, { message }: Refusal): Status {
  const given: Partial<Record<ConditionType, Condition>> = {
    Ready: { status: 'False', reason: `${kind}CheckFailed`, message },
    Active: { status: 'Unknown', reason: 'UnknownState', message: `The ${kind} cannot be run as it is.` },
  };
  return { ...live, conditions: merged(kind, given, live) };
}

/** A merge patch of `status` that turns one into the other; undefined where they say the same. */
export function statusPatch(live: Status, wanted: Status): Record<string, unknown> | undefined {
  const patch = mapPatch(live as Record<string, unknown>, wanted as Record<string, unknown>);
  return patch === undefined ? undefined : { status: patch };
}

/** RFC 3339 in whole seconds, as the API server keeps times. */
export function timeText(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');
}

function mapPatch(
  live: Readonly<Record<string, unknown>>,
  wanted: Readonly<Record<string, unknown>>,
): Record<string, unknown> | undefined {
  const patch: Record<string, unknown> = {};
  for (const name of new Set([...Object.keys(live), ...Object.keys(wanted)])) {
    const [before, after] = [live[name], wanted[name]];
    if (isDeepStrictEqual(before, after)) continue;
    if (isMap(before) && isMap(after)) patch[name] = mapPatch(before, after);
    else patch[name] = after ?? null;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function tellTypes({ triggers }: Workload, wanted: Status): void {
  const types = new Set(triggers.map(({ type }) => type));
  const names = new Set(triggers.flatMap(({ authenticationRef }) => authenticationRef?.name ?? []));
  wanted.triggersTypes = [...types].join(',');
  if (names.size === 0) delete wanted.authenticationsTypes;
  else wanted.authenticationsTypes = [...names].join(',');
}

function conditionsOf({ kind }: Workload, report: Report, live: Status): StatusCondition[] {
  const { ready, active, fallback, paused, hpaActive } = report;
  return merged(
    kind,
    { Ready: ready, Active: active, Fallback: fallback, Paused: paused, HPAActive: hpaActive },
    live,
  );
}

function merged(
  kind: Workload['kind'],
  given: Readonly<Partial<Record<ConditionType, Condition | undefined>>>,
  live: Status,
): StatusCondition[] {
  return order.flatMap(type => {
    const told = given[type];
    // Built anew, field by field: conditions are compared with what the API server sent.
    if (told !== undefined)
      return [{ type, status: told.status, reason: told.reason, message: told.message }];
    return conditionIn(live, type) ?? initial(kind, type);
  });
}

/** HPAActive is not there before there is something to say. */
function initial(kind: Workload['kind'], type: ConditionType): StatusCondition[] {
  if (type === 'HPAActive') return [];
  if (type !== 'Paused') return [{ type, status: 'Unknown' }];
  return [{ type, status: 'False', reason: `${kind}Unpaused`, message: `The ${kind} is not paused.` }];
}

function tellTriggers(workload: Workload, { triggers }: Report, wanted: Status): void {
  const external = triggers.filter(({ type }) => type !== 'cpu' && type !== 'memory');
  const named = external.flatMap(trigger =>
    trigger.metricName === undefined ? [] : [[trigger.metricName, trigger] as const],
  );
  // Where a trigger could not be built, what was known of it is better than nothing.
  const complete = triggers.length === workload.triggers.length && named.length === external.length;
  const activity = named.map(([name, { active }]) => [name, { isActive: active }] as const);
  wanted.triggersActivity = { ...(complete ? {} : wanted.triggersActivity), ...Object.fromEntries(activity) };
  if (Object.keys(wanted.triggersActivity).length === 0) delete wanted.triggersActivity;
  if (workload.kind === 'ScaledJob') return;
  if (complete) tellMetrics(workload, triggers, wanted);
  const healths = named.flatMap(([name, { health }]) =>
    health === undefined ? [] : [[name, { ...health }] as const],
  );
  if (healths.length === 0) return;
  wanted.health = { ...(complete ? {} : wanted.health), ...Object.fromEntries(healths) };
}

function tellMetrics(workload: ScaledObject, triggers: readonly TriggerReport[], wanted: Status): void {
  const external: string[] = [];
  const resource: string[] = [];
  triggers.forEach(({ type, metricName }, index) => {
    if (metricName === undefined) return;
    if (type !== 'cpu' && type !== 'memory') external.push(metricName);
    // KEDA does not list the metrics of single containers.
    else if (workload.triggers[index]?.metadata['containerName'] === undefined) resource.push(metricName);
  });
  setList(wanted, 'externalMetricNames', external);
  setList(wanted, 'resourceMetricNames', resource);
  if (Number(workload.scalingModifiers?.target ?? 0) > 0) wanted.compositeScalerName = compositeName;
}

function setList(
  wanted: Status,
  field: 'externalMetricNames' | 'resourceMetricNames',
  names: string[],
): void {
  if (names.length === 0) delete wanted[field];
  else wanted[field] = names;
}

function tellTarget(
  { pausedReplicas, changes, replicas }: Report,
  wanted: Status,
  { target, hpaName }: StatusFacts,
): void {
  if (pausedReplicas === undefined) delete wanted.pausedReplicaCount;
  else wanted.pausedReplicaCount = pausedReplicas;
  const original = changes?.[0]?.from ?? replicas;
  if (wanted.originalReplicaCount === undefined && original !== undefined)
    wanted.originalReplicaCount = original;
  if (hpaName !== undefined) wanted.hpaName = hpaName;
  if (target === undefined) return;
  wanted.scaleTargetKind = target.kind;
  wanted.scaleTargetGVKR = { ...target.gvkr };
}
