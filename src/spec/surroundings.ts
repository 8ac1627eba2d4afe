import type { ManifestDocument } from './documents.ts';
import { descend, isRecord } from './field-path.ts';
import type { Problem } from './problem.ts';
import type { ScaledObject } from './workload.ts';

/** What is scaled: `apps/v1`, `Deployment`, a name. */
export type TargetRef = ScaledObject['target'];

/** A container, as far as rules look at it. */
export interface ContainerResources {
  name: string;
  /** Quantities by resource name, as written. */
  requests: Readonly<Record<string, unknown>>;
  limits: Readonly<Record<string, unknown>>;
}

/** A HorizontalPodAutoscaler, as far as rules look at it. */
export interface Autoscaler {
  namespace: string;
  name: string;
  annotations: Readonly<Record<string, unknown>>;
  target: TargetRef;
  owners: readonly { kind: string; name: string }[];
}

/** One limit of a LimitRange. */
export interface ContainerLimit {
  namespace: string;
  type: string;
  defaults: Readonly<Record<string, unknown>>;
  defaultRequests: Readonly<Record<string, unknown>>;
}

/** A Deployment or StatefulSet of apps/v1. */
export interface PodOwner {
  kind: string;
  namespace: string;
  name: string;
  containers: readonly ContainerResources[];
}

/** What rules need to know of the world around an object. */
export interface Surroundings {
  operation: 'create' | 'update';
  /** Nothing will be stored; rules that look at the target are skipped, as in KEDA. */
  dryRun: boolean;
  /** The ScaledObjects of the namespace whose target has this name, itself included. */
  scaledObjectsByTarget(namespace: string, target: string): readonly ScaledObject[];
  /** The ScaledObjects of the namespace whose HPA has this name, itself included. */
  scaledObjectsByHpa(namespace: string, hpa: string): readonly ScaledObject[];
  autoscalersByTarget(namespace: string, target: string): readonly Autoscaler[];
  /** The containers of a Deployment or StatefulSet; `missing` where there is none, `unknown` where nobody can tell. */
  containers(namespace: string, target: TargetRef): readonly ContainerResources[] | 'missing' | 'unknown';
  limits(namespace: string): readonly ContainerLimit[];
  /** The trigger types there are; whether a type is known is looked at only where this is given. */
  triggerTypes?: readonly string[];
  /** What is wrong with a formula over these variables. */
  checkFormula(formula: string, names: readonly string[]): readonly Problem[];
}

/** Everything that is there, as lists: from files, or from the caches of a cluster. */
export interface Snapshot {
  scaledObjects: readonly ScaledObject[];
  autoscalers: readonly Autoscaler[];
  podOwners: readonly PodOwner[];
  limits: readonly ContainerLimit[];
  /** Whether what is not in the lists does not exist. Files may lack what a cluster has. */
  complete: boolean;
}

type Circumstances = Pick<Surroundings, 'operation' | 'dryRun' | 'checkFormula' | 'triggerTypes'>;

/** Makes a snapshot quick to ask. */
export function surroundingsOf(snapshot: Snapshot, circumstances: Circumstances): Surroundings {
  const { scaledObjects, autoscalers, podOwners, limits, complete } = snapshot;
  const byTarget = grouped(scaledObjects, each => [each.namespace, each.target.name]);
  const byHpa = grouped(scaledObjects, each => [each.namespace, each.horizontalPodAutoscalerConfig.name]);
  const hpas = grouped(autoscalers, each => [each.namespace, each.target.name]);
  const owners = grouped(podOwners, each => [each.namespace, each.kind, each.name]);
  const ranges = grouped(limits, each => [each.namespace]);
  return {
    ...circumstances,
    scaledObjectsByTarget: (...key) => byTarget(key),
    scaledObjectsByHpa: (...key) => byHpa(key),
    autoscalersByTarget: (...key) => hpas(key),
    containers: (namespace, { kind, name }) =>
      owners([namespace, kind, name])[0]?.containers ?? (complete ? 'missing' : 'unknown'),
    limits: namespace => ranges([namespace]),
  };
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string[]): (key: string[]) => readonly T[] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item).join('/');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return key => groups.get(key.join('/')) ?? [];
}

/** Picks from the documents of files what rules look at; what is not in the files stays unknown. */
export function snapshotOf(
  documents: readonly ManifestDocument[],
  scaledObjects: readonly ScaledObject[],
): Snapshot {
  const of = (group: RegExp, ...kinds: string[]) =>
    documents.filter(each => group.test(each.apiVersion) && kinds.includes(each.kind));
  return {
    scaledObjects,
    autoscalers: of(/^autoscaling\//, 'HorizontalPodAutoscaler').map(autoscalerOf),
    podOwners: of(/^apps\/v1$/, 'Deployment', 'StatefulSet').map(podOwnerOf),
    limits: of(/^v1$/, 'LimitRange').flatMap(limitsOf),
    complete: false,
  };
}

/** Reads a HorizontalPodAutoscaler; never throws, what is not there is empty. */
export function autoscalerOf({ namespace, name, value }: ManifestDocument): Autoscaler {
  const target = descend(value, ['spec', 'scaleTargetRef']);
  const owners = listAt(value, ['metadata', 'ownerReferences']);
  return {
    namespace,
    name,
    annotations: recordAt(value, ['metadata', 'annotations']),
    target: {
      apiVersion: textAt(target, 'apiVersion'),
      kind: textAt(target, 'kind'),
      name: textAt(target, 'name'),
    },
    owners: owners.map(owner => ({ kind: textAt(owner, 'kind'), name: textAt(owner, 'name') })),
  };
}

/** Reads a Deployment or StatefulSet; never throws, what is not there is empty. */
export function podOwnerOf({ kind, namespace, name, value }: ManifestDocument): PodOwner {
  const containers = listAt(value, ['spec', 'template', 'spec', 'containers']).map(container => ({
    name: textAt(container, 'name'),
    requests: recordAt(container, ['resources', 'requests']),
    limits: recordAt(container, ['resources', 'limits']),
  }));
  return { kind, namespace, name, containers };
}

/** Reads a LimitRange; never throws, what is not there is empty. */
export function limitsOf({ namespace, value }: ManifestDocument): ContainerLimit[] {
  return listAt(value, ['spec', 'limits']).map(limit => ({
    namespace,
    type: textAt(limit, 'type'),
    defaults: recordAt(limit, ['default']),
    defaultRequests: recordAt(limit, ['defaultRequest']),
  }));
}

function listAt(value: unknown, path: readonly string[]): readonly unknown[] {
  const found = descend(value, path);
  return Array.isArray(found) ? found : [];
}

function recordAt(value: unknown, path: readonly string[]): Readonly<Record<string, unknown>> {
  const found = descend(value, path);
  return isRecord(found) ? found : {};
}

function textAt(value: unknown, name: string): string {
  const found = descend(value, [name]);
  return typeof found === 'string' ? found : '';
}
