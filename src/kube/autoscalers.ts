import type { Clock } from '../base/clock.ts';
import { deadline } from '../base/deadline.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { AutoscalerMetric, AutoscalerSpec, World } from '../engine/ports.ts';
import type { Autoscaler } from '../spec/surroundings.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { AutoscalerIndex, type AutoscalerView } from './autoscaler-index.ts';
import { autoscalerWriter } from './autoscaler-writer.ts';
import type { KubeClient } from './client.ts';
import { autoscalerMark, autoscalerName, autoscalerObject, type WantedHpa } from './hpa-object.ts';

export interface AutoscalersOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** What `app.kubernetes.io/version` says. */
  version: string;
  /** The namespaces that are looked at; all unless given. */
  namespaces?: readonly string[];
  /** Somebody edited or deleted a workload's autoscaler, or began or ceased to scale its target with another. */
  onChange(workloadKey: string): void;
}

/** The HorizontalPodAutoscalers of ScaledObjects, and what there is of others'. */
export interface Autoscalers extends Pick<World, 'ensureAutoscaler'>, AsyncDisposable {
  /** Ends when it is known what is there. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** Those of a namespace that scale something of this name, whoever made them. */
  byTarget(namespace: string, target: string): readonly Autoscaler[];
  /** The name of the one that was last made sure of for a workload; undefined where there is to be none. */
  nameOf(workloadKey: string): string | undefined;
  /** Lets go of a workload; its autoscaler goes with its owner. */
  drop(workloadKey: string): void;
}

/** What was last made sure of for a workload. */
interface Ensured {
  workload: ScaledObject;
  /** Undefined where there is to be none. */
  wanted: AutoscalerSpec | undefined;
  /** `namespace/name` of the autoscaler. */
  key: string;
  /** The mark of the autoscaler that was found right, or that our write made. */
  mark: string | undefined;
}

/** How long it may take until it is known what is there, in milliseconds. */
const knownWithinMs = 10_000;

/** Begins to follow HorizontalPodAutoscalers at once. */
export function kubeAutoscalers(options: AutoscalersOptions): Autoscalers {
  const { client, clock, log, namespaces, onChange } = options;
  const writer = autoscalerWriter({ client, log });
  const ensured = new Map<string, Ensured>();
  /** By the key of the autoscaler, the workload that wants it. */
  const wanting = new Map<string, string>();
  /** By `namespace/name` of the target, the workloads that want to have it for themselves. */
  const alone = new Map<string, string>();
  /** The keys of autoscalers that are just being written: what the watch says of them meanwhile is our own doing. */
  const writing = new Set<string>();
  const index = new AutoscalerIndex({
    client,
    clock,
    log,
    namespaces,
    onSet(key, now, before) {
      const workload = wanting.get(key);
      const isEdited = now.mark !== before?.mark || now.deleting !== before?.deleting;
      if (workload !== undefined && isEdited && isNews(workload, key, now)) onChange(workload);
      if (before === undefined) tellAlone(now);
    },
    onDelete(key, before) {
      const workload = wanting.get(key);
      if (workload !== undefined && !writing.has(key)) onChange(workload);
      tellAlone(before);
    },
  });

  function isNews(workload: string, key: string, { mark, deleting }: AutoscalerView): boolean {
    return !writing.has(key) && (deleting || mark !== ensured.get(workload)?.mark);
  }

  function tellAlone({ namespace, target, ownerUid }: AutoscalerView): void {
    const workload = alone.get(`${namespace}/${target.name}`);
    if (workload !== undefined && ensured.get(workload)?.workload.uid !== ownerUid) onChange(workload);
  }

  async function known(signal: AbortSignal): Promise<void> {
    if (index.synced) return;
    using limit = deadline(signal, knownWithinMs);
    try {
      await index.whenSynced(limit.signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw new Fault('KUBE_UNREACHABLE', 'it is not known yet which HorizontalPodAutoscalers there are', {
        cause,
      });
    }
  }

  function remember(one: Ensured): void {
    forget(one.workload.key);
    ensured.set(one.workload.key, one);
    if (one.wanted === undefined) alone.set(targetKey(one.workload), one.workload.key);
    else wanting.set(one.key, one.workload.key);
  }

  function forget(workloadKey: string): void {
    const one = ensured.get(workloadKey);
    if (one === undefined) return;
    ensured.delete(workloadKey);
    if (wanting.get(one.key) === workloadKey) wanting.delete(one.key);
    if (alone.get(targetKey(one.workload)) === workloadKey) alone.delete(targetKey(one.workload));
  }

  /** @param except the key of the one that stays */
  async function deleteOwned(workload: ScaledObject, signal: AbortSignal, except?: string): Promise<void> {
    for (const key of [...index.ownedBy(workload.uid)]) {
      const view = index.get(key);
      if (view === undefined || view.deleting || key === except) continue;
      await writer.delete(view, signal);
      index.put(key, undefined);
    }
  }

  async function ensureNone(workload: ScaledObject, signal: AbortSignal): Promise<undefined> {
    const before = ensured.get(workload.key);
    if (before?.workload !== workload || before.wanted !== undefined)
      remember({ workload, wanted: undefined, key: '', mark: undefined });
    if (index.ownedBy(workload.uid).size > 0) await deleteOwned(workload, signal);
    const taken = index
      .byTarget(workload.namespace, workload.target.name)
      .find(each => !each.deleting && each.ownerUid !== workload.uid && isTargetOf(each, workload));
    if (taken !== undefined) throw takenBy(taken, workload);
    return undefined;
  }

  async function ensure(workload: ScaledObject, wanted: AutoscalerSpec, signal: AbortSignal) {
    const { namespace } = workload;
    const key = `${namespace}/${autoscalerName(workload)}`;
    const before = ensured.get(workload.key);
    const view = index.get(key);
    if (before !== undefined && view !== undefined && isSo(before, { workload, wanted, view }))
      return view.state;
    const owned = index.ownedBy(workload.uid);
    if (owned.size > 1 || (owned.size === 1 && !owned.has(key))) await deleteOwned(workload, signal, key);
    // It is on its way out, and will be made anew once it is gone.
    if (view?.deleting === true) {
      remember({ workload, wanted, key, mark: undefined });
      return undefined;
    }
    const object = autoscalerObject(workload, wanted, options.version);
    if (view?.mark === autoscalerMark(object)) {
      remember({ workload, wanted, key, mark: view.mark });
      return view.state;
    }
    return await write({ workload, wanted, key, mark: undefined }, { object, view, before }, signal);
  }

  async function write(
    one: Ensured,
    {
      object,
      view,
      before,
    }: { object: WantedHpa; view: AutoscalerView | undefined; before: Ensured | undefined },
    signal: AbortSignal,
  ) {
    remember(one);
    writing.add(one.key);
    try {
      // What another ScaledObject of the name wanted has another owner, too.
      const isOwn = before?.workload.uid === one.workload.uid;
      const known = isOwn && view?.mark !== undefined && view.mark === before?.mark;
      const previous = before?.wanted && autoscalerObject(before.workload, before.wanted, options.version);
      const made = index.put(
        one.key,
        await writer.make(object, { previous, live: view && { uid: view.uid, known } }, signal),
      );
      one.mark = made?.mark;
    } finally {
      writing.delete(one.key);
    }
    // What the watch told meanwhile was let pass.
    const now = index.get(one.key);
    if (now?.mark !== one.mark) onChange(one.workload.key);
    return now?.state;
  }

  return {
    whenSynced: signal => index.whenSynced(signal),
    byTarget: (namespace, target) => index.byTarget(namespace, target),
    nameOf(workloadKey) {
      const one = ensured.get(workloadKey);
      return one?.wanted === undefined ? undefined : one.key.slice(one.key.indexOf('/') + 1);
    },
    drop: forget,
    async ensureAutoscaler(workload, wanted, signal) {
      await known(signal);
      return wanted === undefined
        ? await ensureNone(workload, signal)
        : await ensure(workload, wanted, signal);
    },
    [Symbol.asyncDispose]: () => index[Symbol.asyncDispose](),
  };

  function isSo(
    before: Ensured,
    { workload, wanted, view }: { workload: ScaledObject; wanted: AutoscalerSpec; view: AutoscalerView },
  ): boolean {
    return (
      before.workload === workload &&
      before.mark === view.mark &&
      before.mark !== undefined &&
      !view.deleting &&
      index.ownedBy(workload.uid).size === 1 &&
      before.wanted !== undefined &&
      isSameSpec(before.wanted, wanted)
    );
  }
}

const targetKey = ({ namespace, target }: ScaledObject) => `${namespace}/${target.name}`;

const groupOf = (apiVersion: string) => apiVersion.slice(0, apiVersion.lastIndexOf('/') + 1);

function isTargetOf({ target }: AutoscalerView, workload: ScaledObject): boolean {
  const { kind, apiVersion } = workload.target;
  return target.kind === kind && groupOf(target.apiVersion) === groupOf(apiVersion);
}

function takenBy({ name, owners }: AutoscalerView, { target }: ScaledObject): Fault {
  const [owner] = owners;
  const whose = owner === undefined ? '' : ` of ${owner.kind} "${owner.name}"`;
  const sentence = `HorizontalPodAutoscaler "${name}"${whose} scales ${target.kind} "${target.name}" already; delete one of the two`;
  return new Fault('TARGET_TAKEN', sentence);
}

function isSameSpec(a: AutoscalerSpec, b: AutoscalerSpec): boolean {
  return (
    a.minReplicas === b.minReplicas &&
    a.maxReplicas === b.maxReplicas &&
    a.behavior === b.behavior &&
    a.metrics.length === b.metrics.length &&
    a.metrics.every((metric, place) => isSameMetric(metric, b.metrics[place]))
  );
}

function isSameMetric(a: AutoscalerMetric, b: AutoscalerMetric | undefined): boolean {
  if (a === b) return true;
  if (b === undefined || a.target !== b.target || a.targetType !== b.targetType) return false;
  if (a.kind === 'external') return b.kind === 'external' && a.name === b.name;
  return b.kind === 'resource' && a.resource === b.resource && a.container === b.container;
}
