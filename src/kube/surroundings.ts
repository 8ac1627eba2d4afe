import { type Clock, sleep } from '../base/clock.ts';
import { documentOf } from '../spec/documents.ts';
import type { Manifest } from '../spec/manifest.ts';
import { isResource } from '../spec/rules-of-scaling.ts';
import { kindOfTarget } from '../spec/rules-of-target.ts';
import { parseScaledObject } from '../spec/scaled-object.ts';
import {
  type Autoscaler,
  type ContainerLimit,
  type ContainerResources,
  limitsOf,
  podOwnerOf,
  type Surroundings,
} from '../spec/surroundings.ts';
import type { ScaledObject } from '../spec/workload.ts';
import type { KubeClient } from './client.ts';
import { apiVersionOf, type KubeObject, type Resource, resources } from './objects.ts';

export interface ClusterSurroundingsOptions {
  client: Pick<KubeClient, 'get' | 'list'>;
  clock: Clock;
  /** The HorizontalPodAutoscalers of a namespace whose target has this name, whoever made them. */
  autoscalersByTarget(namespace: string, target: string): readonly Autoscaler[];
  checkFormula: Surroundings['checkFormula'];
}

/** How long an admitted object is remembered at most while the watch has not brought it, in milliseconds. */
const rememberedMs = 5000;
/** More than these are not remembered: whoever can send reviews to a webhook must not fill the memory. */
const mostRemembered = 5000;
/** When it is asked whether an admitted object was stored; in milliseconds, each after the one before. */
const confirmAfterMs = [200, 600, 1200];

/** What rules look at in a cluster: the ScaledObjects by what they scale, and the rest fetched when it is needed. */
export class ClusterSurroundings {
  readonly #options: ClusterSurroundingsOptions;
  readonly #stored = new TargetIndex();
  /** Those that were let in and may be stored by now, although the watch has not brought them yet. */
  readonly #admitted = new TargetIndex();
  /** By key, in the order of time, until when on the monotonic clock. */
  readonly #until = new Map<string, number>();

  constructor(options: ClusterSurroundingsOptions) {
    this.#options = options;
  }

  /** A ScaledObject is there, or a new version of it. */
  set(workload: ScaledObject): void {
    this.#stored.set(workload);
    const admitted = this.#admitted.get(workload.key);
    // An older version may still come after a newer one was let in.
    if (admitted !== undefined && admitted.generation <= workload.generation) this.#forget(workload.key);
  }

  /** A ScaledObject is gone; nothing happens where it was not there. */
  remove(key: string): void {
    this.#stored.remove(key);
  }

  /** A ScaledObject was let in, and counts from now on although it is not stored yet. */
  admitted(workload: ScaledObject): void {
    this.#forget(workload.key);
    this.#forgetOld();
    if (this.#until.size >= mostRemembered) return;
    this.#admitted.set(workload);
    this.#until.set(workload.key, this.#options.clock.elapsed() + rememberedMs);
  }

  /**
   * What is around an object, as far as its rules look at it. The API server is asked for containers where there are
   * cpu or memory triggers, and for ScaledObjects that were let in a moment ago and would be in the way.
   *
   * @throws Faults of the client: what nobody could tell is not there to be judged by
   */
  async around(
    manifest: Manifest,
    { operation, dryRun }: Pick<Surroundings, 'operation' | 'dryRun'>,
    signal: AbortSignal,
  ): Promise<Surroundings> {
    const { autoscalersByTarget, checkFormula } = this.#options;
    const { containers, limits } =
      manifest.kind === 'ScaledObject' && !dryRun ? await this.#resources(manifest, signal) : nothing;
    const confirmed = manifest.kind === 'ScaledObject' ? await this.#justStored(manifest, signal) : [];
    return {
      operation,
      dryRun,
      scaledObjectsByTarget: (namespace, target) => [
        ...this.#stored.byTarget(namespace, target),
        ...confirmed.filter(each => each.namespace === namespace && each.target.name === target),
      ],
      scaledObjectsByHpa: (namespace, hpa) => [
        ...this.#stored.byHpa(namespace, hpa),
        ...confirmed.filter(
          each => each.namespace === namespace && each.horizontalPodAutoscalerConfig.name === hpa,
        ),
      ],
      autoscalersByTarget,
      containers: () => containers,
      limits: () => limits,
      checkFormula,
    };
  }

  /** Others that were let in, want the same, and are stored now, although the watch has not brought that yet. */
  async #justStored(manifest: ScaledObject, signal: AbortSignal): Promise<ScaledObject[]> {
    this.#forgetOld();
    const { key, namespace, target, horizontalPodAutoscalerConfig: hpa } = manifest;
    const rivals = new Map(
      [...this.#admitted.byTarget(namespace, target.name), ...this.#admitted.byHpa(namespace, hpa.name)]
        .filter(each => each.key !== key && isInTheWay(each, manifest))
        .map(each => [each.key, each]),
    );
    const found = await Promise.all(Array.from(rivals.values(), rival => this.#confirm(rival, signal)));
    return found.flatMap(each =>
      each !== undefined && !this.#stored.has(each) && isInTheWay(each, manifest) ? [each] : [],
    );
  }

  /**
   * Being let in is not being stored: another webhook or a quota may have refused it, and anybody can send reviews
   * to a webhook. So what is only remembered refuses nobody before the API server has said that it is there.
   */
  async #confirm(
    { key, namespace, name }: ScaledObject,
    signal: AbortSignal,
  ): Promise<ScaledObject | undefined> {
    const { client, clock } = this.#options;
    for (const ms of confirmAfterMs) {
      await sleep(clock, ms, signal);
      const found = await client.get(resources.scaledObjects, { namespace, name }, { signal });
      const remembered = this.#admitted.get(key);
      if (found === undefined) continue;
      const parsed = parseScaledObject(documentOf({ ...identity, ...found }));
      const stored = parsed.ok ? parsed.value : parsed.admissible;
      if (stored === undefined || remembered === undefined) return stored;
      if (stored.generation >= remembered.generation) return stored;
    }
    this.#forget(key);
    return undefined;
  }

  async #resources(workload: ScaledObject, signal: AbortSignal): Promise<ResourceSurroundings> {
    const wanted = workload.triggers.filter(isResource);
    const resource = podOwners.find(each => kindOf(each) === kindOfTarget(workload.target));
    if (wanted.length === 0 || resource === undefined) return nothing;
    const { namespace, target } = workload;
    const { client } = this.#options;
    const found = await client.get(resource, { namespace, name: target.name }, { signal });
    if (found === undefined) return { containers: 'missing', limits: [] };
    const { containers } = podOwnerOf(documentOf({ ...found }));
    const complete = wanted.every(({ type }) =>
      containers.every(({ requests, limits }) => type in requests || type in limits),
    );
    if (complete) return { containers, limits: [] };
    const ranges = await client.list<KubeObject>(resources.limitRanges, { namespace, signal });
    return { containers, limits: ranges.items.flatMap(range => limitsOf(documentOf({ ...range }))) };
  }

  #forgetOld(): void {
    const now = this.#options.clock.elapsed();
    for (const [key, until] of this.#until) {
      if (until > now) break;
      this.#forget(key);
    }
  }

  #forget(key: string): void {
    this.#admitted.remove(key);
    this.#until.delete(key);
  }
}

interface ResourceSurroundings {
  containers: readonly ContainerResources[] | 'unknown' | 'missing';
  limits: readonly ContainerLimit[];
}

const nothing: ResourceSurroundings = { containers: 'unknown', limits: [] };
const podOwners = [resources.deployments, resources.statefulSets];
const kindOf = (resource: Resource) =>
  kindOfTarget({ apiVersion: apiVersionOf(resource), kind: resource.kind });
const identity = {
  apiVersion: apiVersionOf(resources.scaledObjects),
  kind: resources.scaledObjects.kind,
};

function isInTheWay(other: ScaledObject, workload: ScaledObject): boolean {
  const sameTarget =
    other.target.name === workload.target.name &&
    kindOfTarget(other.target) === kindOfTarget(workload.target);
  const sameHpa = other.horizontalPodAutoscalerConfig.name === workload.horizontalPodAutoscalerConfig.name;
  return sameTarget || sameHpa;
}

/** ScaledObjects by what they scale and by the HorizontalPodAutoscaler that they make. */
class TargetIndex {
  readonly #all = new Map<string, ScaledObject>();
  readonly #byTarget = new Map<string, ScaledObject[]>();
  readonly #byHpa = new Map<string, ScaledObject[]>();

  get(key: string): ScaledObject | undefined {
    return this.#all.get(key);
  }

  /** Whether it is here, wanting the same as this version of it. */
  has(workload: ScaledObject): boolean {
    const here = this.#all.get(workload.key);
    return here !== undefined && targetKey(here) === targetKey(workload) && hpaKey(here) === hpaKey(workload);
  }

  byTarget(namespace: string, target: string): readonly ScaledObject[] {
    return this.#byTarget.get(`${namespace}/${target}`) ?? [];
  }

  byHpa(namespace: string, hpa: string): readonly ScaledObject[] {
    return this.#byHpa.get(`${namespace}/${hpa}`) ?? [];
  }

  set(workload: ScaledObject): void {
    this.remove(workload.key);
    this.#all.set(workload.key, workload);
    add(this.#byTarget, targetKey(workload), workload);
    add(this.#byHpa, hpaKey(workload), workload);
  }

  remove(key: string): void {
    const workload = this.#all.get(key);
    if (workload === undefined) return;
    this.#all.delete(key);
    take(this.#byTarget, targetKey(workload), workload);
    take(this.#byHpa, hpaKey(workload), workload);
  }
}

const targetKey = ({ namespace, target }: ScaledObject) => `${namespace}/${target.name}`;
const hpaKey = ({ namespace, horizontalPodAutoscalerConfig: hpa }: ScaledObject) =>
  `${namespace}/${hpa.name}`;

function add(groups: Map<string, ScaledObject[]>, key: string, workload: ScaledObject): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, [workload]);
  else group.push(workload);
}

function take(groups: Map<string, ScaledObject[]>, key: string, workload: ScaledObject): void {
  const rest = (groups.get(key) ?? []).filter(each => each !== workload);
  if (rest.length === 0) groups.delete(key);
  else groups.set(key, rest);
}
