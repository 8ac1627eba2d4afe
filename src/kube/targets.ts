import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { TargetState, World } from '../engine/ports.ts';
import type { ScaledObject } from '../spec/workload.ts';
import type { KubeClient, ObjectName } from './client.ts';
import type { Discovery, ScalableKind } from './discovery.ts';
import type { KubeObject } from './objects.ts';
import { isServing, podsBy } from './pods.ts';
import { TargetWatch } from './target-watch.ts';

export interface TargetsOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  discovery: Discovery;
  /** The namespaces that are looked at; all unless given. */
  namespaces?: readonly string[];
  /** A workload's target appeared, is gone, or has other replicas than before, and that was not our doing. */
  onChange(workloadKey: string): void;
  /** A target has another spec than before, or is there now. */
  onSpec?(workloadKey: string): void;
}

/** What a target is, as the status of a ScaledObject tells it. */
export interface TargetDescription {
  /** `apps/v1.Deployment`. */
  kind: string;
  gvkr: { group: string; version: string; kind: string; resource: string };
}

/** The targets of ScaledObjects: whatever in the cluster has a `/scale`. */
export interface Targets extends Pick<World, 'readTarget' | 'setReplicas'>, AsyncDisposable {
  /** From now on the workload's target is followed. Again with another target it is that one. */
  use(workload: ScaledObject): void;
  drop(workloadKey: string): void;
  /** Begins to follow the targets that are used, and ends when all of them are known. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** Undefined while nobody knows what the API server calls the target's kind. */
  describe(workload: ScaledObject): TargetDescription | undefined;
  /** The selector of the target's pods; empty where it selects none. @throws Fault TARGET_MISSING */
  selector(workload: ScaledObject, signal: AbortSignal): Promise<string>;
}

interface Scale extends KubeObject {
  spec?: { replicas?: number };
  status?: { replicas?: number; selector?: string };
}

/** A read `/scale`. */
interface ScaleView {
  /** Of the object. */
  resourceVersion: string;
  uid: string;
  replicas: number;
  pods: number;
  selector: string;
}

/** A workload that is used. */
interface Use {
  workload: ScaledObject;
  /** Undefined while the kind is not known. */
  watch: TargetWatch | undefined;
  /** The last `/scale` that was read, for those who need one. */
  scale: ScaleView | undefined;
}

/** What it takes to reach a target. */
interface Found {
  kind: ScalableKind;
  /** Undefined where the target is not followed. */
  one: Use | undefined;
  watch: TargetWatch | undefined;
}

interface Change {
  found: Found;
  replicas: number;
}

/** Follows nothing before a workload is used. */
export function kubeTargets(options: TargetsOptions): Targets {
  const { client, discovery } = options;
  const uses = new Map<string, Use>();
  const watches = new Map<string, TargetWatch>();
  const ending = new Set<Promise<void>>();

  function use(workload: ScaledObject): void {
    const same = current(workload);
    if (same !== undefined) {
      same.workload = workload;
      return;
    }
    drop(workload.key);
    const kind = discovery.known(workload.target.apiVersion, workload.target.kind);
    const one: Use = { workload, watch: undefined, scale: undefined };
    uses.set(workload.key, one);
    if (kind?.scalable === true) attach(one, kind);
  }

  function attach(one: Use, kind: ScalableKind): TargetWatch {
    const { workload } = one;
    const namespace = options.namespaces === undefined ? undefined : workload.namespace;
    const key = `${workload.target.apiVersion}/${kind.kind} ${namespace ?? ''}`;
    let watch = watches.get(key);
    if (watch === undefined) {
      const { clock, log, onChange, onSpec } = options;
      const more = onSpec === undefined ? {} : { onSpec };
      const place = namespace === undefined ? {} : { namespace };
      watch = new TargetWatch({ client, clock, log, kind, onChange, ...more, ...place });
      watches.set(key, watch);
    }
    watch.use(targetOf(workload), workload.key);
    one.watch = watch;
    return watch;
  }

  function drop(workloadKey: string): void {
    const one = uses.get(workloadKey);
    uses.delete(workloadKey);
    const watch = one?.watch;
    if (one === undefined || watch === undefined) return;
    watch.drop(targetOf(one.workload), workloadKey);
    if (watch.used) return;
    for (const [key, each] of watches) if (each === watch) watches.delete(key);
    const end = watch[Symbol.asyncDispose]().finally(() => ending.delete(end));
    ending.add(end);
  }

  /** Undefined where the workload is not used, or with another target: a late question about what was. */
  function current(workload: ScaledObject): Use | undefined {
    const one = uses.get(workload.key);
    return one !== undefined && sameTarget(one.workload, workload) ? one : undefined;
  }

  async function find(workload: ScaledObject, signal: AbortSignal): Promise<Found> {
    const { apiVersion, kind: name } = workload.target;
    const kind = await discovery.find(apiVersion, name, signal).catch(thrown => noKind(workload, thrown));
    if (!kind.scalable) throw noScale(workload);
    const one = current(workload);
    return { kind, one, watch: one?.watch ?? (one === undefined ? undefined : attach(one, kind)) };
  }

  async function readScale(workload: ScaledObject, { kind, one, watch }: Found, signal: AbortSignal) {
    const before = watch?.peek(targetOf(workload));
    const found = await client.get<Scale>(kind, placeOf(workload), { signal, subresource: 'scale' });
    if (found === undefined) {
      watch?.gone(targetOf(workload), before);
      throw missing(workload);
    }
    const scale = scaleView(found);
    if (one !== undefined) one.scale = scale;
    return scale;
  }

  /** What the watch has; undefined where the target is not followed. @throws Fault TARGET_MISSING */
  async function readView(workload: ScaledObject, { watch }: Found, signal: AbortSignal) {
    if (watch === undefined) return undefined;
    const view = await watch.read(targetOf(workload), signal);
    if (view === undefined) throw missing(workload);
    return view;
  }

  async function servingPods(workload: ScaledObject, scale: ScaleView, signal: AbortSignal): Promise<number> {
    if (scale.replicas === 0 && scale.pods === 0) return 0;
    if (scale.selector === '') return scale.pods;
    const place = { namespace: workload.namespace, selector: scale.selector };
    return (await podsBy(client, place, signal)).filter(isServing).length;
  }

  async function patchScale(workload: ScaledObject, { found, replicas }: Change, signal: AbortSignal) {
    const { kind, one, watch } = found;
    const target = targetOf(workload);
    const before = watch?.peek(target);
    const write = { signal, urgency: 'scale', type: 'merge', subresource: 'scale' } as const;
    try {
      const patch = { spec: { replicas } };
      const scale = scaleView(await client.patch<Scale>(kind, placeOf(workload), patch, write));
      if (one !== undefined) one.scale = scale;
      watch?.wrote(target, scale);
    } catch (thrown) {
      if (!isNotFound(thrown)) throw thrown;
      watch?.gone(target, before);
      throw missing(workload, thrown);
    }
  }

  return {
    use,
    drop,
    async whenSynced(signal) {
      await Promise.all([...watches.values()].map(watch => watch.start().whenSynced(signal)));
    },
    describe({ target: { apiVersion, kind } }) {
      const found = discovery.known(apiVersion, kind);
      if (found === undefined) return undefined;
      const { group, version, plural: resource } = found;
      return { kind: `${apiVersion}.${kind}`, gvkr: { group, version, kind, resource } };
    },
    async readTarget(workload, signal): Promise<TargetState> {
      const found = await find(workload, signal);
      const view = await readView(workload, found, signal);
      if (view?.replicas !== undefined) return { replicas: view.replicas, readyReplicas: view.readyReplicas };
      const known = found.one?.scale;
      const fresh = known !== undefined && known.resourceVersion === view?.resourceVersion;
      const scale = fresh ? known : await readScale(workload, found, signal);
      return { replicas: scale.replicas, readyReplicas: await servingPods(workload, scale, signal) };
    },
    async setReplicas(workload, replicas, signal) {
      const found = await find(workload, signal);
      const patch = () => patchScale(workload, { found, replicas }, signal);
      if (found.watch === undefined) await patch();
      else await found.watch.setting(targetOf(workload), replicas, patch);
    },
    async selector(workload, signal) {
      const found = await find(workload, signal);
      const view = await readView(workload, found, signal);
      const known = found.one?.scale;
      // Of the kinds we know a selector stays as long as its object.
      const version = view?.replicas === undefined ? view?.resourceVersion : known?.resourceVersion;
      const fresh = known !== undefined && known.uid === view?.uid && known.resourceVersion === version;
      return (fresh ? known : await readScale(workload, found, signal)).selector;
    },
    async [Symbol.asyncDispose]() {
      const open = [...watches.values()].map(watch => watch[Symbol.asyncDispose]());
      await Promise.all([...open, ...ending]);
    },
  };
}

const targetOf = ({ namespace, target }: ScaledObject) => `${namespace}/${target.name}`;

const placeOf = ({ namespace, target }: ScaledObject): ObjectName => ({ namespace, name: target.name });

function sameTarget({ target: a }: ScaledObject, { target: b }: ScaledObject): boolean {
  return a.name === b.name && a.kind === b.kind && a.apiVersion === b.apiVersion;
}

function scaleView({ metadata, spec, status }: Scale): ScaleView {
  return {
    resourceVersion: metadata.resourceVersion,
    uid: metadata.uid,
    replicas: spec?.replicas ?? 0,
    pods: status?.replicas ?? 0,
    selector: status?.selector ?? '',
  };
}

function missing({ namespace, target }: ScaledObject, cause?: unknown): Fault {
  const sentence = `there is no ${target.kind} "${target.name}" (${target.apiVersion}) in namespace "${namespace}"`;
  return new Fault('TARGET_MISSING', sentence, { cause });
}

const isNotFound = (thrown: unknown) => thrown instanceof Fault && thrown.code === 'KUBE_NOT_FOUND';

function noKind({ target: { kind, name } }: ScaledObject, thrown: unknown): never {
  if (!(thrown instanceof Fault) || !isNotFound(thrown)) throw thrown;
  throw new Fault('TARGET_MISSING', `${kind} "${name}" cannot be scaled: ${thrown.message}`, {
    cause: thrown,
  });
}

function noScale({ target: { apiVersion, kind, name } }: ScaledObject): Fault {
  const sentence = `${kind} "${name}" cannot be scaled: the kind ${kind} of ${apiVersion} has no /scale subresource`;
  return new Fault('TARGET_MISSING', sentence);
}
