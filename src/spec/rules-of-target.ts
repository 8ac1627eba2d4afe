import { parseQuantity } from '../base/quantity.ts';
import { annotations } from './annotations.ts';
import { type Breach, type Rule, rule } from './rule.ts';
import { isResource } from './rules-of-scaling.ts';
import type { Autoscaler, ContainerResources, Surroundings, TargetRef } from './surroundings.ts';
import type { ScaledObject } from './workload.ts';

/**
 * `apps/v1.Deployment`, and `/v1.Pod` in the core group: how KEDA writes the kind of a target. It takes apps/v1 where
 * no version is given, as a HorizontalPodAutoscaler need not.
 */
export function kindOfTarget({ apiVersion: given, kind }: Pick<TargetRef, 'apiVersion' | 'kind'>): string {
  const apiVersion = given || 'apps/v1';
  return `${apiVersion.includes('/') ? apiVersion : `/${apiVersion}`}.${kind}`;
}

const targetPath = ['spec', 'scaleTargetRef', 'name'];

// The sentences of the rules here are those that KEDA's end-to-end tests look for.

function* otherScaledObject(workload: ScaledObject, around: Surroundings): Generator<Breach> {
  const { namespace, name, target } = workload;
  const kind = kindOfTarget(target);
  for (const other of around.scaledObjectsByTarget(namespace, target.name)) {
    if (other.name === name || kindOfTarget(other.target) !== kind) continue;
    const problem = `the workload '${target.name}' of type '${kind}' is already managed by the ScaledObject '${other.name}'`;
    yield { problem, mending: 'put the triggers of both into one ScaledObject', path: targetPath };
  }
}

function* otherOwnerOfHpa(workload: ScaledObject, around: Surroundings): Generator<Breach> {
  const { namespace, name, horizontalPodAutoscalerConfig: hpa } = workload;
  for (const other of around.scaledObjectsByHpa(namespace, hpa.name)) {
    if (other.name === name) continue;
    const problem = `the HPA '${hpa.name}' is already managed by the ScaledObject '${other.name}'`;
    const path = ['spec', 'advanced', 'horizontalPodAutoscalerConfig', 'name'];
    yield { problem, mending: 'give it another name', path };
  }
}

function strangersHpas(workload: ScaledObject, around: Surroundings): Autoscaler[] {
  const { namespace, name, target } = workload;
  return around
    .autoscalersByTarget(namespace, target.name)
    .filter(({ annotations: given }) => given[annotations.hpaOwnership] !== 'false')
    .filter(hpa => kindOfTarget(hpa.target) === kindOfTarget(target))
    .filter(({ owners }) => !owners.some(owner => owner.kind === 'ScaledObject' && owner.name === name));
}

const wantsTransfer = (workload: ScaledObject) =>
  workload.annotations[annotations.transferHpaOwnership] === 'true';

function quantityAbove0(quantities: Readonly<Record<string, unknown>>, resource: string): boolean {
  const given = quantities[resource];
  return (typeof given === 'string' || typeof given === 'number') && (parseQuantity(String(given)) ?? 0) > 0;
}

function* missingRequests(workload: ScaledObject, around: Surroundings): Generator<Breach> {
  const { namespace } = workload;
  const containers = resourceTarget(workload, around);
  if (containers === undefined) return;
  for (const { type, metadata, index } of workload.triggers.filter(isResource)) {
    const fromRange = around
      .limits(namespace)
      .some(
        limit =>
          limit.type === 'Container' &&
          (quantityAbove0(limit.defaults, type) || quantityAbove0(limit.defaultRequests, type)),
      );
    if (fromRange) continue;
    for (const { name, requests, limits } of containers) {
      if (metadata['containerName'] && metadata['containerName'] !== name) continue;
      if (quantityAbove0(requests, type) || quantityAbove0(limits, type)) continue;
      const problem = `the scaledobject has a ${type} trigger but the container ${name} doesn't have the ${type} request defined`;
      const mending = `set resources.requests.${type} of the container`;
      yield { problem, mending, path: ['spec', 'triggers', index] };
    }
  }
}

/** The containers that cpu and memory triggers look at; undefined where KEDA does not check them. */
function resourceTarget(
  workload: ScaledObject,
  around: Surroundings,
): readonly ContainerResources[] | undefined {
  const found = resourceLookup(workload, around);
  return Array.isArray(found) ? found : undefined;
}

function resourceLookup(workload: ScaledObject, around: Surroundings) {
  const kind = kindOfTarget(workload.target);
  const checked = kind === 'apps/v1.Deployment' || kind === 'apps/v1.StatefulSet';
  if (around.dryRun || !checked || !workload.triggers.some(isResource)) return undefined;
  return around.containers(workload.namespace, workload.target);
}

/** The rules that look at what else is in the namespace. */
export const rulesOfTarget: readonly Rule[] = [
  rule({
    name: 'one-scaled-object-per-target',
    reason: 'other-scaled-object',
    kinds: ['ScaledObject'],
    check: otherScaledObject,
  }),
  rule({
    name: 'one-scaled-object-per-hpa',
    reason: 'other-scaled-object-hpa',
    kinds: ['ScaledObject'],
    check: otherOwnerOfHpa,
  }),
  rule({
    name: 'one-autoscaler-per-target',
    reason: 'other-hpa',
    kinds: ['ScaledObject'],
    *check(workload, around) {
      if (wantsTransfer(workload)) return;
      for (const { name } of strangersHpas(workload, around)) {
        const problem = `the workload '${workload.target.name}' of type '${kindOfTarget(workload.target)}' is already managed by the hpa '${name}'`;
        const mending = `delete that hpa, or take it over with the annotation ${annotations.transferHpaOwnership}: "true" and its name in spec.advanced.horizontalPodAutoscalerConfig.name`;
        yield { problem, mending, path: targetPath };
      }
    },
  }),
  rule({
    name: 'transfer-names-hpa',
    reason: 'transfer-ownership-missing-hpa-name',
    kinds: ['ScaledObject'],
    *check(workload, around) {
      if (!wantsTransfer(workload)) return;
      for (const { name } of strangersHpas(workload, around)) {
        if (name === workload.horizontalPodAutoscalerConfig.name) continue;
        const problem = `the hpa '${name}' of the workload '${workload.target.name}' of type '${kindOfTarget(workload.target)}' can only be taken over by its name`;
        const mending = `set spec.advanced.horizontalPodAutoscalerConfig.name to ${name}`;
        yield { problem, mending, path: ['spec', 'advanced', 'horizontalPodAutoscalerConfig', 'name'] };
      }
    },
  }),
  rule({
    name: 'resource-target-exists',
    kinds: ['ScaledObject'],
    *check(workload, around) {
      if (resourceLookup(workload, around) !== 'missing') return;
      const { kind, name } = workload.target;
      yield { problem: `there is no ${kind} "${name}" whose requests could be looked at`, path: targetPath };
    },
  }),
  rule({ name: 'requests-set', reason: 'missing-requests', kinds: ['ScaledObject'], check: missingRequests }),
  rule({
    name: 'zero-reachable',
    reason: 'scale-to-zero-requirements-not-met',
    kinds: ['ScaledObject'],
    *check(workload, around) {
      const found = resourceLookup(workload, around);
      if (found === undefined || found === 'missing') return;
      if (!workload.triggers.every(isResource) || (workload.minReplicaCount ?? 0) > 0) return;
      const problem = 'with cpu and memory triggers only, nothing would ever wake the target from zero';
      const mending = 'set minReplicaCount to 1 or more';
      yield { problem, mending, path: ['spec', 'minReplicaCount'] };
    },
  }),
];
