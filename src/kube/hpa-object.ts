import { formatQuantity, parseQuantity } from '../base/quantity.ts';
import { fingerprint } from '../base/secret.ts';
import type { AutoscalerMetric, AutoscalerSpec } from '../engine/ports.ts';
import { excludedLabels, pauseOf } from '../spec/annotations.ts';
import { labelValue } from '../spec/label-value.ts';
import type { ScaledObject, ScalingBehavior, ScalingRules } from '../spec/workload.ts';
import { marks } from './marks.ts';
import type { KubeObject, OwnerReference } from './objects.ts';

/** A HorizontalPodAutoscaler of autoscaling/v2, as far as we write or compare it. */
export interface HpaObject extends KubeObject {
  spec: HpaSpec;
  status?: { conditions?: readonly HpaCondition[] };
}

export interface HpaCondition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
}

export interface HpaSpec {
  scaleTargetRef: { apiVersion?: string; kind: string; name: string };
  minReplicas?: number;
  maxReplicas: number;
  metrics?: readonly HpaMetricSpec[];
  behavior?: ScalingBehavior;
}

interface HpaTarget {
  type: string;
  value?: string;
  averageValue?: string;
  averageUtilization?: number;
}

export interface HpaMetricSpec {
  type: string;
  external?: {
    metric: { name: string; selector?: { matchLabels?: Readonly<Record<string, string>> } };
    target: HpaTarget;
  };
  resource?: { name: string; target: HpaTarget };
  containerResource?: { name: string; container: string; target: HpaTarget };
}

/** What we want of a HorizontalPodAutoscaler. */
export interface WantedHpa {
  metadata: {
    name: string;
    namespace: string;
    labels: Readonly<Record<string, string>>;
    annotations: Readonly<Record<string, string>>;
    ownerReferences: readonly OwnerReference[];
  };
  spec: HpaSpec & { metrics: readonly HpaMetricSpec[] };
}

const compositeName = 'composite-metric';
const longestName = 253;

/** The name of a ScaledObject's HorizontalPodAutoscaler; one that no object may have is shortened by a hash. */
export function autoscalerName({ horizontalPodAutoscalerConfig: { name } }: ScaledObject): string {
  return name.length <= longestName
    ? name
    : `${name.slice(0, longestName - 9)}-${fingerprint(name).slice(0, 8)}`;
}

/**
 * The HorizontalPodAutoscaler of a ScaledObject as KEDA makes it (controllers/keda/hpa.go), with KEDA's own values
 * where they say who made it, so that KEDA takes it back without a change.
 *
 * @param version what `app.kubernetes.io/version` says
 */
export function autoscalerObject(workload: ScaledObject, wanted: AutoscalerSpec, version: string): WantedHpa {
  const name = autoscalerName(workload);
  const labels: Record<string, string> = {
    'app.kubernetes.io/name': name.length <= 63 ? name : name.slice(0, 63).replace(/[^A-Za-z0-9]+$/, ''),
    'app.kubernetes.io/version': version,
    'app.kubernetes.io/part-of': labelValue(workload.name),
    'app.kubernetes.io/managed-by': 'keda-operator',
    // KEDA has it on the ScaledObject by now, and copies it from there.
    [marks.scaledObjectName]: labelValue(workload.name),
  };
  const excluded = new Set(excludedLabels(workload));
  for (const [key, value] of Object.entries(workload.labels)) if (!excluded.has(key)) labels[key] = value;
  if (excluded.has(marks.scaledObjectName)) delete labels[marks.scaledObjectName];
  const behavior = behaviorOf(workload, wanted.behavior);
  return {
    metadata: {
      name,
      namespace: workload.namespace,
      labels,
      annotations: workload.annotations,
      ownerReferences: [ownerOf(workload)],
    },
    spec: {
      scaleTargetRef: {
        apiVersion: workload.target.apiVersion,
        kind: workload.target.kind,
        name: workload.target.name,
      },
      minReplicas: Math.max(wanted.minReplicas, 1),
      maxReplicas: wanted.maxReplicas,
      metrics: wanted.metrics
        .toSorted((a, b) => orderOf(a) - orderOf(b))
        .map(metric => metricSpec(metric, workload.name)),
      ...(behavior === undefined ? {} : { behavior }),
    },
  };
}

/** The reference that makes a ScaledObject the owner of what is made for it. */
export function ownerOf({ name, uid }: Pick<ScaledObject, 'name' | 'uid'>): OwnerReference {
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    name,
    uid,
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** The controlling ScaledObject of an autoscaler; undefined where there is none. */
export function owningScaledObject({ metadata }: KubeObject): OwnerReference | undefined {
  return metadata.ownerReferences?.find(
    ({ kind, apiVersion, controller }) =>
      kind === 'ScaledObject' && controller === true && apiVersion.startsWith('keda.sh/'),
  );
}

function behaviorOf(workload: ScaledObject, given: ScalingBehavior | undefined): ScalingBehavior | undefined {
  const { scaleIn, scaleOut } = pauseOf(workload);
  if (!scaleIn && !scaleOut) return given;
  return {
    ...given,
    ...(scaleIn ? { scaleDown: { ...given?.scaleDown, selectPolicy: 'Disabled' as const } } : {}),
    ...(scaleOut ? { scaleUp: { ...given?.scaleUp, selectPolicy: 'Disabled' as const } } : {}),
  };
}

/** KEDA sorts by the name of the metric's kind, and appends the formula's metric after that. */
function orderOf(metric: AutoscalerMetric): number {
  if (metric.kind === 'resource') return metric.container === undefined ? 2 : 0;
  return metric.name === compositeName ? 3 : 1;
}

function metricSpec(metric: AutoscalerMetric, scaledObject: string): HpaMetricSpec {
  if (metric.kind === 'external') {
    const { name, targetType: type, target } = metric;
    const quantity = formatQuantity(Math.round(target * 1000) / 1000);
    return {
      type: 'External',
      external: {
        metric: { name, selector: { matchLabels: { [marks.scaledObjectName]: labelValue(scaledObject) } } },
        target: type === 'Value' ? { type, value: quantity } : { type, averageValue: quantity },
      },
    };
  }
  const { resource: name, container, targetType: type } = metric;
  const target =
    type === 'Utilization'
      ? { type, averageUtilization: metric.target }
      : { type, averageValue: formatQuantity(metric.target) };
  return container === undefined
    ? { type: 'Resource', resource: { name, target } }
    : { type: 'ContainerResource', containerResource: { name, container, target } };
}

const defaultRules = {
  scaleUp: {
    stabilizationWindowSeconds: 0,
    selectPolicy: 'Max',
    policies: [
      { type: 'Pods', value: 4, periodSeconds: 15 },
      { type: 'Percent', value: 100, periodSeconds: 15 },
    ],
  },
  scaleDown: { selectPolicy: 'Max', policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }] },
} as const satisfies ScalingBehavior;

/** `behavior` with everything the API server fills in (its defaults of autoscaling/v2). */
export function completeBehavior(
  behavior: ScalingBehavior | undefined,
): { scaleUp: ScalingRules; scaleDown: ScalingRules } | undefined {
  if (behavior === undefined) return undefined;
  return {
    scaleUp: { ...defaultRules.scaleUp, ...behavior.scaleUp },
    scaleDown: { ...defaultRules.scaleDown, ...behavior.scaleDown },
  };
}

/**
 * Everything in a spec that decides how an autoscaler works, as one text: the same for what we want and for what
 * the API server makes of it, whatever it fills in and however it writes quantities.
 */
export function specText({ scaleTargetRef, minReplicas, maxReplicas, metrics, behavior }: HpaSpec): string {
  const rules = completeBehavior(behavior);
  return JSON.stringify([
    scaleTargetRef.apiVersion ?? '',
    scaleTargetRef.kind,
    scaleTargetRef.name,
    minReplicas ?? 1,
    maxReplicas,
    (metrics ?? []).map(metricText),
    rules === undefined ? null : [rulesText(rules.scaleUp), rulesText(rules.scaleDown)],
  ]);
}

function metricText(metric: HpaMetricSpec): unknown {
  const { type, external, resource, containerResource } = metric;
  if (external !== undefined) {
    const { metric: id, target } = external;
    return [type, id.name, ordered(id.selector?.matchLabels), targetText(target)];
  }
  if (resource !== undefined) return [type, resource.name, targetText(resource.target)];
  if (containerResource !== undefined) {
    const { name, container, target } = containerResource;
    return [type, name, container, targetText(target)];
  }
  // Of a kind that is never ours.
  return metric;
}

function targetText({ type, value, averageValue, averageUtilization }: HpaTarget): unknown {
  return [type, amount(value), amount(averageValue), averageUtilization ?? null];
}

const amount = (quantity: string | undefined) =>
  quantity === undefined ? null : (parseQuantity(quantity)?.toPrecision(12) ?? quantity);

function rulesText({ stabilizationWindowSeconds, selectPolicy, policies, tolerance }: ScalingRules): unknown {
  return [
    stabilizationWindowSeconds ?? null,
    selectPolicy,
    (policies ?? []).map(({ type, value, periodSeconds }) => [type, value, periodSeconds]),
    amount(tolerance),
  ];
}

function ordered(texts: Readonly<Record<string, string>> | undefined): unknown {
  return Object.entries(texts ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** A short digest of all of an autoscaler that we may want to be so; its status is not in it. */
export function autoscalerMark({ metadata, spec }: HpaObject | WantedHpa): string {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller === true)?.uid ?? '';
  return fingerprint(
    JSON.stringify([specText(spec), owner, ordered(metadata.labels), ordered(metadata.annotations)]),
  );
}

/** Whether an autoscaler is what is wanted. Labels and annotations that others added do not matter. */
export function isAsWanted(live: HpaObject, wanted: WantedHpa): boolean {
  const { labels, annotations, ownerReferences } = wanted.metadata;
  return (
    owningScaledObject(live)?.uid === ownerReferences[0]?.uid &&
    contains(live.metadata.labels, labels) &&
    contains(live.metadata.annotations, annotations) &&
    specText(live.spec) === specText(wanted.spec)
  );
}

function contains(
  all: Readonly<Record<string, string>> = {},
  some: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(some).every(([key, value]) => all[key] === value);
}

/** What a merge patch is made from besides what is wanted. */
export interface PatchBase {
  /** Of the autoscaler that is meant: another one of the same name is not touched. */
  uid: string;
  /** What was wanted before: labels and annotations that are not wanted any more are taken off. */
  previous: WantedHpa | undefined;
  /** The owners it has; undefined where they are known to be right. */
  owners: readonly OwnerReference[] | undefined;
}

/** A merge patch that makes an autoscaler what is wanted and leaves what others added to its metadata. */
export function autoscalerPatch({ metadata, spec }: WantedHpa, { uid, previous, owners }: PatchBase): object {
  const rules = completeBehavior(spec.behavior);
  const others = owners?.filter(({ controller, uid: each }) => {
    return controller !== true && each !== metadata.ownerReferences[0]?.uid;
  });
  return {
    metadata: {
      uid,
      labels: changes(metadata.labels, previous?.metadata.labels),
      annotations: changes(metadata.annotations, previous?.metadata.annotations),
      ...(others === undefined ? {} : { ownerReferences: [...metadata.ownerReferences, ...others] }),
    },
    spec: {
      scaleTargetRef: spec.scaleTargetRef,
      minReplicas: spec.minReplicas,
      maxReplicas: spec.maxReplicas,
      metrics: spec.metrics,
      behavior:
        rules === undefined ? null : { scaleUp: whole(rules.scaleUp), scaleDown: whole(rules.scaleDown) },
    },
  };
}

function changes(
  wanted: Readonly<Record<string, string>>,
  before: Readonly<Record<string, string>> = {},
): Record<string, string | null> {
  const gone = Object.keys(before).filter(key => !Object.hasOwn(wanted, key));
  return { ...wanted, ...Object.fromEntries(gone.map(key => [key, null])) };
}

/** In a merge patch what is left out stays as it is, and what is null goes. */
const whole = ({ stabilizationWindowSeconds, selectPolicy, policies, tolerance }: ScalingRules) => ({
  stabilizationWindowSeconds: stabilizationWindowSeconds ?? null,
  selectPolicy,
  policies,
  tolerance: tolerance ?? null,
});
